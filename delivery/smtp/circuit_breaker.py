"""Decides when the server is at fault and not a message: the same failure again and again, without a success."""

from __future__ import annotations

import re
from collections.abc import Iterable

from delivery.interface import Envelope, Kind, Outcome

MAX_EQUAL_REFUSALS = 20  # recipients in a row refused with the same words (relaying denied, quota exceeded)
MAILBOX_ERROR = re.compile(r"^5\d\d[ -]5\.(1\.(1|2|3|6|10)|2\.1)\b")  # RFC 3463 sections 3.2 and 3.3
BASE_MAX_BREAKS = 20  # connections in a row that broke over a message; each connection that may be open adds one


class CircuitBreaker:
    """Counts failures that point to the server. A method that returns a text has tripped it: the text is the reason."""

    def __init__(self, connections: int) -> None:
        self._max_breaks = BASE_MAX_BREAKS + connections
        self._breaks = 0
        self._last_refusal = ""
        self._equal_refusals = 0

    def record_refusal(self, envelope: Envelope, reply: str) -> str | None:
        """Count a recipient refused for good. Replies that differ only in the address are equal.

        A missing mailbox does not count: an old list may have many of them in a row.
        """
        if MAILBOX_ERROR.search(reply):
            return None
        refusal = reply.replace(envelope.address, "")
        self._equal_refusals = self._equal_refusals + 1 if refusal == self._last_refusal else 1
        self._last_refusal = refusal
        if self._equal_refusals < MAX_EQUAL_REFUSALS:
            return None
        return f"{self._equal_refusals} recipients in a row were refused: {reply}"

    def record_break(self, reason: str) -> str | None:
        """Count a connection that broke over a message."""
        self._breaks += 1
        if self._breaks <= self._max_breaks:
            return None
        return f"{self._breaks} connections in a row broke: {reason}"

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Reset the counts: an accepted message resets both, a refused one the broken connections."""
        if not (self._breaks or self._equal_refusals):
            return
        kinds = {outcome.kind for outcome in outcomes}
        if Kind.SENT in kinds:
            self._equal_refusals = 0
        if Kind.SENT in kinds or Kind.FAILED in kinds:
            self._breaks = 0
