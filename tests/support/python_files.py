"""Read the project's Python files as syntax trees, for the architecture tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@cache
def statements(file: Path) -> tuple[ast.AST, ...]:
    """Return every statement in a file, including those inside functions, classes and blocks."""
    return tuple(_inside(ast.parse(file.read_bytes())))


def imported_modules(file: Path) -> Iterator[str]:
    """Return the full name of each module that a file imports or imports names from."""
    for node in statements(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield node.module or ""


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    for blocks in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, blocks, ()):
            yield statement
            yield from _inside(statement)
