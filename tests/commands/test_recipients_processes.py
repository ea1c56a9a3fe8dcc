"""`flask recipients` as processes: pipes, terminals, memory, and `kill -9`."""

from __future__ import annotations

import os
import pty
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import PIPE

import pytest

from database import Database
from settings import FOLDER, Settings
from storage.schema.version import VERSION
from tests.support import warm_python
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.project_copy import copy_project
from tests.support.recipients_command import Command, commands_of, stored

Start = Callable[..., "subprocess.Popen[bytes]"]
MANY = 20_000
# Not ru_maxrss, which starts with the peak of the parent process.
PRINT_PEAK = (
    "import atexit, pathlib, sys; from flask.cli import main;"
    "status = pathlib.Path('/proc/self/status');"
    "atexit.register(lambda: print(status.read_text().partition('VmHWM:')[2].split()[0], file=sys.stderr));"
    "main()"
)


@pytest.fixture
def recipients(settings: Settings, database: Database) -> Command:
    return commands_of(settings)


def environment_of(settings: Settings) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": f"sqlite:///{settings.database_path}", "NO_COLOR": "1"}


@pytest.fixture
def start(settings: Settings, database: Database) -> Iterator[Start]:
    """`flask recipients …` in a process of its own, run from the project's folder without --app."""
    environ = environment_of(settings)
    with ExitStack() as processes:

        def popen(
            *words: str, stderr: int = PIPE, python: tuple[str, ...] = ("-m", "flask")
        ) -> subprocess.Popen[bytes]:
            line = [sys.executable, *python, "recipients", *words]
            process = subprocess.Popen(line, cwd=FOLDER, env=environ, stdin=PIPE, stdout=PIPE, stderr=stderr)
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield popen


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return csv_of(tmp_path / "many.csv", MANY)


def csv_of(path: Path, count: int) -> Path:
    path.write_text("".join(f"person{number * 7919 % count}@example.com\n" for number in range(count)))
    return path


def test_the_command_runs_from_the_project_folder(start: Start, database: Database) -> None:
    output, errors = start("import", "-").communicate(b"a@example.com\n")
    assert (output, errors) == (b"1 added, 0 already existed\n", b"")
    output, errors = start("list").communicate()
    assert (output, errors) == (b"a@example.com\tactive\n", b"")


@pytest.mark.parametrize("command", [("-m", "flask"), ("-m", "flask", "--app", "email_app")])
def test_the_command_reads_the_settings_that_task_py_reads(tmp_path: Path, command: tuple[str, ...]) -> None:
    project = copy_project(tmp_path / "a clone")
    (tmp_path / ".env").write_text("TIMEZONE=Mars\nSENDERS=0\nDATABASE_URL=sqlite:///of-the-parent.db\n")
    (project / ".env").write_text("DATABASE_URL='sqlite:///${HOME}.db'\nMAIL_FROM=${NAME} <a@b.example>\n")
    (project / ".env").chmod(0o600)
    line = [sys.executable, *command, "init-db"]
    environ = CLEAN_ENVIRONMENT | {"HOME": "elsewhere"}
    done = subprocess.run(line, cwd=project, env=environ, capture_output=True, text=True)
    assert done.stdout == f"{project}/${{HOME}}.db: created the tables (schema version {VERSION})\n", done.stderr
    given = environ | {"DATABASE_URL": "sqlite:///given.db", "FLASK_RUN_FROM_CLI": "true", "PORT": "5001"}
    done = subprocess.run(line, cwd=project, env=given, capture_output=True, text=True)
    assert done.stdout == f"{project}/given.db: created the tables (schema version {VERSION})\n", done.stderr


def test_a_reader_that_leaves_early_hears_no_complaint(start: Start, recipients: Command, many: Path) -> None:
    assert recipients("import", str(many)).output == "20,000 added, 0 already existed\n"
    for command in ("list", "export"):
        process = start(command)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait()
        process.stderr.close()


def test_progress_is_shown_on_a_terminal_and_wiped(start: Start, many: Path) -> None:
    terminal, other_end = pty.openpty()
    process = start("import", str(many), stderr=other_end)
    output, _ = process.communicate()
    shown = os.read(terminal, 10_000)
    os.close(other_end)
    os.close(terminal)
    assert output == b"20,000 added, 0 already existed\n"
    assert b"\r10,000 rows (" in shown
    assert shown.endswith(b"\r" + b" " * 40 + b"\r")
    assert b"\x1b" not in shown


def test_memory_does_not_grow_with_the_file(start: Start, tmp_path: Path) -> None:
    peaks = []
    for count in (MANY // 2, 5 * MANY // 2):
        process = start("import", str(csv_of(tmp_path / "people.csv", count)), python=("-c", PRINT_PEAK))
        output, peak = process.communicate()
        assert process.returncode == 0, output
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 4000, f"peaks in kB: {peaks}"


def test_an_import_killed_at_any_moment_is_all_or_nothing(
    start: Start, settings: Settings, database: Database, many: Path
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    command = [sys.executable, "-m", "flask", "recipients", "import", str(many)]
    for _ in range(8):
        process = warm_python.start(command, environment_of(settings), cwd=str(FOLDER))
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.6))
        process.kill()
        process.wait(20)
        assert len(stored(database)) in (0, MANY)
    assert start("import", str(many)).wait() == 0
    assert len(stored(database)) == MANY


def test_an_import_that_waits_for_its_pipe_keeps_nobody_waiting(start: Start, recipients: Command) -> None:
    process = start("import", "-")
    assert process.stdin is not None
    process.stdin.write(b"a@example.com\n" * 50_000)  # more than the pipe holds, so it was read
    process.stdin.flush()
    assert recipients("add", "b@example.com").exit_code == 0
    process.kill()
    process.communicate()
    assert recipients("list").output == "b@example.com\tactive\n"


def test_a_bad_setting_is_one_line(settings: Settings) -> None:
    environ = {**os.environ, "DATABASE_URL": f"sqlite:///{settings.database_path}", "TIMEZONE": "Nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "recipients", "list"], cwd=FOLDER, env=environ, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"TIMEZONE" in done.stderr
