"""What goes into a sender and what comes out: everything that the sweep and the senders share.

A sender fetches envelopes from its `Queue`. Before it sends the bytes that end a message, it reports two things: the
outcomes of the messages that were answered, and which messages are about to end. `Queue.commit` makes both durable in
one commit, and returns the envelopes whose messages may end. So at most one message per connection is ever in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from delivery.errors import DeliveryError as DeliveryError
from delivery.message.message import Message


class SessionError(DeliveryError):
    """The server refuses the session as a whole (connect, TLS, login, sender); no envelope is at fault.

    Everything that was not sent stays due. The sweep logs `reason` once and ends.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Envelope(NamedTuple):
    """One delivery, as a sender gets it: one message to one address."""

    event_id: int
    recipient_id: int
    address: str  # RFC 5321 Mailbox without brackets; may contain non-ASCII characters (RFC 6531)
    message: Message  # shared by all envelopes of one email


class Kind(Enum):
    """The kind of outcome of one delivery attempt."""

    SENT = "sent"  # the server took responsibility: 2yz to the final dot
    DEFERRED = "deferred"  # 4yz, or the connection broke before the final dot: try again later
    FAILED = "failed"  # 5yz to this recipient or this message: final
    IN_DOUBT = "in_doubt"  # the final dot may have arrived; the reply to it is not known


class Outcome(NamedTuple):
    """The outcome of one envelope, with the server's last reply (or a local reason) as text."""

    envelope: Envelope
    kind: Kind
    reply: str
    at: float  # seconds since 1970 UTC


# Like the classes' own constructors, which are Python code, but half a microsecond faster for each message.
new_envelope: Callable[[tuple[int, int, str, Message]], Envelope] = partial(tuple.__new__, Envelope)
new_outcome: Callable[[tuple[Envelope, Kind, str, float]], Outcome] = partial(tuple.__new__, Outcome)


def classify_build_error(error: Exception) -> tuple[Kind, str]:
    """Return the outcome, as kind and reason, of a delivery whose message could not be built. Lack of memory is
    temporary; every other error is final.
    """
    if isinstance(error, MemoryError):
        return Kind.DEFERRED, "there is not enough memory for the message now"
    return Kind.FAILED, str(error) if isinstance(error, DeliveryError) else f"the message cannot be built: {error!r}"


class PendingCommit(NamedTuple):
    """A `Queue.commit` that is running in the background."""

    descriptor: int  # becomes readable once the commit is done
    result: Callable[[], Collection[Envelope]]  # waits and returns what `commit` would; call it before any other method


class Queue(Protocol):
    """What a sender needs from the sweep. If a method raises, the sender closes its connections and passes it on."""

    def fetch(self, limit: int) -> list[Envelope]:
        """Claim up to `limit` envelopes for this sender; return an empty list if nothing is due right now."""

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Record `outcomes`, and that the messages of `ending` are about to end, durably and in one commit.

        Return those of `ending` whose claim still holds. The others must not be ended: the sender closes their
        connection before the final dot, without an outcome.
        """

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> PendingCommit | None:
        """Start a `commit` that runs while the sender reads other replies; None: not possible now, use `commit`."""

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        """Record durably that the server refused these messages after their end, so that they are not in doubt.

        They stay claimed until `commit` gets their outcome, or `release` gives them back.
        """

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Give back envelopes that were fetched but not ended; no attempt is counted."""

    def lease_is_valid(self) -> bool:
        """Return whether the lease holds, by CLOCK_BOOTTIME. Call it right before each write that ends a message."""

    def renew_lease(self) -> None:
        """Renew the lease if it is time to. Call it at least every 15 s; it costs nothing in between."""

    @property
    def stopping(self) -> bool:
        """True once a stop was requested: finish what is in flight, release the rest."""


class Sender(Protocol):
    """Sends the envelopes of a `Queue` until it is empty or stopping."""

    def deliver(self, queue: Queue) -> None:
        """Send everything in `queue`.

        Raises SessionError if the server refuses the session; the fetched envelopes are released first.
        """
