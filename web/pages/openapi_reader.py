"""web/api/openapi.json → what the page of the API says: each operation with its fields and answers, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from web.api.openapi import FILE

METHODS = ("get", "put", "post", "delete")
BODY_ERRORS = ("408", "411", "413", "415")  # of whatever has a body
FIRST = "form"  # what most will use
Schema = dict[str, Any]


class Field(NamedTuple):
    """A parameter, or a field of a body."""

    name: str
    kind: Markup
    required: bool
    description: str


class Answer(NamedTuple):
    """What a status means, and what comes with it."""

    status: str
    description: str
    kind: Markup


class Operation(NamedTuple):
    """One method of one address. `example` is the body that a command can send, of the first of `types`."""

    name: str
    method: str
    path: str
    example_path: str
    summary: str
    description: str
    parameters: list[Field]
    types: list[str]
    body: list[Field]
    example: Any
    answers: list[Answer]
    is_open: bool


class Described(NamedTuple):
    """The whole file. `errors` are the answers that every operation, or every one with a body, can have."""

    description: str
    groups: dict[str, list[Operation]]
    errors: list[Answer]
    objects: dict[str, list[Field]]


@cache
def described() -> Described:
    """The file, read once."""
    return _Reader(json.loads(FILE.read_bytes())).read()


class _Reader:
    def __init__(self, document: Schema) -> None:
        self._document = document
        self._common: dict[str, Answer] = {}
        self._objects: dict[str, None] = {}  # names of those that are spoken of

    def read(self) -> Described:
        operations = [
            (method, path, item, item[method])
            for path, item in self._document["paths"].items()
            for method in METHODS
            if method in item
        ]
        common = set.intersection(*(set(operation["responses"]) for *_, operation in operations)) | set(BODY_ERRORS)
        names = [tag["name"] for tag in self._document["tags"]]
        groups: dict[str, list[Operation]] = {name: [] for name in (FIRST, *names)}
        for method, path, item, operation in operations:
            groups[operation["tags"][0]].append(self._operation(method, path, item, operation, common))
        errors = [self._common[status] for status in sorted(common)]
        return Described(self._document["info"]["description"], groups, errors, self._spoken_of())

    def _operation(self, method: str, path: str, item: Schema, operation: Schema, common: set[str]) -> Operation:
        parameters = [self._resolve(each) for each in (*item.get("parameters", ()), *operation.get("parameters", ()))]
        content = self._resolve(operation.get("requestBody", {})).get("content", {})
        first: Schema = next(iter(content.values()), {})
        own = [answer for answer in self._answers(operation) if answer.status not in common]
        return Operation(
            name=operation["operationId"],
            method=method.upper(),
            path=path,
            example_path=path.format_map({each["name"]: each.get("example") for each in parameters}),
            summary=operation["summary"],
            description=operation.get("description", ""),
            parameters=[self._parameter(each) for each in parameters],
            types=list(content),
            body=list(self._fields(first["schema"])) if first else [],
            example=first.get("example"),
            answers=own,
            is_open=operation.get("security") == [],
        )

    def _answers(self, operation: Schema) -> Iterator[Answer]:
        for status, reference in operation["responses"].items():
            response = self._resolve(reference)
            content = next((content for name, content in response.get("content", {}).items() if "json" in name), None)
            kind = self._kind(content["schema"], whole=True) if content else Markup()
            answer = Answer(status, response["description"], kind)
            self._common.setdefault(status, answer)
            yield answer

    def _parameter(self, parameter: Schema) -> Field:
        kind = self._kind(parameter["schema"])
        required = parameter["in"] == "path"
        return Field(parameter["name"], kind, required, parameter.get("description", ""))

    def _spoken_of(self) -> dict[str, list[Field]]:
        """The objects that others name, and those that they name in turn."""
        fields: dict[str, list[Field]] = {}
        while missing := [name for name in self._objects if name not in fields]:
            for name in missing:
                fields[name] = list(self._fields(self._schema(name)))
        return dict(sorted(fields.items()))

    def _fields(self, schema: Schema, above: str = "") -> Iterator[Field]:
        """Those of an object, with those of the nameless objects in it."""
        schema = self._resolve(schema)
        if "items" in schema:
            yield from self._fields(schema["items"], above and f"{above}[]")
        yield from _together(field for part in _parts(schema) for field in self._fields(part, above))
        for name, inner in schema.get("properties", {}).items():
            full = f"{above}.{name}" if above else name
            yield Field(full, self._kind(inner), name in schema.get("required", ()), self._description(inner))
            if not self._has_name(inner):
                yield from self._fields(inner, full)

    def _has_name(self, schema: Schema) -> bool:
        """Whether this is an object that is described on its own, or a list of such."""
        if "items" in schema:
            return self._has_name(schema["items"])
        target = self._resolve(schema)
        return target is not schema and (self._is_object(target) or self._has_name(target))

    def _description(self, schema: Schema) -> str:
        return str(schema.get("description") or self._resolve(schema).get("description", ""))

    def _kind(self, schema: Schema, *, whole: bool = False) -> Markup:
        """What a value is, in words; of an object that has no name its fields, if it is the `whole` answer."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if self._is_object(self._schema(name)):
                self._objects[name] = None
                return Markup('<a href="#{0}">{0}</a>').format(name)
            return self._kind(self._schema(name))
        if "const" in schema:
            return _code(schema["const"])
        if "enum" in schema:
            return _or(_code(value) for value in schema["enum"])
        if either := schema.get("oneOf") or schema.get("anyOf"):
            return _or(self._kind(each) for each in either)
        if "items" in schema:
            return Markup("list of {}").format(self._kind(schema["items"]))
        if whole and "properties" in schema:
            inner = [Markup("{} ({})").format(_code(n), self._kind(s)) for n, s in schema["properties"].items()]
            return Markup("object: ") + Markup(", ").join(inner)
        return _plain(schema)

    def _is_object(self, schema: Schema) -> bool:
        return "properties" in schema or any(self._is_object(self._resolve(s)) for s in _parts(schema))

    def _resolve(self, schema: Schema) -> Schema:
        """The thing itself, where a reference to it may stand."""
        target = schema
        if "$ref" in schema:
            target = self._document
            for name in schema["$ref"].split("/")[1:]:
                target = target[name]
        return target

    def _schema(self, name: str) -> Schema:
        schema: Schema = self._document["components"]["schemas"][name]
        return schema


def _parts(schema: Schema) -> list[Schema]:
    return [*schema.get("allOf", ()), *schema.get("oneOf", ())]


def _together(fields: Iterator[Field]) -> Iterator[Field]:
    """Each name once, with all that it can be."""
    merged: dict[str, Field] = {}
    for field in fields:
        known = merged.setdefault(field.name, field)
        merged[field.name] = known._replace(kind=_or(iter((known.kind, field.kind))))
    yield from merged.values()


def _code(value: object) -> Markup:
    return Markup("<code>{}</code>").format(value if isinstance(value, str) else json.dumps(value))


def _or(kinds: Iterator[Markup]) -> Markup:
    return Markup(" or ").join(dict.fromkeys(kinds))


def _plain(schema: Schema) -> Markup:
    """A value that is neither object nor list."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = [schema.get("format", "").replace("int64", "64 bits"), *(_bounds(schema)), _default(schema)]
    return escape(", ".join([" or ".join(types), *filter(None, words)]))


def _bounds(schema: Schema) -> Iterator[str]:
    if schema.get("maximum", 2**32) < 2**32:
        yield f"{schema['minimum']} to {schema['maximum']:,}"


def _default(schema: Schema) -> str:
    return f"{schema['default']} if not given" if "default" in schema else ""


def prose(text: str) -> Markup:
    """A text in which `this` is code."""
    parts = text.split("`")
    return Markup().join(_code(part) if number % 2 else escape(part) for number, part in enumerate(parts))
