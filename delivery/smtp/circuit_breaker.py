"""When it is the server and not a message that is to blame: the same thing again and again, without a success."""

from __future__ import annotations

import re
from collections.abc import Iterable

from delivery.interface import Envelope, Kind, Outcome

EQUAL_REFUSALS = 20  # recipients refused with the same words (relaying denied, quota used up)
MAILBOX_IS_TO_BLAME = re.compile(r"^5\d\d[ -]5\.(1\.(1|2|3|6|10)|2\.1)\b")  # RFC 3463 sections 3.2 and 3.3
BREAKS = 20  # connections that broke over a message, and one more for each connection that may be open


class Suspicion:
    """Counts what speaks against the server. A method that returns a text has seen enough: that is the reason."""

    def __init__(self, connections: int) -> None:
        self._most_breaks = BREAKS + connections
        self._breaks = 0
        self._words = ""
        self._refusals = 0

    def refused(self, envelope: Envelope, reply: str) -> str | None:
        """A recipient was refused for good. Replies are equal if they differ by the address alone.

        A mailbox that is not there speaks against nobody else: an old list may have many of them in a row.
        """
        if MAILBOX_IS_TO_BLAME.search(reply):
            return None
        words = reply.replace(envelope.address, "")
        self._refusals = self._refusals + 1 if words == self._words else 1
        self._words = words
        if self._refusals < EQUAL_REFUSALS:
            return None
        return f"{self._refusals} recipients in a row were refused: {reply}"

    def broke(self, reason: str) -> str | None:
        """A connection broke over a message."""
        self._breaks += 1
        if self._breaks <= self._most_breaks:
            return None
        return f"{self._breaks} connections in a row broke: {reason}"

    def clear(self, outcomes: Iterable[Outcome]) -> None:
        """What was decided clears the server: a message taken of everything, one refused of breaking."""
        if not (self._breaks or self._refusals):
            return
        kinds = {outcome.kind for outcome in outcomes}
        if Kind.SENT in kinds:
            self._refusals = 0
        if Kind.SENT in kinds or Kind.FAILED in kinds:
            self._breaks = 0
