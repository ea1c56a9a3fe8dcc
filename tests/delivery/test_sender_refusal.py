"""Servers that refuse the session, or every recipient: one error, and all other envelopes are returned."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.interface import Kind, SessionError
from delivery.smtp.sender import SMTPServer
from tests.support.ports import unused_port
from tests.support.servers.fake_queue import FakeQueue, envelope, envelopes, message
from tests.support.servers.smtp_sender import deliver, only, refusal, sender
from tests.support.servers.smtp_server import Close, ScriptedServer
from tests.support.servers.smtp_sink import needs_sink, sink


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ({"CONNECT": lambda line, n: "554 5.7.1 go away"}, "554 5.7.1 go away"),
        ({"CONNECT": lambda line, n: ("421 4.3.2 busy", Close())}, "421 4.3.2 busy"),
        ({"CONNECT": lambda line, n: Close()}, "closed the connection"),
        ({"EHLO": lambda line, n: "550 5.7.1 what"}, "550 5.7.1 what"),
        ({"EHLO": lambda line, n: "502 what", "HELO": lambda line, n: "501 no"}, "502 what"),
        ({"EHLO": lambda line, n: ("421 4.3.2 not now", Close())}, "421 4.3.2 not now"),
        ({"EHLO": lambda line, n: "451 not now"}, "451 not now"),
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
@pytest.mark.parametrize("command", ["connect", "mail"])
def test_hard_refusals_of_the_session_by_smtp_sink_are_one_error(command: str) -> None:
    with sink("-f", command) as port:
        queue = FakeQueue(envelopes(50))
        with pytest.raises(SessionError):
            sender(port).deliver(queue)
    assert queue.outcomes == []
    assert not queue.unaccounted


def test_a_refusal_that_blames_the_account_stops_the_sweep_at_once() -> None:
    on = {"RCPT": lambda line, n: f"554 5.7.1 {line[8:].decode()}: Relay access denied"}
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(500))
        reason = refusal(server, queue, connections=30)
    assert "554 5.7.1" in reason and "Relay access denied" in reason
    assert queue.outcomes == []
    assert len(queue.returned) + len(queue.todo) == 500


@pytest.mark.parametrize("step", ["RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize("connections", [1, 4, 50])
def test_the_same_refusal_again_and_again_stops_the_sweep_and_counts_against_nobody(
    step: str, connections: int
) -> None:
    on = {step: lambda line, n: f"550 5.7.1 No. (id {n}, mx{n}.example.net)" if n >= 10 else None}
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(60), connections)
        reason = refusal(server, queue, connections=connections)
    assert "recipients in a row were refused: 550 5.7.1 No." in reason
    assert len(queue.of_kind(Kind.SENT)) == len(queue.outcomes) == len(server.accepted) == 10
    assert len(queue.returned) + len(queue.todo) == 50


@pytest.mark.parametrize("connections", [1, 50])
def test_refusals_that_mix_with_others_still_stop_the_sweep(connections: int) -> None:
    answers = ("550 5.7.1 no", "550 5.1.1 no such user", "451 4.7.1 later", "550 5.7.1 not so")
    with ScriptedServer(on={"RCPT": lambda line, n: answers[n % 4]}) as server:
        queue = FakeQueue(envelopes(200))
        assert "20 recipients in a row were refused: 550 5.7.1" in refusal(server, queue, connections=connections)
    assert {outcome.reply for outcome in queue.outcomes} == set(answers[1:3]), server.script


def test_refusals_with_other_codes_or_with_a_success_between_belong_to_their_recipients() -> None:
    on = {"RCPT": lambda line, n: f"550 5.7.{200 + n % 40} no" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(80)))
    assert len(queue.of_kind(Kind.FAILED)) == 60
    for step in ("RCPT", "DATA", "CONTENT"):
        on = {step: lambda line, n: None if n % 15 == 14 else "550 5.7.1 no"}
        with ScriptedServer(on=on) as server:
            queue = deliver(server, FakeQueue(envelopes(90), 1), connections=1)
        assert len(queue.of_kind(Kind.FAILED)) == 84


@pytest.mark.parametrize("step", ["RCPT", "DATA", "CONTENT"])
def test_many_isolated_refusals_on_many_connections_stop_nothing(step: str) -> None:
    on = {step: lambda line, n: "550 5.7.1 no" if n % 3 else None}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(600)), connections=50)
    assert (len(queue.of_kind(Kind.FAILED)), len(queue.of_kind(Kind.SENT))) == (400, 200)


def test_a_few_refusals_at_the_end_belong_to_their_recipients() -> None:
    with ScriptedServer(on={"CONTENT": lambda line, n: "550 5.7.1 no" if n >= 5 else None}) as server:
        queue = deliver(server, FakeQueue(envelopes(20)), connections=3)
    assert (len(queue.of_kind(Kind.FAILED)), len(queue.of_kind(Kind.SENT))) == (15, 5)


def test_a_refusal_that_blames_the_account_gives_back_earlier_ones_that_were_unclear() -> None:
    answers = {3: "550 5.7.1 no", 4: "550 5.7.1 no", 5: "550 5.7.1 daily sending quota exceeded"}
    with ScriptedServer(on={"CONTENT": lambda line, n: answers.get(n)}) as server:
        queue = FakeQueue(envelopes(20), 1)
        assert "daily sending quota exceeded" in refusal(server, queue, connections=1)
    assert len(queue.of_kind(Kind.SENT)) == len(queue.outcomes) == 3


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize(
    "answer",
    [
        "550 5.4.5 Daily user sending quota exceeded. x{n} - gsmtp",
        "454 Throttling failure: Daily message quota exceeded.",
        ("421 4.7.0 Your account is suspended", Close()),
        "550 5.7.515 Access denied",
    ],
)
def test_at_every_step_a_refusal_of_the_account_counts_against_nobody(
    step: str, answer: Any, offers: tuple[str, ...]
) -> None:
    on = {step: lambda line, n: answer if n >= 7 else None}
    with ScriptedServer(offers=offers, on=on) as server:
        queue = FakeQueue(envelopes(40), 3)
        reason = refusal(server, queue, connections=3)
    assert (answer if isinstance(answer, str) else answer[0])[:20] in reason
    assert {outcome.kind for outcome in queue.outcomes} == {Kind.SENT}
    assert len(queue.outcomes) == len(server.accepted) == 7
    assert len(queue.returned) + len(queue.todo) == 33


@pytest.mark.parametrize(
    ("offer", "words", "sent"),
    [
        ("SIZE 100000", "SIZE=", "501 5.5.4 Invalid arguments"),
        ("SIZE 100000", "SIZE=", "555 5.5.4 Unsupported option: SIZE=300"),
        ("8BITMIME", "BODY=8BITMIME", "504 5.5.4 BODY not implemented"),
        ("SMTPUTF8", "SMTPUTF8", "555 5.5.4 SMTPUTF8 not recognized"),
    ],
)
def test_a_parameter_of_mail_that_is_refused_is_sent_no_more(offer: str, words: str, sent: str) -> None:
    on = {"MAIL": lambda line, n: sent if words.encode() in line else None}
    german = message("Grüße\n", subject="Grüße")
    todo = [*envelopes(20, german), envelope("jörg@example.com", 100, german)]
    with ScriptedServer(offers=("PIPELINING", "8BITMIME", offer), on=on) as server:
        queue = deliver(server, FakeQueue(todo), connections=2)
        refused = [line for line in server.script.lines if words.encode() in line]
    assert 1 <= len(refused) <= 2, "once on each connection"
    assert len(queue.of_kind(Kind.SENT)) == 20
    assert queue.of_kind(Kind.FAILED) == ["jörg@example.com"]
    assert all("SMTPUTF8" in outcome.reply for outcome in queue.outcomes if outcome.kind is Kind.FAILED)


def test_mail_that_is_refused_without_any_parameter_refuses_the_session() -> None:
    with ScriptedServer(on={"MAIL": lambda line, n: "555 5.5.4 what?"}) as server:
        queue = FakeQueue(envelopes(5))
        assert "555 5.5.4 what?" in refusal(server, queue, connections=1)
        assert server.script.counts["MAIL"] == 2
    assert queue.outcomes == []


def test_dead_addresses_in_a_row_stop_nothing() -> None:
    on = {"RCPT": lambda line, n: "550 5.1.1 User unknown" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(80)))
    assert (len(queue.of_kind(Kind.FAILED)), len(queue.of_kind(Kind.SENT))) == (60, 20)
