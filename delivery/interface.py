"""What goes into a sender and what comes out: all that the sweep and the senders share.

A sender asks its `Work` for envelopes, and tells it two things before the bytes that end a message leave:
what became of the messages that were answered, and which ones are about to end. `Work.record` makes both
durable in one commit and names the envelopes that may go on. So at most one message per connection is ever
in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from delivery.errors import DeliveryError as DeliveryError
from delivery.message.message import Message


class SessionError(DeliveryError):
    """The server refuses the session as a whole (connect, TLS, login, sender): no envelope is to blame.

    Everything not yet sent stays due; the sweep logs `reason` once and ends.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Envelope(NamedTuple):
    """One delivery as a sender takes it: one message to one address."""

    event_id: int
    recipient_id: int
    address: str  # RFC 5321 Mailbox without brackets; may hold non-ASCII characters (RFC 6531)
    message: Message  # shared by all envelopes of one email


class Kind(Enum):
    """What became of one delivery attempt."""

    SENT = "sent"  # the server took responsibility: 2yz to the final dot
    DEFERRED = "deferred"  # 4yz, or the connection broke before the final dot: try again later
    FAILED = "failed"  # 5yz to this recipient or this message: given up
    IN_DOUBT = "in_doubt"  # the final dot may have arrived, its answer is not known


class Outcome(NamedTuple):
    """What became of one envelope, with the server's last reply (or a local reason) as text."""

    envelope: Envelope
    kind: Kind
    reply: str
    at: float  # seconds since 1970 UTC


# As the classes' own constructors, which are Python code: half a microsecond less, for each message.
new_envelope: Callable[[tuple[int, int, str, Message]], Envelope] = partial(tuple.__new__, Envelope)
new_outcome: Callable[[tuple[Envelope, Kind, str, float]], Outcome] = partial(tuple.__new__, Outcome)


def not_built(error: Exception) -> tuple[Kind, str]:
    """What an error while its message was built makes of a delivery; a lack of memory speaks against no message."""
    if isinstance(error, MemoryError):
        return Kind.DEFERRED, "there is not enough memory for the message now"
    return Kind.FAILED, str(error) if isinstance(error, DeliveryError) else f"the message cannot be built: {error!r}"


class Recording(NamedTuple):
    """A `Work.record` that goes on by itself."""

    descriptor: int  # can be read once the result is there
    result: Callable[[], Collection[Envelope]]  # waits for it; to be asked before anything else is asked of the work


class Work(Protocol):
    """What a sender needs from the sweep. Any call may raise: the sender closes its connections and lets it out."""

    def take(self, limit: int) -> list[Envelope]:
        """Up to `limit` envelopes, claimed for this sender; an empty list when nothing is due right now."""

    def record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Make `outcomes` durable, and that the messages of `ending` are about to end, in one commit.

        Returns those of `ending` whose claim still holds; the others must not be ended: their connection is
        closed before the final dot, with no outcome.
        """

    def begin_record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Recording | None:
        """Begin to `record`, if that can go on by itself while the sender reads other answers; None: use `record`."""

    def give_back(self, envelopes: Sequence[Envelope]) -> None:
        """Return envelopes that were taken and not ended; no attempt is counted."""

    def may_end(self) -> bool:
        """Whether the lease still holds by CLOCK_BOOTTIME; asked right before each write that ends a message."""

    def keep_alive(self) -> None:
        """Renew the lease when it is time to; call at least every 15 s. Costs nothing in between."""

    @property
    def stopping(self) -> bool:
        """True once the sweep was asked to stop: finish what is in flight, give back the rest."""


class Sender(Protocol):
    """Takes envelopes from a `Work` until it has none left, or is stopping."""

    def deliver(self, work: Work) -> None:
        """Send everything that `work` hands out.

        Raises SessionError when the server wants none of it; the envelopes taken are given back first.
        """
