"""Deliver a queue with the SMTP sender to a scripted server."""

from __future__ import annotations

from typing import Any

from delivery.sender import SMTPSender, SMTPServer
from tests.support.smtp_server import ScriptedServer
from tests.support.smtp_work import KeptWork


def sender(port: int, host: str = "127.0.0.1", **how: Any) -> SMTPSender:
    to_server = {name: how.pop(name) for name in ("security", "user", "password") if name in how}
    how.setdefault("connections", 4)
    return SMTPSender(SMTPServer(host, port, **to_server), hostname="client.example", **how)


def deliver(server: ScriptedServer, work: KeptWork, **how: Any) -> KeptWork:
    sender(server.port, **how).deliver(work)
    assert not work.unaccounted
    assert not work.todo
    return work
