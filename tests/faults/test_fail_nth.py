"""The N-th database call or socket call of a sweep fails, for N = 1, 2, 3, … until none does.

After each failure, the database is in the state before or after the failed call, and the next sweep completes the work.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sender.work_queue
from delivery.smtp import transport
from delivery.smtp.session import Session
from delivery.smtp.transport import Address
from tests.support.faults.failing_calls import FailingDriver, FailingSocket, Fault, broken_disk, connection_reset
from tests.support.faults.killer import Victim
from tests.support.in_process import sweep_once
from tests.support.invariants import Found, Mailing, check_whole, hurry
from tests.support.servers.smtp_server import Accepted, ScriptedServer

MESSAGES, CONNECTIONS = 9, 3


class Again:
    """A mailing that can be reset to its initial state, with or without a dead sender."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.mailing = Mailing(folder, server, MESSAGES, SMTP_CONNECTIONS=str(CONNECTIONS))
        self._folder = folder
        self._accepted: list[Accepted] = []
        self._files: dict[Path, bytes] = {}
        self._keep()

    def with_a_dead_sender(self) -> None:
        """Make the initial state include a sender that was killed at its fourth dot."""
        victim, script = Victim(), self.mailing.server.script
        script.on = {"CONTENT": lambda content, n: (victim.kill, "250 ok") if n == 3 else None}
        assert victim.run(self.mailing) == -signal.SIGKILL
        script.on = {}
        self._keep()

    def begin(self) -> Mailing:
        self.mailing.server.wait_until_idle()  # otherwise its late reads would count for this run
        for file in self._folder.iterdir():
            file.unlink()
        for file, octets in self._files.items():
            file.write_bytes(octets)
        self.mailing.server.accepted[:] = self._accepted
        return self.mailing

    def _keep(self) -> None:
        self._files = {file: file.read_bytes() for file in self._folder.iterdir()}
        self._accepted = list(self.mailing.server.accepted)


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Again]:
    impatient = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=lambda seconds: None)
    monkeypatch.setattr(sender.work_queue, "time", impatient)
    monkeypatch.setattr("delivery.smtp.loop.INITIAL_BATCH_SIZE", MESSAGES // 2)  # so that there are several
    with ScriptedServer() as server:
        yield Again(tmp_path, server)


def made_right(mailing: Mailing, most_in_doubt: int) -> Found:
    """Check that the failure left the database intact, and that another sweep completes the work."""
    with mailing.database() as database:
        check_whole(database)
        hurry(database)
    assert sweep_once(mailing) == []
    assert {line for line in mailing.log() if not line.startswith("ERROR")} == {"1"}
    return mailing.check(most_in_doubt=most_in_doubt)


@pytest.mark.parametrize(
    ("dead", "for_good", "error", "stride"),
    [
        pytest.param(False, False, broken_disk, 1, id="once"),
        pytest.param(False, True, broken_disk, 1, id="permanently"),
        pytest.param(True, False, broken_disk, 1, id="once, taking over"),
        pytest.param(False, False, MemoryError, 3, id="for want of memory"),
    ],
)
def test_a_failing_database_call_loses_nothing_and_doubles_only_what_was_in_doubt(
    dead: bool,
    for_good: bool,
    error: Callable[[], Exception],
    stride: int,
    again: Again,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if dead:
        again.with_a_dead_sender()
    monkeypatch.setattr(sender.work_queue, "BUSY_RETRY_SECONDS", 0.0 if for_good else 120.0)
    for number in itertools.count(1, stride):
        fault, mailing = Fault(number, error, for_good=for_good), again.begin()
        errors = sweep_once(mailing, partial(FailingDriver, fault=fault))
        found = made_right(mailing, most_in_doubt=CONNECTIONS * (dead + for_good + (error is MemoryError)))
        assert found.statuses == {"sent": MESSAGES}, number
        assert found.doubled <= found.in_doubt, number
        assert errors or not (fault.happened and for_good), number
        if not fault.happened:
            break
    print(f"{number - 1} database calls")
    assert number > 50
    assert errors == []


@pytest.mark.parametrize("half", [False, True], ids=["nothing was sent", "the half was sent"])
def test_a_failing_socket_call_loses_nothing_and_doubles_only_what_was_in_doubt(
    half: bool, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_connect = transport.start_connect

    def connect(address: Address) -> Any:
        fault()
        return FailingSocket(start_connect(address), fault, half=half)

    monkeypatch.setattr(transport, "start_connect", connect)
    for number in itertools.count(1):
        fault, mailing = Fault(number, connection_reset), again.begin()
        sweep_once(mailing)
        happened, fault = fault.happened, Fault(0, connection_reset)
        found = made_right(mailing, most_in_doubt=1 if happened else 0)
        assert found.statuses == {"sent": MESSAGES}, number
        assert found.doubled <= found.in_doubt, number
        if not happened:
            break
    print(f"{number - 1} socket calls")
    assert number > 10  # a busy machine needs fewer: more arrives for each call


def test_a_session_without_memory_loses_nothing_and_doubles_only_what_was_in_doubt(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The envelope has been started. Neither it nor the queued ones count as failed."""
    advance = Session._advance

    def advance_or_fail(self: Session) -> None:
        fault()
        advance(self)

    monkeypatch.setattr(Session, "_advance", advance_or_fail)
    for number in itertools.count(1, 2):
        fault, mailing = Fault(number, MemoryError), again.begin()
        sweep_once(mailing)
        happened, fault = fault.happened, Fault(0, MemoryError)
        found = made_right(mailing, most_in_doubt=CONNECTIONS if happened else 0)
        assert found.statuses == {"sent": MESSAGES}, number
        assert found.doubled <= found.in_doubt, number
        if not happened:
            break
    assert number > 3  # beyond the greeting and EHLO
