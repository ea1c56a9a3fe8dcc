"""Copies of the project in any folder, for tests of cron and the scripts."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    "*.pyc.*",  # being written
    "*.db*",
    ".env",
    "outbox",
    "demo",
    "tasklog.log*",
    "postgresql-*-sender-*",  # lock files of senders in other tests
    "tests",
    "bench",
)
_STAND_IN = """\
import json, os, sys
ran = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}
with open(__file__ + ".part", "w") as file:
    json.dump(ran, file)
os.replace(file.name, __file__ + ".ran")
"""


def copy_project(folder: Path) -> Path:
    """Copy the project, like a fresh clone, with the Python of these tests as its .venv."""
    _compile()
    shutil.copytree(PROJECT, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
    return with_venv(folder)


@cache
def _compile() -> None:
    """Compile the project once, so that programs in the copies do not."""
    for path in PROJECT.glob("*/__init__.py"):
        compileall.compile_dir(path.parent, quiet=2)


def with_venv(folder: Path) -> Path:
    """Create the folder, with the Python of these tests as its .venv, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def stand_in(folder: Path) -> Path:
    """Create a `task.py` in `folder` that records how it was run. Return the path of that JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(_STAND_IN)
    return folder / "task.py.ran"


def makecron(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the `makecron.sh` in `folder` from another working directory."""
    return subprocess.run(
        [folder / "makecron.sh", *arguments],
        cwd="/",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it if CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
