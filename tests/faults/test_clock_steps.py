"""The wall clock is changed while the service runs. Nothing goes out early, and sending resumes without help."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sender import clock_check
from storage import clock
from storage.senders import clock_steps
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.servers.smtp_server import Call, ScriptedServer

DAY = 24 * 60 * 60


class WallClock:
    """The system clock, as set by someone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.ahead)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


@pytest.fixture
def installation(where: dict[str, str], tmp_path: Path) -> Installation:
    installed = Installation(tmp_path, **where)
    installed.add_recipients(2)
    installed.save_email(1)
    for event_id, days in ((2, 29), (3, 200), (4, 300)):
        installed.save_email(event_id, due_in=days * DAY)
    assert sweep_once(installed) == []
    return installed


def errors_in_log(installation: Installation) -> list[str]:
    return [line for line in installation.log() if line.startswith("ERROR")]


def recorded(installation: Installation) -> list[str]:
    with installation.database() as database:
        return [error.kind for error in database.sender_errors.current()]


@pytest.mark.parametrize("seconds", [250 * DAY, 3600, 601, -601, -3600, -400 * DAY])
def test_a_clock_that_was_set_sends_nothing_and_sending_resumes_once_it_is_right_again(
    installation: Installation, wall_clock: WallClock, seconds: int
) -> None:
    wall_clock.ahead = seconds
    installation.save_email(5, due_in=-1)
    for _ in range(3):
        sweep_once(installation)
    assert len(installation.messages()) == 2
    (line,) = errors_in_log(installation)
    assert "judging by the time since the last check, it should say" in line and "--clock-is-right" in line
    assert recorded(installation) == ["clock"]
    wall_clock.ahead = 0
    installation.save_email(6, due_in=-1)
    assert sweep_once(installation) == []
    assert {message["Subject"] for message in installation.messages()} == {"Subject"}
    assert len(installation.messages()) == 4 if seconds > 0 else 6
    assert (recorded(installation), len(errors_in_log(installation))) == ([], 1)


@pytest.mark.parametrize("seconds", [500, -500])
def test_a_small_correction_is_none_of_its_business(
    installation: Installation, wall_clock: WallClock, seconds: int
) -> None:
    wall_clock.ahead = seconds
    installation.save_email(5, due_in=-1)
    assert sweep_once(installation) == []
    assert len(installation.messages()) == 4


def test_a_person_can_say_that_the_clock_is_right_unless_the_database_server_disagrees(
    installation: Installation, wall_clock: WallClock, where: dict[str, str]
) -> None:
    wall_clock.ahead = 3600
    sweep_once(installation)
    assert recorded(installation) == ["clock"]
    with installation.database() as database:
        database.record_heartbeat(int(time.time()))
    sweep_once(installation)
    assert recorded(installation) == (["clock"] if where else [])


def test_no_email_begins_if_the_clock_is_set_while_another_is_being_sent(
    where: dict[str, str], tmp_path: Path, wall_clock: WallClock
) -> None:
    def jump(line: bytes, nth: int) -> object:
        return Call(lambda: setattr(wall_clock, "ahead", 250 * DAY)), "250 2.1.0 Ok"

    with ScriptedServer(on={"MAIL": jump}) as server:
        installed = Installation(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}", SMTP_CONNECTIONS="1", **where)
        installed.add_recipients(3)
        installed.save_email(1)
        installed.save_email(2, due_in=200 * DAY)
        sweep_once(installed)
        assert len(server.accepted) == 3
        wall_clock.ahead = 0
        assert sweep_once(installed) == []
        assert len(server.accepted) == 3


def forget_the_boot(installation: Installation) -> None:
    with installation.database() as database, database.connection.transaction():
        database.connection.execute("DELETE FROM host_clocks")


def test_after_a_boot_the_clock_is_compared_with_the_database_servers(
    installation: Installation, wall_clock: WallClock, where: dict[str, str]
) -> None:
    forget_the_boot(installation)
    wall_clock.ahead = 100 * DAY
    errors = sweep_once(installation)
    assert len(installation.messages()) == (2 if where else 4)
    assert ["but the database server's clock says" in line for line in errors] == [True] * bool(where)


def test_after_a_boot_another_clock_is_normal(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with installation.database() as database, database.connection.transaction():
        database.connection.execute("UPDATE host_clocks SET boot_id = 'the one before', offset_seconds = 1")
    installation.save_email(5, due_in=-1)
    assert sweep_once(installation) == []
    assert len(installation.messages()) == 4


def test_where_boots_have_no_id_only_the_last_sweep_is_compared(
    installation: Installation, wall_clock: WallClock, where: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown: Callable[[], str] = lambda: clock.UNKNOWN_BOOT  # noqa: E731
    monkeypatch.setattr(clock_steps, "boot_id", unknown)
    wall_clock.ahead = 0 if where else 3600
    for _ in range(2):
        assert sweep_once(installation) == []


def test_what_the_clock_says_and_should_say_is_named() -> None:
    wrong = clock_steps.WrongClock(1_800_000_000, 1_700_000_000, "boot clock")
    assert clock_check.describe(wrong) == (
        "the clock says 2027-01-15 08:00 UTC, but judging by the time since the last check, it should say "
        "2023-11-14 22:13 UTC; nothing is sent"
    )
