"""Decides when the server is at fault and not a message: the same failure again and again, without a success.

Broken connections are counted. Refusals whose words blame nobody (`UnclearRefusal`) are also held, since those that
lead to the verdict must not count against their recipients:

- A message that was begun after the refusal is accepted: the session is good, and so the refusal was about its
  recipient. A message that was under way already proves nothing; the server may have stopped behind it.
- The same refusal comes MAX_EQUAL_REFUSALS times without an acceptance in between: it is about the session. What counts
  is an acceptance at the same step, 354 for RCPT and DATA: on many connections, replies to final dots come later, also
  from a server that accepts no recipient any more.
- Nothing is left to send: if as many came at the end with hardly an acceptance in between (replies on many connections
  overtake each other), they are about the session. All others are about their recipients.

If the session is at fault, the sweep stops, and everything held stays due. Until the decision, a refused message is
`claimed` in the database, and so would be sent again after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from delivery.interface import Envelope, Kind, Outcome
from delivery.smtp.classification import RefusalKey, UnclearRefusal
from delivery.smtp.command import Step

MAX_EQUAL_REFUSALS = 20  # recipients in a row that are refused in the same way
STRAGGLER_FRACTION = 0.1  # acceptances among the last refusals that are taken for late replies
MAX_HELD_REFUSALS = 500  # of all kinds, so that memory stays flat whatever a server says
BASE_MAX_BREAKS = 20  # connections in a row that broke over a message; each connection that may be open adds one

EnvelopeKey = tuple[int, int]  # event_id, recipient_id


class _Held(NamedTuple):
    refusal: UnclearRefusal
    in_flight: Collection[EnvelopeKey]  # messages that were begun before the refusal
    acceptances: int  # at its step, that arrived before the refusal


class CircuitBreaker:
    """Counts failures that point to the server. A method that returns a text has tripped it: the text is the reason."""

    def __init__(self, connections: int) -> None:
        self.held: list[_Held] = []
        self._max_breaks = BASE_MAX_BREAKS + connections
        self._breaks = 0
        self._equal_refusals: Counter[RefusalKey] = Counter()  # since the last acceptance at that step
        self._acceptances: Counter[bool] = Counter()  # of contents (True) and of envelopes, while refusals were held

    def hold(self, refusal: UnclearRefusal, in_flight: Collection[EnvelopeKey]) -> str | None:
        """Hold and count a refusal. Unless it trips the breaker, call `excess` then."""
        self._breaks = 0
        self.held.append(_Held(refusal, in_flight, self._acceptances[_is_of_content(refusal)]))
        self._equal_refusals[refusal.key] += 1
        return self._verdict(refusal, self._equal_refusals[refusal.key])

    def excess(self) -> list[Outcome]:
        """Return the outcomes of the oldest refusals, if more are held than MAX_HELD_REFUSALS."""
        excess = self.held[:-MAX_HELD_REFUSALS]
        del self.held[: len(excess)]
        return [each.refusal.outcome for each in excess]

    def accept(self, envelope: Envelope) -> list[Outcome]:
        """Return the outcomes of the refusals that were about their recipients, now that `envelope` was accepted."""
        self._record_acceptance(of_content=True)
        key = envelope[:2]
        decided = [each.refusal.outcome for each in self.held if key not in each.in_flight]
        self.held = [each for each in self.held if key in each.in_flight]
        return decided

    def accept_envelope(self) -> None:
        """Count a recipient whose content the server wants to have (354)."""
        self._record_acceptance(of_content=False)

    def judge_held(self) -> str | None:
        """Decide about the held refusals when nothing is left to send."""
        counts: Counter[RefusalKey] = Counter()
        for each in reversed(self.held):
            counts[each.refusal.key] += 1
            count = counts[each.refusal.key]
            later_acceptances = self._acceptances[_is_of_content(each.refusal)] - each.acceptances
            if later_acceptances <= count * STRAGGLER_FRACTION:
                verdict = self._verdict(each.refusal, count)
                if verdict is not None:
                    return verdict
        return None

    def release_held(self) -> list[Outcome]:
        """Return the outcomes of everything held, and hold nothing any more."""
        held, self.held = self.held, []
        return [each.refusal.outcome for each in held]

    def record_break(self, reason: str) -> str | None:
        """Count a connection that broke over a message."""
        self._breaks += 1
        if self._breaks <= self._max_breaks:
            return None
        return f"{self._breaks} connections in a row broke: {reason}"

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Reset the count of broken connections if a message was accepted or refused."""
        if self._breaks and {Kind.SENT, Kind.FAILED} & {outcome.kind for outcome in outcomes}:
            self._breaks = 0

    def _record_acceptance(self, *, of_content: bool) -> None:
        self._acceptances[of_content] += 1
        for key in [key for key in self._equal_refusals if (key[0] is Step.CONTENT) is of_content]:
            del self._equal_refusals[key]

    @staticmethod
    def _verdict(refusal: UnclearRefusal, count: int) -> str | None:
        if count < MAX_EQUAL_REFUSALS:
            return None
        return f"{count} recipients in a row were refused: {refusal.outcome.reply}"


def _is_of_content(refusal: UnclearRefusal) -> bool:
    return refusal.key[0] is Step.CONTENT
