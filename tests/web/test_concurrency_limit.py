"""Permits are short only if they are not returned, not if many fast clients share them."""

from __future__ import annotations

import threading

import pytest
from werkzeug.exceptions import ServiceUnavailable

from web import body_limits
from web.body_limits import ConcurrencyLimit


def a_limit(monkeypatch: pytest.MonkeyPatch, turnover: float, timeout: float) -> ConcurrencyLimit:
    """A limit of one permit, which is taken."""
    monkeypatch.setattr(body_limits, "TURNOVER", turnover)
    monkeypatch.setattr(body_limits, "ACQUIRE_TIMEOUT", timeout)
    limit = ConcurrencyLimit(1, threading.Event(), "too many")
    limit.acquire()
    return limit


def test_a_request_that_gets_a_permit_at_once_when_it_is_returned_is_no_shortage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = a_limit(monkeypatch, turnover=60, timeout=120)
    waiting = threading.Thread(target=limit.acquire)
    waiting.start()
    while not limit._waiters:
        waiting.join(0.001)
    limit.release()
    waiting.join()
    assert not limit.is_short()
    assert not limit._shortage.is_set()


def test_a_permit_that_is_not_returned_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = a_limit(monkeypatch, turnover=0.001, timeout=60)
    waiting = threading.Thread(target=limit.acquire)
    waiting.start()
    assert limit._shortage.wait(60)  # before the permit is returned, so that clients that stall are disconnected
    assert limit.is_short()
    limit.release()
    waiting.join()


def test_a_request_that_gets_no_permit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = a_limit(monkeypatch, turnover=0.001, timeout=0.002)
    with pytest.raises(ServiceUnavailable):
        limit.acquire()
    assert limit._shortage.is_set()
