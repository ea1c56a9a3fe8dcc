"""Pipelined commands, and servers that cannot handle them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from delivery.interface import Kind
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, only
from tests.support.servers.smtp_server import Close, ScriptedServer


@pytest.mark.parametrize("how", [{"follows": False}, {"groups": False}, {"offers": ()}])
def test_a_server_that_trips_over_pipelining_gets_every_message_once(how: dict[str, Any]) -> None:
    with ScriptedServer(**how) as server:
        queue = deliver(server, FakeQueue(envelopes(60)), connections=3)
    assert len(queue.of_kind(Kind.SENT)) == 60
    assert Counter(server.recipients) == Counter(queue.of_kind(Kind.SENT))
    assert sum(b"503" in reply.encode() for reply in queue.replies()) == 0


def test_a_server_that_hangs_up_on_what_follows_a_dot_does_so_once() -> None:
    def hang_up(line: bytes, n: int) -> Any:
        peer = server.peers[-1]
        return Close() if peer.raw.rpartition(b"\r\n.\r\n")[2].startswith(b"MAIL") else None

    with ScriptedServer(on={"CONTENT": hang_up}) as server:
        queue = deliver(server, FakeQueue(envelopes(20)), connections=1)
    assert len(queue.of_kind(Kind.IN_DOUBT)) == 1
    assert len(queue.of_kind(Kind.SENT)) == 19


def test_a_503_is_judged_once_commands_go_one_by_one() -> None:
    with ScriptedServer(offers=(), on={"RCPT": only(1, "503 5.5.1 no")}) as server:
        queue = deliver(server, FakeQueue(envelopes(3)), connections=1)
    assert len(queue.of_kind(Kind.FAILED)) == 1
