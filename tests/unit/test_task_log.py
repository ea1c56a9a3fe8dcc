from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from intake.text import one_line
from sender.task_log import TaskLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasklog.log"


def test_a_finished_email_is_a_line_with_its_event_id(path: Path) -> None:
    TaskLog(path).finished([-42])
    assert path.read_text() == "-42\n"


def test_an_error_names_the_email_and_the_recipient_in_the_log_and_on_stderr(path: Path) -> None:
    stderr = io.StringIO()
    tasklog = TaskLog(path, stderr)
    tasklog.error("550 no such user", 7, "p@example.com")
    tasklog.error("the server is away")
    lines = "ERROR 7 p@example.com: 550 no such user\nERROR the server is away\n"
    assert path.read_text() == stderr.getvalue() == lines
    assert tasklog.errors == 2


@pytest.mark.parametrize("text", ["a\r\n7", "\x1b[2J", "a\u2028b", "a\x85b", "\x00", "\u202e"])
def test_nothing_a_server_says_makes_a_second_line(path: Path, text: str) -> None:
    TaskLog(path, io.StringIO()).error(text)
    assert len(path.read_text().splitlines()) == 1
    assert one_line(text).isprintable()


def test_the_log_may_be_rotated_between_two_lines(path: Path) -> None:
    tasklog = TaskLog(path)
    tasklog.finished([1])
    path.rename(path.with_suffix(".1"))
    tasklog.finished([2])
    assert path.read_text() == "2\n"


def test_an_error_is_printed_to_stderr_when_the_log_cannot_be_written(tmp_path: Path) -> None:
    stderr = io.StringIO()
    tasklog = TaskLog(tmp_path, stderr)  # a folder
    tasklog.error("550 no", 7)
    assert stderr.getvalue().splitlines() == [
        f"ERROR cannot write {tmp_path}: Is a directory (check its permissions and the disk, or set TASKLOG)",
        "ERROR 7: 550 no",
    ]


def test_a_stderr_that_is_gone_stops_nothing(path: Path) -> None:
    full = io.TextIOWrapper(Path("/dev/full").open("wb", buffering=0), write_through=True)  # noqa: SIM115
    TaskLog(path, full).error("550 no", 7)
    assert path.read_text() == "ERROR 7: 550 no\n"
    full.detach().close()


def test_a_terminal_can_be_the_log(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    TaskLog(Path(f"/dev/fd/{writing}")).finished([1, 2])
    assert os.read(reading, 100) == b"1\n2\n"
    os.close(reading)
    os.close(writing)


def test_only_its_owner_can_read_the_log(path: Path) -> None:
    TaskLog(path).finished([1])
    assert path.stat().st_mode & 0o777 == 0o600
