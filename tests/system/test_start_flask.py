"""`./start_flask.sh` on fresh machines: a clone without `.venv`, an old Python, no venv module, no network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.project_copy import PROJECT, missing
from tests.support.service import give_venv, linux_only, started, wait_until

TOOLS = ("bash", "env", "dirname", "cat", "cmp", "grep", "tail", "cut")
OLD = "sys.version_info = (3, 9, 2, 'final', 0)"
WITHOUT_VENV = "sys.modules['ensurepip'] = None"


def machine(folder: Path, pretence: str | None) -> dict[str, str]:
    """Return the environment of a machine with only these tools, and a fake python3."""
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or missing(f"there is no {tool}"))
    if pretence is not None:
        script = f"import sys; {pretence}; exec(sys.argv[1])"
        (folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}" "$2"\n')
        (folder / "python3").chmod(0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


def fails(project: Path, environ: dict[str, str]) -> str:
    """Return the single line of a start that must fail."""
    done = subprocess.run([project / "start_flask.sh"], cwd="/", env=environ, capture_output=True, text=True)
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Installing ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("pretence", "text"),
    [
        (OLD, "Python 3.11 or later is required, but python3 is 3.9. Install it"),
        (None, "Python 3.11 or later is required, but python3 was not found. Install it"),
        (
            WITHOUT_VENV,
            f"Install it and start again (Debian, Ubuntu: sudo apt install python3.{sys.version_info[1]}-venv)",
        ),
    ],
)
def test_a_python_that_will_not_do_is_one_line_with_the_remedy(
    project_copy: Path, tmp_path: Path, pretence: str | None, text: str
) -> None:
    line = fails(project_copy, machine(tmp_path / "bin", pretence))
    assert line.startswith("start_flask.sh: ")
    assert text in line


def test_help_needs_nothing_installed(project_copy: Path, tmp_path: Path) -> None:
    command = [str(project_copy / "start_flask.sh"), "--help"]
    done = subprocess.run(command, env=machine(tmp_path / "bin", None), capture_output=True, text=True, check=True)
    assert "Usage: ./start_flask.sh [--demo]" in done.stdout
    assert not (project_copy / ".venv").exists()


@linux_only
def test_a_fresh_clone_that_was_interrupted_installs_itself_and_the_second_start_is_quick(
    project_copy: Path, free_port: int
) -> None:
    environ = {"PORT": str(free_port), "PIP_NO_COMPILE": "1"}  # installing without compiling is faster
    for part in (".venv/bin/python", ".venv/pip.log"):  # while it creates .venv, then while it installs into it
        with started(project_copy, **environ) as service:
            assert wait_until((project_copy / part).exists, 60), service.output
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(30) != 0
            assert service.leaves_nothing(), service.processes()
    with started(project_copy, **environ) as service:
        if not service.has_printed("Running at ", 200):
            missing(f"nothing can be installed here: {service.output}")
        assert service.stop() == 0
    installed_at = (project_copy / ".venv" / "pip.log").stat().st_mtime_ns
    with started(project_copy, **environ) as service:
        assert service.has_printed("Running at ", 60), service.output
        assert "Installing" not in service.output
        assert (project_copy / ".venv" / "pip.log").stat().st_mtime_ns == installed_at
        assert service.stop() == 0


@linux_only
def test_a_stop_right_after_a_command_was_started_ends_the_command(tmp_path: Path) -> None:
    started_file = tmp_path / "started"
    script = """
        . serving/environment.sh
        file=$1
        set() {  # what `stoppable` does next
            builtin set "$@"
            [ "$1" != +m ] || { until [ -s "$file" ]; do sleep 0.01; done; kill -TERM $$; }
        }
        stoppable sh -c 'echo $$ >"$0"; exec sleep 60' "$file"
    """
    done = subprocess.run(["bash", "-c", script, "bash", started_file], cwd=PROJECT, timeout=30)
    assert done.returncode == 143
    assert not Path("/proc", started_file.read_text().strip()).exists()


def test_changed_requirements_are_installed_by_the_next_start_or_it_says_why_not(project_copy: Path) -> None:
    give_venv(project_copy)
    with (project_copy / "requirements.txt").open("a") as file:
        file.write(f"no-such-package-at-all==1 --hash=sha256:{'0' * 64}\n")
    offline = CLEAN_ENVIRONMENT | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    for _ in range(2):  # the one after it tries again
        line = fails(project_copy, offline)
        assert "No matching distribution found for no-such-package-at-all==1" in line
        assert "Check the network connection" in line


def test_a_package_without_a_hash_is_not_installed(project_copy: Path) -> None:
    give_venv(project_copy)
    wheel = project_copy / "tampered-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tampered-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tampered\nVersion: 1\n")
        archive.writestr("tampered-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tampered-1.dist-info/RECORD", "")
    (project_copy / "requirements.txt").write_text(f"{wheel.as_uri()}\n")
    assert "Hashes are required" in fails(project_copy, CLEAN_ENVIRONMENT | {"PIP_CONFIG_FILE": os.devnull})


def test_the_windows_script_has_windows_line_ends_and_says_the_same() -> None:
    windows = (PROJECT / "start_flask.bat").read_bytes()
    assert windows.count(b"\n") == windows.count(b"\r\n")
    for text in (
        b"-m serving %*",
        b"-m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.txt",
        b"(3, 11)",
    ):
        assert text in windows
