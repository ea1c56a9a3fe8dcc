"""Send envelopes to a scripted server with the SMTP sender."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.interface import SessionError
from delivery.smtp.sender import SMTPSender, SMTPServer
from tests.support.servers.fake_queue import FakeQueue
from tests.support.servers.smtp_server import Action, Handler, ScriptedServer


def sender(port: int, host: str = "127.0.0.1", **how: Any) -> SMTPSender:
    to_server = {name: how.pop(name) for name in ("security", "user", "password") if name in how}
    how.setdefault("connections", 4)
    return SMTPSender(SMTPServer(host, port, **to_server), hostname="client.example", **how)


def deliver(server: ScriptedServer, queue: FakeQueue, **how: Any) -> FakeQueue:
    sender(server.port, **how).deliver(queue)
    assert not queue.unaccounted
    assert not queue.todo
    return queue


def refusal(server: ScriptedServer, queue: FakeQueue, **how: Any) -> str:
    """Deliver to a server that refuses everything, and return the reason."""
    with pytest.raises(SessionError) as caught:
        sender(server.port, **how).deliver(queue)
    assert not queue.unaccounted
    return caught.value.reason


def only(number: int, action: Action) -> Handler:
    """Return a handler that acts only on call `number`, counted from 0."""
    return lambda line, n: action if n == number else None
