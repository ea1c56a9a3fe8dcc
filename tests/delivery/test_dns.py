"""A mail server whose name does not resolve, or takes longer to resolve than a lease lasts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.support.faults.killer import SHORT_LEASE, start_with_lease, wait_until
from tests.support.installation import TASK
from tests.support.invariants import Mailing
from tests.support.servers.name_server import LOOPBACK, SERVFAIL, NameServer, asking_it
from tests.support.servers.smtp_server import ScriptedServer

LEASE = 1  # second


class Named(Mailing):
    """A mailing whose mail server is given by name."""

    def move_to(self, server: ScriptedServer) -> None:
        self.server = server
        self.environment["EMAIL_URL"] = f"smtp://mail.example:{server.port}"

    def start_asking(self, *program: str, timeout: int) -> Popen[str]:
        command = asking_it(self.folder, program, timeout=timeout)
        return Popen(command, env=self.environment, stdout=PIPE, stderr=PIPE, text=True, cwd="/")


@pytest.fixture
def mailing(tmp_path: Path) -> Iterator[Named]:
    with ScriptedServer() as server:
        yield Named(tmp_path, server, 3)


@pytest.mark.parametrize("answer", [SERVFAIL, None], ids=["SERVFAIL", "silence"])
def test_a_name_server_that_fails_is_one_error_and_no_attempt(answer: bytes | None, mailing: Named) -> None:
    with NameServer(lambda: answer) as names:
        sweep = mailing.start_asking(*TASK, timeout=1)
        _, stderr = sweep.communicate(timeout=30)
        assert (sweep.returncode, stderr) == (1, "ERROR mail.example: Temporary failure in name resolution\n")
        assert mailing.statuses().total() == 0, "claimed before there was anywhere to send it"
        assert not mailing.server.peers
        names.answer = lambda: LOOPBACK
        assert mailing.start_asking(*TASK, timeout=1).communicate(timeout=30) == ("", "")
    found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 3}, 0)


@pytest.fixture
def found_late(mailing: Named) -> Iterator[tuple[Popen[str], Callable[[], str]]]:
    """Return the last output of a sender whose lease expires while it waits for DNS."""
    wait = threading.Event()

    def answer() -> bytes:
        wait.wait(20)
        return LOOPBACK

    def let_go_on() -> str:
        wait.set()
        return sender.communicate(timeout=30)[1]

    with NameServer(answer) as names:
        sender = mailing.start_asking(sys.executable, str(SHORT_LEASE), str(LEASE), timeout=20)
        try:
            wait_until(lambda: names.questions > 0)
            time.sleep(LEASE)
            yield sender, let_go_on
        finally:
            wait.set()
            sender.kill()


def test_a_sender_that_was_taken_over_while_it_looked_up_a_name_sends_nothing(
    mailing: Named, found_late: tuple[Popen[str], Callable[[], str]]
) -> None:
    _, let_go_on = found_late
    mailing.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{mailing.server.port}"
    assert start_with_lease(mailing, LEASE).communicate(timeout=30) == ("", "")
    assert len(mailing.server.accepted) == 3
    mailing.save_email(2, subject="2")
    assert "another sender took over" in let_go_on()
    assert len(mailing.server.accepted) == 3
    mailing.finish()
    found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 6}, 0)


def test_a_sender_that_nobody_took_over_while_it_looked_up_a_name_sends_everything(
    mailing: Named, found_late: tuple[Popen[str], Callable[[], str]]
) -> None:
    sender, let_go_on = found_late
    assert (let_go_on(), sender.returncode) == ("", 0)
    found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 3}, 0)
