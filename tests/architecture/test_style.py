"""Limits on the size of files and functions."""

from __future__ import annotations

import ast
import statistics

from tests.support.python_files import PROJECT, statements

PACKAGES = [init.parent for init in PROJECT.glob("*/__init__.py")]
FILES = [*PROJECT.glob("*.py"), *(file for package in PACKAGES for file in package.rglob("*.py"))]
LONGEST_FILE = 600


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines in the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short() -> None:
    nodes = [node for file in FILES for node in statements(file)]
    lengths = sorted(lines_of(node) for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    median, longest_of_most = statistics.median(lengths), lengths[int(len(lengths) * 0.9)]
    print(f"{len(FILES)} files, {len(lengths)} functions: median {median:.0f} lines, 90% within {longest_of_most}")
    assert median <= 8
    assert longest_of_most <= 25


def test_no_file_is_too_long_to_read() -> None:
    sizes = {str(file.relative_to(PROJECT)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: lines for name, lines in sizes.items() if lines > LONGEST_FILE} == {}
