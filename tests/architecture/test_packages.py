"""The requirements: each is pinned, and so is every package that they need in turn."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.installation import PROJECT

PINNED = re.compile(r"^[A-Za-z0-9_.-]+(?:\[.*\])?==\S+", re.MULTILINE)
CONSTRAINTS = PROJECT / "requirements" / "constraints.txt"
REQUIREMENTS = [
    PROJECT / "requirements.txt",
    *(PROJECT / "requirements" / f"{name}.txt" for name in ("dev", "postgresql", "redis")),
]


def test_every_requirement_is_pinned_to_one_version() -> None:
    for file in REQUIREMENTS:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith(("#", "-r ", "-c "))]
        assert len(PINNED.findall(file.read_text())) == len(lines), file


def test_the_constraints_pin_every_package_that_is_needed_at_the_version_that_is_tested() -> None:
    pinned = {canonicalize_name(pin.name): str(pin.specifier) for pin in requirements_of(CONSTRAINTS) if applies(pin)}
    needed = [requirement for file in REQUIREMENTS for requirement in requirements_of(file)]
    seen: set[str] = set()
    while needed:
        requirement = needed.pop()
        if not applies(requirement) or str(requirement) in seen:
            continue
        seen.add(str(requirement))
        distribution = metadata.distribution(requirement.name)
        assert pinned.get(canonicalize_name(requirement.name)) == f"=={distribution.version}", requirement.name
        for dependency in map(Requirement, distribution.requires or ()):
            if applies(dependency, *requirement.extras):
                dependency.marker = None
                needed.append(dependency)
    assert len(seen) > 50


def requirements_of(file: Path) -> list[Requirement]:
    return [Requirement(line) for line in file.read_text().splitlines() if line and not line.startswith(("#", "-"))]


def applies(requirement: Requirement, *extras: str) -> bool:
    """Whether the marker of a requirement holds here, with one of these extras or none."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def test_every_requirements_file_applies_the_constraints() -> None:
    for file in REQUIREMENTS:
        constraints = [line for line in file.read_text().splitlines() if line.startswith(("-c ", "-r "))]
        assert constraints, file
        assert all((file.parent / line.split()[1]).is_file() for line in constraints)
