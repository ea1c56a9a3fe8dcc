"""Imports are at the top of the file, apart from a few that have a reason."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NOT_THE_PROGRAM = {"tests", "bench", "docs"}
MOST = 8
# File -> the reason why it may import inside a function, and how often it does.
ALLOWED = {
    "task.py": ("the fast path: an idle sweep ends before the rest of the program is imported", 1),
    "settings/__init__.py": (
        "on the fast path: python-dotenv is slow to import, and needed only if a line of .env is not plain;"
        " the descriptions are needed only if a value is invalid",
        2,
    ),
    "settings/parse.py": ("on the fast path: zoneinfo is not needed there", 1),
    "database.py": ("psycopg is an optional package", 1),
    "schedulers/wake_ups.py": ("redis, rq and rq-scheduler are optional packages", 1),
    "serving/part.py": ("each part of the service imports only what it runs; two of them need optional packages", 2),
}


def imports_in_functions(file: Path) -> Iterator[int]:
    """Return the line of each import inside a function or a method."""
    nodes = ast.walk(ast.parse(file.read_bytes()))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node.lineno


def program_files() -> list[Path]:
    packages = [path.parent for path in PROJECT.glob("*/__init__.py") if path.parent.name not in NOT_THE_PROGRAM]
    return [*PROJECT.glob("*.py"), *(file for package in packages for file in package.rglob("*.py"))]


def test_imports_are_at_the_top_of_the_file_unless_there_is_a_reason() -> None:
    files = program_files()
    assert len(files) > 100
    found = Counter(file.relative_to(PROJECT).as_posix() for file in files for _ in {*imports_in_functions(file)})
    assert found == {name: count for name, (_, count) in ALLOWED.items()}
    assert found.total() <= MOST
