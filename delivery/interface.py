"""The interface between the sweep and the senders: envelopes go in, outcomes come out.

A sender fetches envelopes from its `Queue`. Before it sends the bytes that end a message, it reports two things to
`Queue.commit`: the outcomes it has received, and the messages that are about to end. One commit makes both durable and
returns the envelopes whose messages may end. Therefore at most one message per connection is ever in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from delivery.errors import DeliveryError as DeliveryError


class SessionError(DeliveryError):
    """The server refused the session as a whole (connection, TLS, login, sender address). No recipient is at fault.

    Everything that was not sent stays due. The sweep logs `reason` once and ends.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SendableMessage(Protocol):
    """The message of an envelope: a Message, which all envelopes of an email share, or a RecipientMessage."""

    @property
    def sender_address(self) -> str: ...
    @property
    def ready_at(self) -> int: ...
    def message_id(self, recipient_id: int) -> str: ...
    def as_bytes(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes: ...
    def smtp_data(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes: ...


class Envelope(NamedTuple):
    """One delivery, as a sender handles it: one message to one address."""

    event_id: int
    recipient_id: int
    address: str  # RFC 5321 Mailbox without brackets; may contain non-ASCII characters (RFC 6531)
    message: SendableMessage


class Kind(Enum):
    """The kind of outcome of one delivery attempt."""

    SENT = "sent"  # 2yz to the final dot: the server took responsibility
    DEFERRED = "deferred"  # 4yz, or the connection was lost before the final dot: retry later
    FAILED = "failed"  # 5yz to this recipient or this message: final
    IN_DOUBT = "in_doubt"  # the final dot may have arrived, but its reply did not


class Outcome(NamedTuple):
    """The outcome of one envelope. `reply` is the server's last reply, or a local reason."""

    envelope: Envelope
    kind: Kind
    reply: str
    at: float  # seconds since 1970 UTC


# Half a microsecond faster per message than the generated constructors, which are Python code.
new_envelope: Callable[[tuple[int, int, str, SendableMessage]], Envelope] = partial(tuple.__new__, Envelope)
new_outcome: Callable[[tuple[Envelope, Kind, str, float]], Outcome] = partial(tuple.__new__, Outcome)


def classify_build_error(error: Exception) -> tuple[Kind, str]:
    """Return the kind and the reason for a delivery whose message could not be built.

    Running out of memory is temporary (DEFERRED). Every other error is final (FAILED).
    """
    if isinstance(error, MemoryError):
        return Kind.DEFERRED, "not enough memory for the message; will retry"
    return Kind.FAILED, str(error) if isinstance(error, DeliveryError) else f"the message cannot be built: {error!r}"


class PendingCommit(NamedTuple):
    """A `Queue.commit` that is running in the background."""

    descriptor: int  # becomes readable once the commit is done
    result: Callable[[], Collection[Envelope]]  # waits; returns what `commit` would. Call it before any other method.


class Queue(Protocol):
    """What a sender needs from the sweep.

    If a method raises, the sender closes its connections and lets the exception through.
    """

    def fetch(self, limit: int) -> list[Envelope]:
        """Claim and return up to `limit` envelopes for this sender. The list is empty if nothing is due now."""

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Record durably, in one commit, `outcomes` and that the messages of `ending` are about to end.

        Return those of `ending` whose claim still holds. The others must not end: the sender closes their connection
        before the final dot, without an outcome.
        """

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> PendingCommit | None:
        """Start a `commit` that runs in the background. Return None if that is not possible; then call `commit`."""

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        """Record durably that the server refused these messages after their final dot, so they are not in doubt.

        They stay claimed until `commit` records their outcome or `release` returns them.
        """

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Give back to the queue the envelopes that were fetched but not ended. No attempt is counted."""

    def lease_is_valid(self) -> bool:
        """Return whether the lease is valid, by CLOCK_BOOTTIME. Call it right before each write that ends a message."""

    def renew_lease(self) -> None:
        """Renew the lease if it is due for renewal. Call this at least every 15 s; it is cheap otherwise."""

    @property
    def stopping(self) -> bool:
        """True after a stop request: finish what is in flight and release the rest."""


class Sender(Protocol):
    """Sends the envelopes of a `Queue` until it is empty or stopping."""

    def deliver(self, queue: Queue) -> None:
        """Send everything in `queue`.

        Raises SessionError if the server refuses the session, after releasing the fetched envelopes.
        """
