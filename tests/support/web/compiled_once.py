"""Compile templates and routes once for all applications that a test session creates.

Most tests of pages create an application. To compile its templates would take more time than everything else in them,
and to compile its routes takes most of `create_app`. Both depend on nothing but their text.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.routing import Rule


class Templates(BytecodeCache):
    """The code of each template, as long as its text is the same."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._codes[bucket.key, bucket.checksum] = bucket.code


class Routes:
    """The function that Werkzeug generates for each pattern, to build URLs."""

    def __init__(self) -> None:
        self._compile: Any = Rule._compile_builder
        self._functions: dict[tuple[object, ...], Any] = {}

    def compiled(self, rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:  # their values are part of the function
            return self._compile(rule, append_unknown)
        pattern = (rule.rule, *rule._trace, append_unknown)
        if pattern not in self._functions:
            self._functions[pattern] = self._compile(rule, append_unknown)
        return self._functions[pattern]


ROUTES = Routes()


def _compiled(rule: Rule, append_unknown: bool = True) -> Any:
    return ROUTES.compiled(rule, append_unknown)


Flask.jinja_options = {"bytecode_cache": Templates()}
Rule._compile_builder = _compiled  # type: ignore[assignment,method-assign]
