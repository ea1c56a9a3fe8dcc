"""Which part of the program may import which: parts below it, and only a few may do I/O.

Unlike import-linter, these tests include the single files at the top.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.python_files import PROJECT, imported_modules, statements

LAYERS = (
    {"serving"},
    {"email_app"},
    {"commands"},
    {"web"},
    {"monitoring"},
    {"task"},
    {"sender"},
    {"operations"},
    {"schedulers", "delivery"},
    {"intake"},
    {"database"},
    {"storage"},
    {"settings"},
)
DELIVERY = PROJECT / "delivery"
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}


def files_of(part: str) -> list[Path]:
    module = PROJECT / f"{part}.py"
    return [module] if module.exists() else sorted((PROJECT / part).rglob("*.py"))


def packages_imported_by(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(file)}


@pytest.mark.parametrize("part", sorted(DEPTH))
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    files = files_of(part)
    assert files
    above = {name for name, depth in DEPTH.items() if depth <= DEPTH[part]} - {part}
    for file in files:
        assert not above & packages_imported_by(file), file


def test_no_module_imports_itself_by_way_of_others() -> None:
    files = [file for part in DEPTH for file in files_of(part)]
    modules = {module_name(file): file for file in files}
    assert len(modules) > 150
    imports = {name: imported_from(file, modules) - {name} for name, file in modules.items()}
    tuple(TopologicalSorter(imports).static_order())  # CycleError names the modules of a cycle


def module_name(file: Path) -> str:
    return file.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def imported_from(file: Path, modules: Collection[str]) -> set[str]:
    """Return which of `modules` a file imports, or imports names from."""
    found = set()
    for node in statements(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & {*modules}
            found |= submodules or {str(node.module)}
    return found & {*modules}


def test_every_part_has_a_layer() -> None:
    modules = {path.stem for path in PROJECT.glob("*.py")}
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert modules | packages == set(DEPTH) | {"test_client"}


def test_the_operations_know_of_no_front_end() -> None:
    assert not {"flask", "werkzeug", "click"} & packages_imported_by(PROJECT / "operations.py")


def test_only_the_transport_knows_of_sockets_tls_and_time() -> None:
    forbidden = {"socket", "ssl", "select", "selectors", "time", "threading", "logging", "asyncio", "datetime"}
    for file in (DELIVERY / "smtp").glob("*.py"):
        if file.name != "transport.py":
            assert not forbidden & packages_imported_by(file), file


def test_the_senders_policy_knows_of_neither_sockets_nor_sql() -> None:
    forbidden = {"socket", "ssl", "select", "time", "sqlite3", "logging"}
    for name in ("sender", "loop", "pool", "rate_limit", "circuit_breaker"):
        assert not forbidden & packages_imported_by(DELIVERY / "smtp" / f"{name}.py"), name


def test_nothing_in_delivery_uses_smtplib_threads_or_asyncio() -> None:
    forbidden = {"smtplib", "asyncio", "threading", "_thread", "concurrent", "multiprocessing"}
    for file in DELIVERY.rglob("*.py"):
        assert not forbidden & packages_imported_by(file), file
