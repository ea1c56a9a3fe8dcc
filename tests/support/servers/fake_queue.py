"""A `Queue` that records what a sender does, and checks the rules for every sender."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from delivery.interface import Envelope, Kind, Outcome, PendingCommit
from delivery.message.message import Message


def message(content: str = "Hello.\n", *, sender: str = "news@example.org", subject: str = "Hello") -> Message:
    return Message(
        event_id=7,
        subject=subject,
        content=content,
        sender_name="News",
        sender_address=sender,
        reply_to=None,
        token="0123456789abcdef",
        ready_at=1_764_000_000,
    )


MESSAGE = message()


def envelopes(number: int, of: Message = MESSAGE) -> list[Envelope]:
    return [envelope(f"user{n}@example.com", n, of) for n in range(number)]


def envelope(address: str, recipient_id: int = 0, of: Message = MESSAGE) -> Envelope:
    return Envelope(7, recipient_id, address, of)


class FakeQueue:
    """Hands out `todo`. A deferred or returned envelope is not handed out again."""

    def __init__(self, todo: Iterable[Envelope], connections: int = 100) -> None:
        self.todo = list(todo)
        self.outcomes: list[Outcome] = []
        self.ending: set[int] = set()  # recipients whose message may have ended, without an outcome
        self.returned: list[Envelope] = []
        self.lost: set[int] = set()  # recipients whose claim another sender has
        self.most_in_doubt = 0
        self.commits = 0
        self.lease_renewals = 0
        self.stopping = False
        self.lease_holds = True
        self.on_commit: Callable[[Sequence[Outcome], Sequence[Envelope]], None] = lambda outcomes, ending: None
        self._connections = connections
        self._fetched: set[int] = set()

    def fetch(self, limit: int) -> list[Envelope]:
        assert limit > 0
        fetched, self.todo = self.todo[:limit], self.todo[limit:]
        self._fetched |= {envelope.recipient_id for envelope in fetched}
        return fetched

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        self.commits += 1
        for outcome in outcomes:
            self._fetched.remove(outcome.envelope.recipient_id)  # fails unless it was handed out and has no outcome yet
            self.ending.discard(outcome.envelope.recipient_id)
        self.outcomes += outcomes
        self.on_commit(outcomes, ending)
        kept = [envelope for envelope in ending if envelope.recipient_id not in self.lost]
        for envelope in kept:
            assert envelope.recipient_id in self._fetched
            assert envelope.recipient_id not in self.ending, "ended twice"
            self.ending.add(envelope.recipient_id)
        self.most_in_doubt = max(self.most_in_doubt, len(self.ending))
        assert len(self.ending) <= self._connections, "more than one message in doubt on a connection"
        return kept

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> PendingCommit | None:
        return None

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self.ending.remove(envelope.recipient_id)

    def release(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self._fetched.remove(envelope.recipient_id)
            self.ending.discard(envelope.recipient_id)
        self.returned += envelopes

    def lease_is_valid(self) -> bool:
        return self.lease_holds

    def renew_lease(self) -> None:
        self.lease_renewals += 1

    @property
    def kinds(self) -> dict[str, Kind]:
        return {outcome.envelope.address: outcome.kind for outcome in self.outcomes}

    def of_kind(self, kind: Kind) -> list[str]:
        return sorted(outcome.envelope.address for outcome in self.outcomes if outcome.kind is kind)

    def replies(self) -> list[str]:
        return [outcome.reply for outcome in self.outcomes]

    @property
    def unaccounted(self) -> set[int]:
        """Recipients that were handed out, but have no outcome and were not given back."""
        return self._fetched - self.lost
