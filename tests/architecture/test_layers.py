"""Imports run one way: through the single files at the top, too, which import-linter does not look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LAYERS = (
    {"serving"},
    {"email_app"},
    {"commands"},
    {"web"},
    {"checks"},
    {"task"},
    {"sweep"},
    {"wakeup", "delivery"},
    {"database"},
    {"storage"},
    {"settings"},
    {"settings_values"},
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}


def files_of(part: str) -> list[Path]:
    module = PROJECT / f"{part}.py"
    return [module] if module.exists() else sorted((PROJECT / part).rglob("*.py"))


def imports_of(file: Path) -> Iterator[str]:
    """The part that each import names, those inside of functions included."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)


@pytest.mark.parametrize("part", sorted(DEPTH))
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    files = files_of(part)
    assert files
    above = {name for name, depth in DEPTH.items() if depth <= DEPTH[part]} - {part}
    for file in files:
        assert not above & set(imports_of(file)), file


def test_every_part_has_a_layer() -> None:
    modules = {path.stem for path in PROJECT.glob("*.py")}
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert modules | packages == set(DEPTH) | {"test_client"}
