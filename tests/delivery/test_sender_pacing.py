"""SMTP_MAX_RATE: messages are spread evenly."""

from __future__ import annotations

import time

import pytest

from delivery.interface import Kind
from delivery.smtp.rate_limit import MAX_CATCH_UP_SECONDS, RateLimiter
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, sender
from tests.support.servers.smtp_server import Call, ScriptedServer


def test_messages_are_spread_evenly_at_the_highest_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []  # by the sender's clock: a busy machine may let the server see them later
    seen: list[float] = []
    start = RateLimiter.try_start

    def note(rate_limiter: RateLimiter, now: float) -> bool:
        may_start = start(rate_limiter, now)
        if may_start:
            started.append(now)
        return may_start

    monkeypatch.setattr(RateLimiter, "try_start", note)
    on = {"MAIL": lambda line, n: (Call(lambda: seen.append(time.monotonic())), "250 ok")}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(41)), max_rate=40, connections=40)
    assert len(queue.of_kind(Kind.SENT)) == len(started) == 41
    assert all(first <= then for first, then in zip(started, sorted(seen), strict=True)), "sent before its time"
    assert 1 - MAX_CATCH_UP_SECONDS <= started[-1] - started[0] < 10
    for first, last in zip(started, started[20:], strict=False):
        assert last - first > 0.5 - 2 * MAX_CATCH_UP_SECONDS, "a burst"
    assert len(server.peers) <= 20, "a low rate needs few connections"


def test_a_slow_pace_claims_little_ahead() -> None:
    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(100))
        queue.on_commit = lambda outcomes, ending: setattr(queue, "stopping", True)
        sender(server.port, max_rate=5, connections=50).deliver(queue)
    assert len(queue.returned) + len(queue.outcomes) <= 10
    assert not queue.unaccounted


def test_the_pace_catches_up_with_its_own_lateness_but_never_with_a_pause() -> None:
    rate_limiter = RateLimiter(10, 0.0)
    assert [rate_limiter.try_start(now) for now in (0.0, 0.05, 0.101, 0.201, 0.301)] == [True, False, True, True, True]
    assert rate_limiter.try_start(100.0)
    assert not rate_limiter.try_start(100.0 + 0.1 - MAX_CATCH_UP_SECONDS - 0.001)
    assert rate_limiter.try_start(100.0 + 0.1 - MAX_CATCH_UP_SECONDS)
    assert all(RateLimiter(0, 0.0).try_start(0.0) for _ in range(10))
