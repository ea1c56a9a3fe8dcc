"""The shape of the tests: folders, markers and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.python_files import PROJECT, imported_modules, statements

TESTS = PROJECT / "tests"
FOLDERS = {
    "unit",
    "architecture",
    "storage",
    "delivery",
    "web",
    "commands",
    "system",
    "faults",
    "browser",
    "support",
    "containers",
}


def names_imported_by(file: Path) -> Iterator[str]:
    """Return the full names of the modules that a file may be importing."""
    yield from imported_modules(file)
    for node in statements(file):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_test_module_is_imported() -> None:
    files = [*TESTS.rglob("*.py"), *(PROJECT / "bench").rglob("*.py")]
    assert len(files) > 100
    found = {(str(file), name) for file in files for name in names_imported_by(file)}
    assert not {(file, name) for file, name in found if ".test_" in name or "conftest" in name}


def test_each_test_is_in_a_folder_that_says_what_it_needs() -> None:
    assert {path.name for path in TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"} == FOLDERS
    assert not list(TESTS.glob("test_*.py"))
    assert len([path for path in TESTS.iterdir() if path.is_file()]) <= 10


def test_no_test_stands_among_the_shared_code() -> None:
    functions = [
        (file.name, node.name)
        for file in (TESTS / "support").rglob("*.py")
        for node in statements(file)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert not functions
