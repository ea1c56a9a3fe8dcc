"""The requirements: every package, direct or not, is pinned and has hashes, and none is unnecessary."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.installation import PROJECT

FOLDER = PROJECT / "requirements"
# What is needed directly, and the file that pins all of it.
LISTS = {
    FOLDER / "service.in": PROJECT / "requirements.txt",
    **{FOLDER / f"{name}.in": FOLDER / f"{name}.txt" for name in ("postgresql", "redis", "dev", "sbom")},
}
INSTALLED = [path for path in LISTS if path.name != "sbom.in"]  # sbom.txt is for an environment of its own
SERVICE = [PROJECT / "requirements.txt", FOLDER / "postgresql.txt", FOLDER / "redis.txt"]
NEEDLESS = {"freezegun"}  # requirements/overrides.txt says why
LOCKED = re.compile(
    r"(?P<pin>[a-z0-9.-]+==[^ ]+(?: ; [^\\]+)?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)


def locked(file: Path) -> list[Requirement]:
    """Return the packages that a file pins."""
    return [Requirement(match["pin"]) for match in LOCKED.finditer(file.read_text())]


def needed(file: Path) -> list[Requirement]:
    """Return the packages that a file lists, and those of the files that it includes."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    included = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    own = [Requirement(line) for line in lines if not line.startswith("-r ")]
    return own + [requirement for path in included for requirement in needed(FOLDER / path)]


def applies(requirement: Requirement, *extras: str) -> bool:
    """Return whether the marker of a requirement is true here, with one of these extras or none."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


@pytest.mark.parametrize("file", LISTS.values(), ids=lambda file: file.name)
def test_every_package_has_one_version_and_hashes(file: Path) -> None:
    text = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("#"))
    assert LOCKED.sub("", text) == ""
    assert locked(file)


@pytest.mark.parametrize("file", LISTS, ids=lambda file: file.name)
def test_every_requirement_is_pinned_to_one_version(file: Path) -> None:
    assert all(re.fullmatch(r"==[^*,]+", str(requirement.specifier)) for requirement in needed(file))


@pytest.mark.parametrize("file", INSTALLED, ids=lambda file: file.name)
def test_the_packages_of_a_file_are_all_that_is_needed_at_the_version_that_is_tested(file: Path) -> None:
    pinned = {canonicalize_name(pin.name): str(pin.specifier) for pin in locked(LISTS[file]) if applies(pin)}
    wanted = needed(file)
    seen: set[str] = set()
    names = set()
    while wanted:
        requirement = wanted.pop()
        if not applies(requirement) or str(requirement) in seen or requirement.name in NEEDLESS:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        names.add(name)
        distribution = metadata.distribution(requirement.name)
        assert pinned.get(name) == f"=={distribution.version}", requirement.name
        for dependency in map(Requirement, distribution.requires or ()):
            if applies(dependency, *requirement.extras):
                dependency.marker = None
                wanted.append(dependency)
    assert names == set(pinned)


def test_all_files_pin_a_package_to_the_same_version_and_hashes() -> None:
    versions: dict[str, set[str]] = {}
    for file in LISTS.values():
        for match in LOCKED.finditer(file.read_text()):
            versions.setdefault(match["pin"].partition("==")[0] + match["pin"].partition(" ; ")[2], set()).add(match[0])
    assert {name: texts for name, texts in versions.items() if len({text.split()[0] for text in texts}) > 1} == {}


def test_a_library_that_changes_clocks_is_in_no_list() -> None:
    assert not {pin.name for file in LISTS.values() for pin in locked(file)} & NEEDLESS


def test_the_queue_needs_no_library_that_changes_clocks() -> None:
    block = "import sys; sys.modules['freezegun'] = None"
    program = f"{block}; import schedulers.redis_queue, rq.cli, rq_scheduler.scripts.rqscheduler"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)
