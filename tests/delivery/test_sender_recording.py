"""A record is written while the sender reads other replies: no message ends before its record is durable."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from delivery.interface import Envelope, Kind, Outcome, PendingCommit
from delivery.smtp.transport import SelectorPoller
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, only, sender
from tests.support.servers.smtp_server import Action, Call, Close, ScriptedServer, Wait

SEED = random.randrange(2**32)


class SlowQueue(FakeQueue):
    """A queue whose commits take some milliseconds, one at a time."""

    def __init__(self, todo: Iterable[Envelope], milliseconds: Sequence[int] = (20,)) -> None:
        super().__init__(todo)
        self.is_committing = False
        self.calls_during_commit = 0
        self.during_commit: Callable[[], None] = lambda: None
        self._random = random.Random(SEED)
        self._milliseconds = milliseconds

    def fetch(self, limit: int) -> list[Envelope]:
        self.calls_during_commit += self.is_committing
        return super().fetch(limit)

    def renew_lease(self) -> None:
        self.calls_during_commit += self.is_committing

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> PendingCommit | None:
        self.calls_during_commit += self.is_committing
        self.is_committing = True
        reading, writing = os.pipe()

        def end() -> None:
            self.during_commit()
            os.close(writing)

        def result() -> Collection[Envelope]:
            os.read(reading, 1)
            os.close(reading)
            self.is_committing = False
            return self.commit(outcomes, ending)

        threading.Timer(self._random.choice(self._milliseconds) / 1000, end).start()
        return PendingCommit(reading, result)


@contextmanager
def server_that_checks(queue: FakeQueue, **on: object) -> Iterator[ScriptedServer]:
    """Accepts a message only if the database had recorded that it was about to end."""

    def content(text: bytes, n: int) -> str:
        number = int(text.partition(b"\nTo: user")[2].partition(b"@")[0])
        return "250 ok" if number in queue.ending else "554 this was not recorded"

    with ScriptedServer(on={"CONTENT": content, **on}) as server:
        yield server


@pytest.mark.parametrize("milliseconds", [(0,), (20,), (0, 1, 5, 30)], ids=str)
def test_no_message_ends_before_that_is_recorded(milliseconds: Sequence[int]) -> None:
    print(f"seed {SEED}")
    queue = SlowQueue(envelopes(150), milliseconds)
    with server_that_checks(queue) as server:
        deliver(server, queue, connections=8)
    assert len(queue.of_kind(Kind.SENT)) == 150
    assert queue.most_in_doubt <= 8
    assert queue.calls_during_commit == 0


def test_other_answers_are_read_meanwhile() -> None:
    queue = SlowQueue(envelopes(60), (100,))
    with ScriptedServer() as server:
        deliver(server, queue, connections=10)
    assert queue.commits < 30, "each record has one answer: nothing was read while it went on"


def test_a_selector_tells_of_it_as_epoll_does(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = SlowQueue(envelopes(30))
    with server_that_checks(queue) as server:
        deliver(server, queue, new_poller=SelectorPoller)
    assert len(queue.of_kind(Kind.SENT)) == 30


def closing(queue: SlowQueue) -> Action:
    """Return a reply to DATA after which the server hangs up, before a record is durable."""
    has_closed = threading.Event()

    def wait() -> None:
        queue.during_commit = lambda: None
        has_closed.wait(10)
        time.sleep(0.1)

    def begin() -> None:
        queue.during_commit = wait

    return (Call(begin), "354 go", Wait(0.01), Call(has_closed.set), Close())


def test_a_connection_that_is_lost_meanwhile_defers_its_message_alone() -> None:
    queue = SlowQueue(envelopes(20), (0,))
    with ScriptedServer(on={"DATA": only(3, closing(queue))}) as server:
        deliver(server, queue, connections=1)
    assert queue.of_kind(Kind.DEFERRED) == ["user3@example.com"]
    assert len(server.accepted) == len(queue.of_kind(Kind.SENT)) == 19


def test_a_claim_that_was_lost_meanwhile_is_not_ended() -> None:
    queue = SlowQueue(envelopes(20))
    queue.lost = {5}
    with ScriptedServer() as server:
        deliver(server, queue)
    assert len(server.accepted) == 19
    assert not any(b"user5@" in accepted.recipient for accepted in server.accepted)


def test_a_lost_claim_and_a_lost_connection_in_one_record_are_told_apart() -> None:
    queue = SlowQueue(envelopes(4), (100,))
    queue.lost = {1}
    with ScriptedServer(on={"DATA": only(2, closing(queue))}) as server:
        deliver(server, queue, connections=4)
    accepted = {message.recipient.decode() for message in server.accepted}
    not_accepted = {
        "user1@example.com",
        *queue.of_kind(Kind.DEFERRED),
    }  # which one is third depends on the network
    assert len(queue.of_kind(Kind.DEFERRED)) == 1
    assert not accepted & not_accepted
    assert accepted | not_accepted == {f"user{number}@example.com" for number in range(4)}


def test_a_lease_that_ended_meanwhile_ends_nothing() -> None:
    queue = SlowQueue(envelopes(8))
    queue.during_commit = lambda: setattr(queue, "lease_holds", False)
    with ScriptedServer() as server:
        sender(server.port).deliver(queue)
    assert server.accepted == []
    assert len(queue.returned) == 8


def test_a_stop_meanwhile_lets_what_is_under_way_end() -> None:
    queue = SlowQueue(envelopes(40))
    with ScriptedServer(
        on={"DATA": lambda line, n: (Call(lambda: setattr(queue, "stopping", True)), "354 go") if n == 10 else None}
    ) as server:
        sender(server.port).deliver(queue)
    assert 0 < len(server.accepted) < 40
    assert len(server.accepted) == len(queue.of_kind(Kind.SENT))
    assert len(queue.returned) + len(queue.todo) == 40 - len(server.accepted)
