"""The outcome of each message. None is lost or sent twice, whatever the server replies."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from delivery.interface import Envelope, Kind, Outcome, SessionError
from tests.support.servers.fake_queue import FakeQueue, envelope, envelopes, message
from tests.support.servers.smtp_sender import deliver, sender
from tests.support.servers.smtp_server import Close, Handler, Reset, ScriptedServer, Wait
from tests.support.servers.smtp_sink import needs_sink, sink


def test_each_recipient_gets_the_message_once() -> None:
    with ScriptedServer() as server:
        queue = deliver(server, FakeQueue(envelopes(500), connections=4))
    assert Counter(server.recipients) == Counter(f"user{n}@example.com" for n in range(500))
    assert queue.of_kind(Kind.SENT) == sorted(server.recipients)
    assert server.most_at_once <= 4


def test_nothing_to_do_opens_no_connection() -> None:
    with ScriptedServer() as server:
        deliver(server, FakeQueue([]))
        assert server.peers == []


def test_each_answer_becomes_its_own_outcome() -> None:
    answers = {b"user3@": "450 4.2.1 later", b"user5@": "550 5.1.1 no such user", b"user7@": "552 too many"}
    on = {"RCPT": lambda line, n: next((reply for part, reply in answers.items() if part in line), None)}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(10)))
    assert queue.of_kind(Kind.FAILED) == ["user5@example.com"]
    assert queue.of_kind(Kind.DEFERRED) == ["user3@example.com", "user7@example.com"]
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == 7
    assert all(abs(outcome.at - time.time()) < 60 for outcome in queue.outcomes)


def test_what_cannot_be_sent_fails_alone() -> None:
    odd = [
        envelope("jörg@example.com", 100),
        envelope("a" * 65 + "@example.com", 101),
        envelope("a\r\nDATA@example.com", 102),
        envelope("big@example.com", 103, message("x\n" * 3000)),
    ]
    with ScriptedServer(offers=("PIPELINING", "SIZE 2000")) as server:
        queue = deliver(server, FakeQueue([*odd, *envelopes(10), *[odd[0]._replace(recipient_id=104)]]))
    assert len(queue.of_kind(Kind.SENT)) == 10
    assert len(queue.of_kind(Kind.FAILED)) == 5
    assert any("SMTPUTF8" in reply for reply in queue.replies())
    assert any("the server accepts at most 2000" in reply for reply in queue.replies())


def test_non_ascii_addresses_and_content_go_as_the_server_offers() -> None:
    german = message("Grüße aus München\n", subject="Grüße")
    todo = [envelope("jörg@münchen.example", 1, german), envelope("a@münchen.example", 2, german)]
    with ScriptedServer(offers=("PIPELINING", "8BITMIME", "SMTPUTF8")) as server:
        deliver(server, FakeQueue(todo))
    assert sorted(server.recipients) == ["a@xn--mnchen-3ya.example", "jörg@xn--mnchen-3ya.example"]
    assert all("Grüße aus".encode() in one.content for one in server.accepted)
    with ScriptedServer(offers=("PIPELINING",)) as server:
        queue = deliver(server, FakeQueue(todo))
    assert queue.of_kind(Kind.FAILED) == ["jörg@münchen.example"]
    assert all(one.content.isascii() for one in server.accepted)


def test_dots_arrive_as_they_were_written() -> None:
    text = ".\n..\n.x\nMAIL FROM:<x>\n\r.\r\nlast."
    with ScriptedServer() as server:
        deliver(server, FakeQueue([envelope("a@example.com", 100, message(text)), *envelopes(3)]))
    raw = next(one.content for one in server.accepted if one.recipient == b"a@example.com")
    lines = raw.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert [line.removeprefix(b".") for line in lines] == [b".", b"..", b".x", b"MAIL FROM:<x>", b"", b".", b"last."]
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")


def test_nothing_ends_before_it_is_recorded() -> None:
    early: list[int] = []

    def on_commit(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        before = sum(peer.raw.count(b"\r\n.\r\n") for peer in server.peers)
        early.append(before - len(started))
        started.update(envelope.recipient_id for envelope in ending)

    started: set[int] = set()
    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(100), connections=4)
        queue.on_commit = on_commit
        deliver(server, queue)
    assert max(early) <= 0, "a dot left before it was recorded that it would"
    assert queue.most_in_doubt <= 4


def test_a_record_that_fails_lets_nothing_more_end() -> None:
    def fail(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        if queue.commits == 5:
            raise OSError("disk full")

    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(100))
        queue.on_commit = fail
        with pytest.raises(OSError, match="disk full"):
            sender(server.port).deliver(queue)
        time.sleep(0.1)
        accepted = len(server.accepted)
    assert queue.commits == 5
    assert accepted <= len(queue.of_kind(Kind.SENT)) + len(queue.ending)


def test_an_envelope_that_is_no_longer_ours_is_not_ended() -> None:
    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(20))
        queue.lost = {3, 11}
        deliver(server, queue)
    assert len(server.accepted) == len(queue.of_kind(Kind.SENT)) == 18
    assert not {"user3@example.com", "user11@example.com"} & {*server.recipients, *queue.kinds}
    assert all(one.content for one in server.accepted), "no empty mail instead"


def test_without_a_lease_nothing_more_ends() -> None:
    def lose(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        queue.lease_holds = queue.commits < 4

    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(100))
        queue.on_commit = lose
        sender(server.port).deliver(queue)
        time.sleep(0.1)
    assert not queue.unaccounted
    assert len(server.accepted) == len(queue.of_kind(Kind.SENT)) < 100


def test_a_known_answer_is_recorded_even_when_nothing_else_goes_on() -> None:
    with ScriptedServer() as server:
        queue = deliver(server, FakeQueue(envelopes(1)))
    assert queue.replies() == ["250 2.0.0 Ok: queued"]


FAULTS: list[Any] = [
    ("450 4.0.0 later",),
    ("550 5.1.1 no",),
    ("421 4.3.2 closing", Close()),
    (Close(),),
    (Reset(),),
    ("what",),
    ("250 odd",),
    ("503 5.5.1 odd",),
    ("250 usual", "250 stray"),
    (Wait(0.01), "250 slow"),
]


def sometimes(source: random.Random) -> Handler:
    return lambda line, n: source.choice(FAULTS) if source.random() < 0.05 else None


@pytest.mark.parametrize("offers", [("PIPELINING", "SIZE"), ()])
def test_random_faults_lose_nothing_and_double_nothing(offers: tuple[str, ...]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for number in range(25):
        faults = sometimes(random.Random(seed + number))
        verbs = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "RSET", "QUIT")
        with ScriptedServer(offers=offers, on=dict.fromkeys(verbs, faults)) as server:
            queue = FakeQueue(envelopes(60), connections=3)
            with suppress(SessionError):
                sender(server.port, connections=3, messages_per_connection=7).deliver(queue)
            time.sleep(0.02)
        assert not queue.unaccounted
        accepted = Counter(server.recipients)
        assert accepted.total() == len(accepted), "doubled"
        assert set(queue.of_kind(Kind.SENT)) <= set(accepted), "lost"
        assert set(accepted) <= set(queue.of_kind(Kind.SENT)) | set(queue.of_kind(Kind.IN_DOUBT))


@needs_sink
@pytest.mark.parametrize("options", [[], ["-p"], ["-e"], ["-w", "1"], ["-8"]])
def test_smtp_sink_takes_everything_whatever_it_offers(options: list[str]) -> None:
    with sink(*options) as port:
        queue = FakeQueue(envelopes(12 if "-w" in options else 300))
        sender(port, connections=8).deliver(queue)
    assert len(queue.of_kind(Kind.SENT)) == len(queue.outcomes)


@needs_sink
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-r", "rcpt"], Kind.DEFERRED),
        (["-r", "data"], Kind.DEFERRED),
        (["-r", "."], Kind.DEFERRED),
        (["-f", "data"], Kind.FAILED),
        (["-f", "."], Kind.FAILED),
        (["-r", "mail"], Kind.DEFERRED),
    ],
)
def test_refusals_of_smtp_sink_are_told_apart(options: list[str], kind: Kind) -> None:
    with sink(*options) as port:
        queue = FakeQueue(envelopes(15))
        sender(port).deliver(queue)
    assert Counter(queue.kinds.values()) == {kind: 15}
