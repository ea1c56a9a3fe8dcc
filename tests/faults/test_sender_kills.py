"""kill -9 of `task.py` at chosen moments: nothing is lost, and at most one message per connection is repeated."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults.killer import STRACE, Victim, killed_before, start_with_lease, wait_until
from tests.support.faults.sender_killer import SenderCrashes
from tests.support.invariants import Mailing
from tests.support.servers.smtp_server import Call, Close, Handler, ScriptedServer, Wait

ONE = {"SMTP_CONNECTIONS": "1"}
PIPELINED, PLAIN = ("PIPELINING", "8BITMIME", "SIZE 10000000"), ("8BITMIME",)
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def only(number: int, *actions: Any) -> Handler:
    """Return a handler that takes these actions on line `number`, and the usual one on others."""
    return lambda line, n: actions if n == number else None


def steps(victim: Victim) -> dict[str, tuple[dict[str, Handler], int, int]]:
    """Where to kill: the server's action, and how many messages are then in doubt, with and without PIPELINING."""
    kill, freeze = victim.kill, victim.freeze
    return {
        "connected": ({"CONNECT": only(0, kill, Close())}, 0, 0),
        "greeted": ({"EHLO": only(0, kill, Close())}, 0, 0),
        "MAIL sent": ({"MAIL": only(0, kill, Close())}, 0, 0),
        "recipient accepted, DATA not answered": ({"DATA": only(0, kill, Close())}, 0, 0),
        "dot read, message not taken": ({"CONTENT": only(1, kill, Close())}, 1, 1),
        "dot read, message taken": ({"CONTENT": only(1, kill, "250 ok")}, 1, 1),
        "answered, answer not read": ({"CONTENT": only(1, freeze, "250 ok", kill)}, 1, 1),
        "refused, refusal not read": ({"CONTENT": only(1, freeze, "451 later", kill)}, 1, 1),
        "next MAIL sent": ({"CONTENT": only(0, freeze, "250 ok"), "MAIL": only(1, kill)}, 1, 0),
        "next DATA sent": ({"CONTENT": only(0, freeze, "250 ok"), "DATA": only(1, kill)}, 1, 0),
        "next dot read": ({"CONTENT": only(2, kill, "250 ok")}, 1, 1),
        "last dot read": ({"CONTENT": only(4, kill, "250 ok")}, 1, 1),
        "QUIT sent": ({"QUIT": only(0, kill, Close())}, 0, 0),
    }


STEPS = list(steps(Victim()))


@pytest.mark.parametrize("offers", [PIPELINED, PLAIN], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("step", STEPS)
def test_a_sender_killed_at_any_step_leaves_at_most_the_message_that_was_ending_in_doubt(
    step: str, offers: tuple[str, ...], tmp_path: Path, where: dict[str, str]
) -> None:
    victim = Victim()
    on, pipelined, plain = steps(victim)[step]
    if offers is PLAIN and len(on) > 1:
        del on["CONTENT"]  # the previous reply was already read and recorded
    with ScriptedServer(on=on, offers=offers) as server:
        mailing = Mailing(tmp_path, server, 5, **ONE, **where)
        assert victim.run(mailing) == -signal.SIGKILL
        mailing.finish()
        found = mailing.check(most_in_doubt=1)
    assert found.statuses == {"sent": 5}
    assert found.in_doubt == (pipelined if offers is PIPELINED else plain)
    assert found.doubled <= found.in_doubt


@pytest.mark.parametrize("step", [step for step in STEPS if "dot" in step or "answer" in step])
def test_with_hold_nothing_is_ever_doubled(step: str, tmp_path: Path, where: dict[str, str]) -> None:
    victim = Victim()
    with ScriptedServer(on=steps(victim)[step][0]) as server:
        mailing = Mailing(tmp_path, server, 5, IN_DOUBT="hold", **ONE, **where)
        assert victim.run(mailing) == -signal.SIGKILL
        mailing.finish()
        found = mailing.check(most_in_doubt=1)
    assert found.doubled == 0
    assert found.statuses["unknown"] == found.in_doubt
    assert found.statuses.total() == 5


def test_a_sender_killed_in_the_middle_of_a_content_has_sent_no_message(tmp_path: Path) -> None:
    victim = Victim()
    with ScriptedServer(at_octet={100_000: (victim.kill, Close())}, receive_buffer=4096) as dies:
        mailing = Mailing(tmp_path, dies, 0, **ONE)
        mailing.add_recipients(2)
        mailing.save_email(2, subject="2", content="a line of the content\n" * 100_000)
        assert victim.run(mailing) == -signal.SIGKILL
        assert dies.accepted == []
    with ScriptedServer() as server:
        mailing.move_to(server)
        mailing.finish()
        found = mailing.check(most_in_doubt=1)
    assert (found.statuses, found.doubled) == ({"sent": 2}, 0)


def test_each_connection_has_at_most_one_message_in_doubt(tmp_path: Path, where: dict[str, str]) -> None:
    victim = Victim()
    on = {"CONTENT": lambda line, n: (victim.kill, "250 ok") if n == 40 else (Wait(0.002), "250 ok")}
    with ScriptedServer(on=on) as server:
        mailing = Mailing(tmp_path, server, 100, SMTP_CONNECTIONS="8", **where)
        assert victim.run(mailing) == -signal.SIGKILL
        mailing.finish()
        found = mailing.check(most_in_doubt=server.most_at_once)
    assert server.most_at_once <= 8
    assert found.statuses == {"sent": 100}
    assert found.in_doubt >= 1


@needs_strace
@pytest.mark.parametrize(
    ("call", "stride"), [("connect", 1), ("sendto", 1), ("recvfrom", 1), ("fsync,fdatasync", 1), ("pwrite64", 7)]
)
def test_a_sender_killed_before_any_system_call_loses_nothing(call: str, stride: int, tmp_path: Path) -> None:
    """This includes replies that were read but not recorded, or not synced, and every page of each commit."""
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    number = 1 + seed % stride
    while _survives_a_kill(tmp_path / f"{number}", call, number):
        number += stride
    assert number > 1


def _survives_a_kill(folder: Path, call: str, number: int) -> bool:
    folder.mkdir()
    with ScriptedServer() as server:
        mailing = Mailing(folder, server, 3, **ONE)
        killed = killed_before(mailing, call, number)
        mailing.finish()
        found = mailing.check(most_in_doubt=1 if killed else 0)
    assert found.statuses == {"sent": 3}, (call, number)
    assert set(mailing.log()) == {"1"}
    return killed


@pytest.mark.parametrize("moment", ["before the dot", "after the dot"])
def test_a_sender_asleep_beyond_its_lease_sends_nothing_more_once_it_wakes(
    moment: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A sender that sleeps within a transaction would block all others, so this waits until it is outside one."""
    victim = Victim()
    verb, answer = ("DATA", "354 go") if moment == "before the dot" else ("CONTENT", "250 ok")
    with ScriptedServer(on={verb: only(1, Wait(0.1), victim.freeze, answer)}, offers=PLAIN) as server:
        mailing = Mailing(tmp_path, server, 5, **ONE)
        sleeper = start_with_lease(mailing, 1)
        request.addfinalizer(sleeper.kill)
        victim.start(sleeper)
        wait_until(lambda: victim.state() == "T")
        time.sleep(1.1)
        second = start_with_lease(mailing, 1)
        assert second.communicate(timeout=30) == ("", "")
        accepted = len(server.accepted)
        before = mailing.check(most_in_doubt=1)
        victim.wake()
        _, stderr = sleeper.communicate(timeout=30)
        after = mailing.check(most_in_doubt=1)
    assert "another sender took over" in stderr
    assert len(server.accepted) == accepted
    assert after == before
    assert after.statuses == {"sent": 5}
    assert after.doubled <= after.in_doubt <= 1


@pytest.mark.parametrize("name", ["terminate", "interrupt"])
@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "QUIT"])
def test_a_sender_asked_to_stop_finishes_what_is_in_flight(
    verb: str, name: str, tmp_path: Path, where: dict[str, str]
) -> None:
    victim = Victim()
    usual = {"CONNECT": "220 hi", "DATA": "354 go", "EHLO": "250 PIPELINING", "QUIT": ("221 bye", Close())}
    asked: list[float] = []
    note = Call(lambda: asked.append(time.monotonic()))
    answer = usual.get(verb, "250 ok")
    actions = (getattr(victim, name), note, Wait(0.05), *(answer if isinstance(answer, tuple) else (answer,)))
    with ScriptedServer(on={verb: only(0, *actions)}) as server:
        mailing = Mailing(tmp_path, server, 50, SMTP_CONNECTIONS="2", **where)
        assert victim.run(mailing) == 0
        assert time.monotonic() - asked[0] < 4  # no longer than the wait for the reply to QUIT
        accepted = len(server.accepted)
        left = mailing.statuses()
        assert (left["sent"], set(left) - {"sent", "queued"}) == (accepted, set())
        mailing.finish()
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 50}, 0)


def test_a_second_request_to_stop_ends_the_sender_at_once(tmp_path: Path) -> None:
    victim = Victim()
    on = {"CONTENT": only(1, victim.terminate, Wait(0.1), victim.terminate, Wait(0.5), "250 ok")}
    with ScriptedServer(on=on) as server:
        mailing = Mailing(tmp_path, server, 5, **ONE)
        assert victim.run(mailing) == -signal.SIGTERM
        wait_until(lambda: len(server.accepted) == 2)
        mailing.finish()
        found = mailing.check(most_in_doubt=1)
    assert (found.statuses, found.in_doubt) == ({"sent": 5}, 1)


@pytest.mark.parametrize("in_doubt", ["resend", "hold"])
def test_kills_of_four_overlapping_senders_at_random_moments_lose_nothing(
    in_doubt: str, tmp_path: Path, where: dict[str, str]
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    crashes = SenderCrashes(tmp_path, deliveries=400, kills=10, in_doubt=in_doubt, seed=seed, where=where)
    found = crashes.run()
    assert found.lost == 0
    assert found.in_doubt <= crashes.bound
    assert found.doubled <= (0 if in_doubt == "hold" else found.in_doubt)
