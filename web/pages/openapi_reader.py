"""Read web/api/openapi.json for /docs: resolve references, and describe the type of a value in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache, reduce
from operator import getitem
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from web.api.openapi import FILE

METHODS = ("get", "put", "post", "patch", "delete")
BODY_ERRORS = ("408", "411", "413", "415")  # possible in every operation with a body
NAME = "x-name"
Schema = dict[str, Any]


class Field(NamedTuple):
    """A field of an object, or a parameter."""

    name: str
    kind: Markup
    required: bool
    description: str


@cache
def document() -> Schema:
    """Return the document with all references resolved. The file is read once."""
    read = json.loads(FILE.read_bytes())
    resolved: Schema = _resolved(read, read)
    return resolved


def _resolved(node: Any, document: Schema) -> Any:
    """Return `node` with each reference replaced by its target and name. There are no circular references."""
    if isinstance(node, list):
        return [_resolved(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        path = node["$ref"].split("/")[1:]
        return {NAME: path[-1]} | _resolved(reduce(getitem, path, document), document)
    return {key: _resolved(value, document) for key, value in node.items()}


@cache
def operations() -> list[Schema]:
    """Return every operation with its method, its path, and all its parameters, including those of the path."""
    return [
        {**operation, "method": method.upper(), "path": path, "parameters": [*shared, *operation.get("parameters", ())]}
        for path, item in document()["paths"].items()
        for shared in [item.get("parameters", ())]
        for method, operation in item.items()
        if method in METHODS
    ]


def common_errors() -> dict[str, Schema]:
    """Return the responses that are possible in every operation, or in every operation with a body, by status."""
    responses = [operation["responses"] for operation in operations()]
    common = set.intersection(*map(set, responses)).union(BODY_ERRORS)
    return {status: next(each[status] for each in responses if status in each) for status in sorted(common)}


@cache
def answered_objects() -> dict[str, Schema]:
    """Return the named objects in responses, sorted by name."""
    found = {schema[NAME]: schema for schema in _named_objects([each["responses"] for each in operations()])}
    return dict(sorted(found.items()))


def _named_objects(node: Any) -> Iterator[Schema]:
    if isinstance(node, dict):
        if _has_name(node):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _named_objects(each)


def parameters(operation: Schema) -> Iterator[Field]:
    """Return the parameters of an operation as fields."""
    for each in operation["parameters"]:
        yield Field(each["name"], kind(each["schema"]), each["in"] == "path", each.get("description", ""))


def fields(schema: Schema, above: str = "") -> Iterator[Field]:
    """Return the fields of an object, including those of unnamed objects in it."""
    if "items" in schema:
        yield from fields(schema["items"], above and f"{above}[]")
    yield from _merged(field for part in _parts(schema) for field in fields(part, above))
    for name, inner in schema.get("properties", {}).items():
        full = f"{above}.{name}" if above else name
        yield Field(full, kind(inner), name in schema.get("required", ()), inner.get("description", ""))
        if not _has_name(inner.get("items", inner)):
            yield from fields(inner, full)


def kind(schema: Schema, *, whole: bool = False) -> Markup:
    """Return the type of a value in words. With `whole`, an unnamed object is described by its fields."""
    if _has_name(schema):
        return Markup('<a href="#{0}">{0}</a>').format(schema[NAME])
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return _or(_code(value) for value in schema["enum"])
    if "oneOf" in schema or "anyOf" in schema:
        return _or(kind(each) for each in schema.get("oneOf") or schema["anyOf"])
    if "items" in schema:
        return Markup("list of {}").format(kind(schema["items"]))
    if whole and "properties" in schema:
        inner = [Markup("{} ({})").format(_code(name), kind(value)) for name, value in schema["properties"].items()]
        return Markup("object: ") + Markup(", ").join(inner)
    return _plain(schema)


def _has_name(schema: Schema) -> bool:
    """Return whether this object has its own section in the docs."""
    return NAME in schema and _is_object(schema)


def _is_object(schema: Schema) -> bool:
    return "properties" in schema or any(map(_is_object, _parts(schema)))


def _parts(schema: Schema) -> list[Schema]:
    return [*schema.get("allOf", ()), *schema.get("oneOf", ())]


def _merged(fields: Iterable[Field]) -> Iterator[Field]:
    """Return each field once, with all kinds that it can have."""
    merged: dict[str, Field] = {}
    for field in fields:
        known = merged.setdefault(field.name, field)
        merged[field.name] = known._replace(kind=_or((known.kind, field.kind)))
    yield from merged.values()


def _code(value: object) -> Markup:
    return Markup("<code>{}</code>").format(value if isinstance(value, str) else json.dumps(value))


def _or(kinds: Iterable[Markup]) -> Markup:
    return Markup(" or ").join(dict.fromkeys(kinds))


def _plain(schema: Schema) -> Markup:
    """Return the type of a value that is neither an object nor a list."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = [schema.get("format", "").replace("int64", "64 bits"), *_bounds(schema), _default(schema)]
    return escape(", ".join([" or ".join(types), *filter(None, words)]))


def _bounds(schema: Schema) -> Iterator[str]:
    if schema.get("maximum", 2**32) < 2**32:
        yield f"{schema['minimum']} to {schema['maximum']:,}"


def _default(schema: Schema) -> str:
    return f"default {schema['default']}" if "default" in schema else ""


def prose(text: str) -> Markup:
    """Return the text as HTML, with `this` as code."""
    parts = text.split("`")
    return Markup().join(_code(part) if number % 2 else escape(part) for number, part in enumerate(parts))
