"""The packages that this program runs on: those that it names, and none with a fault that was known when it was made.

What has become known since, `pip-audit` asks of PyPI (docs/deploy.md): nothing here goes over a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from monitoring.finding import Finding, error, ok, warning
from settings import FOLDER, Settings

FIXED_IN = {
    "flask": ("3.1.3", "a proxy may keep what was answered to somebody else (CVE-2026-27205)"),
    "werkzeug": ("3.1.6", "forms that take all memory, files that hang on Windows (CVE-2024-49767, CVE-2026-27199)"),
    "jinja2": ("3.1.6", "templates that leave their sandbox (CVE-2025-27516)"),
}
REQUIREMENTS = "requirements.txt"
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[.*\])?==(\S+)", re.MULTILINE)


def check_packages(settings: Settings) -> Iterator[Finding]:
    """Each that is another than it should be."""
    findings = [*_faults(), *_others(FOLDER / REQUIREMENTS)]
    yield from findings or [ok("version", f"the packages are those of {REQUIREMENTS}")]


def _faults() -> Iterator[Finding]:
    for name, (fixed, fault) in FIXED_IN.items():
        installed = _installed(name)
        if installed is not None and _numbers(installed) < _numbers(fixed):
            text = f"{name} {installed} has a known fault: {fault}; {fixed} has not"
            yield error("version", text, f"python -m pip install '{name}>={fixed}'")


def _others(requirements: Path) -> Iterator[Finding]:
    """One that is not installed belongs to another system, or nothing would run."""
    for name, pinned in PINNED.findall(requirements.read_text()):
        installed = _installed(name)
        if installed not in (None, pinned):
            text = f"{name} {installed} is installed, and {requirements.name} names {pinned}"
            yield warning("version", text, f"python -m pip install -r {requirements.name}")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", text)))
