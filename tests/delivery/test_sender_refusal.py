"""Servers that refuse the session, or everybody: one error, and what is left is given back."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.interface import Kind, SessionError
from delivery.smtp.sender import SMTPServer
from tests.support.ports import unused_port
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, only, refusal, sender
from tests.support.servers.smtp_server import Close, ScriptedServer
from tests.support.servers.smtp_sink import needs_sink, sink


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ({"CONNECT": lambda line, n: "554 5.7.1 go away"}, "554 5.7.1 go away"),
        ({"CONNECT": lambda line, n: ("421 4.3.2 busy", Close())}, "421 4.3.2 busy"),
        ({"CONNECT": lambda line, n: Close()}, "closed the connection"),
        ({"EHLO": lambda line, n: "502 what"}, "502 what"),
        ({"MAIL": lambda line, n: "550 5.7.1 not as this sender"}, "550 5.7.1 not as this sender"),
        ({"MAIL": only(5, "530 5.7.0 log in first")}, "530 5.7.0 log in first"),
    ],
)
def test_a_server_that_refuses_the_session_gets_one_error_and_all_is_given_back(on: Any, said: str) -> None:
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(300))
        reason = refusal(server, queue)
    assert said in reason
    assert reason.startswith(f"127.0.0.1:{server.port}: ")
    assert {outcome.kind for outcome in queue.outcomes} <= {Kind.SENT}
    assert len(server.accepted) == len(queue.outcomes)


def test_a_wrong_password_is_tried_once() -> None:
    with ScriptedServer(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "535 5.7.8 wrong"}) as server:
        queue = FakeQueue(envelopes(300))
        reason = refusal(server, queue, user="user", password="secret", connections=20)
    assert "535 5.7.8 wrong" in reason
    assert "secret" not in reason
    assert server.script.counts["AUTH"] == 1
    assert "secret" not in repr(SMTPServer("h", 25, "tls", "user", "secret"))


def test_a_server_that_is_not_there_is_one_error() -> None:
    port = unused_port()
    queue = FakeQueue(envelopes(300))
    with pytest.raises(SessionError, match="refused"):
        sender(port).deliver(queue)
    assert len(queue.returned) + len(queue.todo) == 300
    for host in ("no-such-host.invalid", "a..b", "x" * 300):
        with pytest.raises(SessionError, match=host[:20]):
            sender(25, host=host).deliver(FakeQueue(envelopes(1)))


@needs_sink
@pytest.mark.parametrize("command", ["connect", "ehlo", "mail"])
def test_hard_refusals_of_the_session_by_smtp_sink_are_one_error(command: str) -> None:
    with sink("-f", command) as port:
        queue = FakeQueue(envelopes(50))
        with pytest.raises(SessionError):
            sender(port).deliver(queue)
    assert queue.outcomes == []
    assert not queue.unaccounted


def test_twenty_equal_refusals_in_a_row_stop_the_sweep() -> None:
    on = {"RCPT": lambda line, n: f"554 5.7.1 {line[8:].decode()}: Relay access denied"}
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(500))
        reason = refusal(server, queue, connections=30)
    assert "20 recipients in a row were refused: 554 5.7.1" in reason
    assert "Relay access denied" in reason
    assert len(queue.of_kind(Kind.FAILED)) == 20
    assert len(queue.returned) + len(queue.outcomes) + len(queue.todo) == 500


def test_refusals_that_differ_or_have_a_success_between_stop_nothing() -> None:
    on = {"RCPT": lambda line, n: f"550 5.7.1 no {n}" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(80)))
    assert len(queue.of_kind(Kind.FAILED)) == 60
    on = {"RCPT": lambda line, n: None if n % 15 == 14 else "550 5.7.1 no"}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(90)), connections=1)
    assert len(queue.of_kind(Kind.FAILED)) == 84


def test_dead_addresses_in_a_row_stop_nothing() -> None:
    on = {"RCPT": lambda line, n: "550 5.1.1 User unknown" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(80)))
    assert (len(queue.of_kind(Kind.FAILED)), len(queue.of_kind(Kind.SENT))) == (60, 20)
