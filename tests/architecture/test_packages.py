"""The packages that are installed: an old one with a known fault does not go unnoticed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monitoring.finding import Finding
from monitoring.packages import FIXED_IN, PINNED, check_packages
from settings import Settings
from tests.support.installation import PROJECT
from tests.support.recipients_command import commands_of

CONSTRAINTS = PROJECT / "requirements" / "constraints.txt"
REQUIREMENTS = [
    PROJECT / "requirements.txt",
    *(PROJECT / "requirements" / f"{name}.txt" for name in ("dev", "postgresql", "redis")),
]


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> None:
    """Have this version look as if it were installed."""
    metadata = folder / "packages" / f"{name}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(folder / "packages")


def found(settings: Settings, level: str) -> list[Finding]:
    return [finding for finding in check_packages(settings) if finding.level == level]


@pytest.mark.parametrize(
    ("name", "version"), [("werkzeug", "3.0.3"), ("werkzeug", "3.1.5"), ("flask", "3.1.2"), ("jinja2", "2.11.3")]
)
def test_an_old_package_with_a_known_fault_is_an_error_with_its_remedy(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    plant(tmp_path, monkeypatch, name, version)
    (fault,) = found(settings, "error")
    assert f"{name} {version}" in fault.text and "CVE-" in fault.text and FIXED_IN[name][0] in fault.remedy
    assert commands_of(settings, "check")().exit_code == 1


def test_a_package_of_another_version_than_was_tested_is_a_warning(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, monkeypatch, "granian", "9.0.0")
    assert [finding.text.split(", and")[0] for finding in found(settings, "warning")] == ["granian 9.0.0 is installed"]


def test_the_packages_of_these_tests_are_those_of_the_requirements(settings: Settings) -> None:
    assert [finding.level for finding in check_packages(settings)] == ["ok"]


def test_every_requirement_is_of_one_version(settings: Settings) -> None:
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
