"""SMTP_MAX_RATE: messages are spread evenly."""

from __future__ import annotations

import time

import pytest

from delivery.interface import Kind
from delivery.smtp.rate_limit import LATE, Pace
from tests.support.smtp_sender import deliver, sender
from tests.support.smtp_server import Call, ScriptedServer
from tests.support.smtp_work import KeptWork, envelopes


def test_messages_are_spread_evenly_at_the_highest_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []  # by the sender's clock: a busy machine may let the server see them later
    seen: list[float] = []
    start = Pace.start

    def note(pace: Pace, now: float) -> bool:
        may_start = start(pace, now)
        if may_start:
            started.append(now)
        return may_start

    monkeypatch.setattr(Pace, "start", note)
    on = {"MAIL": lambda line, n: (Call(lambda: seen.append(time.monotonic())), "250 ok")}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(41)), max_rate=40, connections=40)
    assert len(work.of_kind(Kind.SENT)) == len(started) == 41
    assert all(first <= then for first, then in zip(started, sorted(seen), strict=True)), "sent before its time"
    assert 1 - LATE <= started[-1] - started[0] < 10
    for first, last in zip(started, started[20:], strict=False):
        assert last - first > 0.5 - 2 * LATE, "a burst"
    assert len(server.peers) <= 20, "a slow pace needs few connections"


def test_a_slow_pace_claims_little_ahead() -> None:
    with ScriptedServer() as server:
        work = KeptWork(envelopes(100))
        work.on_record = lambda outcomes, ending: setattr(work, "stopping", True)
        sender(server.port, max_rate=5, connections=50).deliver(work)
    assert len(work.returned) + len(work.outcomes) <= 10
    assert not work.unaccounted


def test_the_pace_catches_up_with_its_own_lateness_but_never_with_a_pause() -> None:
    pace = Pace(10, 0.0)
    assert [pace.start(now) for now in (0.0, 0.05, 0.101, 0.201, 0.301)] == [True, False, True, True, True]
    assert pace.start(100.0)
    assert not pace.start(100.0 + 0.1 - LATE - 0.001)
    assert pace.start(100.0 + 0.1 - LATE)
    assert all(Pace(0, 0.0).start(0.0) for _ in range(10))
