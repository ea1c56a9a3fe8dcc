"""Detect when the server is at fault rather than a message: the same failure repeats without a success in between.

Lost connections are only counted. Refusals whose words blame nobody (`UnclearRefusal`) are counted and held back,
because those that lead to the verdict must not count against their recipients. A held refusal is decided when

- a message that was started after it is accepted. The session is good, so the refusal was about its recipient. (A
  message that was already in progress proves nothing, because the server may have stopped accepting mail after it);
- the same refusal arrives MAX_EQUAL_REFUSALS times without an acceptance in between. Then it is about the session. Only
  an acceptance at the same step counts (354 for RCPT and DATA): with many connections, the replies to earlier final
  dots still arrive from a server that no longer accepts any recipient;
- nothing is left to send. If as many equal refusals came last with hardly an acceptance in between (replies on
  different connections overtake each other), they are about the session. All others are about their recipients.

If the session is at fault, the sweep stops, and everything held stays due. Until the decision, a refused message is
`claimed` in the database, so it would be sent again after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from delivery.interface import Envelope, Kind, Outcome
from delivery.smtp.classification import RefusalKey, UnclearRefusal
from delivery.smtp.command import Step

MAX_EQUAL_REFUSALS = 20  # recipients refused in a row in the same way
STRAGGLER_FRACTION = 0.1  # up to this share of acceptances among the last refusals are late replies
MAX_HELD_REFUSALS = 500  # of all kinds, so that memory use is limited whatever a server replies
BASE_MAX_BREAKS = 20  # connections lost in a row during a message, plus one for each connection that may be open

EnvelopeKey = tuple[int, int]  # event_id, recipient_id


class _Held(NamedTuple):
    refusal: UnclearRefusal
    in_flight: Collection[EnvelopeKey]  # messages that were started before the refusal
    acceptances: int  # acceptances at its step before the refusal


class CircuitBreaker:
    """Counts failures that point to the server.

    `hold`, `judge_held` and `record_break` return the reason if they trip the breaker, otherwise None.
    """

    def __init__(self, connections: int) -> None:
        self.held: list[_Held] = []
        self._max_breaks = BASE_MAX_BREAKS + connections
        self._breaks = 0
        self._equal_refusals: Counter[RefusalKey] = Counter()  # since the last acceptance at that step
        self._acceptances: Counter[bool] = Counter()  # of contents (True) and envelopes (False) while refusals are held

    def hold(self, refusal: UnclearRefusal, in_flight: Collection[EnvelopeKey]) -> str | None:
        """Hold and count a refusal. Call `excess` afterwards, unless this trips the breaker."""
        self._breaks = 0
        self.held.append(_Held(refusal, in_flight, self._acceptances[_is_about_content(refusal)]))
        self._equal_refusals[refusal.key] += 1
        return self._verdict(refusal, self._equal_refusals[refusal.key])

    def excess(self) -> list[Outcome]:
        """Stop holding the oldest refusals beyond MAX_HELD_REFUSALS, and return their outcomes."""
        excess = self.held[:-MAX_HELD_REFUSALS]
        del self.held[: len(excess)]
        return [each.refusal.outcome for each in excess]

    def accept(self, envelope: Envelope) -> list[Outcome]:
        """Record an accepted message. Return the outcomes of the held refusals that this proves to be final."""
        self._record_acceptance(of_content=True)
        key = envelope[:2]
        decided = [each.refusal.outcome for each in self.held if key not in each.in_flight]
        self.held = [each for each in self.held if key in each.in_flight]
        return decided

    def accept_envelope(self) -> None:
        """Count an accepted envelope (354)."""
        self._record_acceptance(of_content=False)

    def judge_held(self) -> str | None:
        """Decide about the held refusals once nothing is left to send. Return the reason if they trip the breaker."""
        counts: Counter[RefusalKey] = Counter()
        for each in reversed(self.held):
            counts[each.refusal.key] += 1
            count = counts[each.refusal.key]
            later_acceptances = self._acceptances[_is_about_content(each.refusal)] - each.acceptances
            if later_acceptances <= count * STRAGGLER_FRACTION:
                verdict = self._verdict(each.refusal, count)
                if verdict is not None:
                    return verdict
        return None

    def release_held(self) -> list[Outcome]:
        """Stop holding refusals, and return their outcomes."""
        held, self.held = self.held, []
        return [each.refusal.outcome for each in held]

    def record_break(self, reason: str) -> str | None:
        """Count a connection that was lost during a message."""
        self._breaks += 1
        if self._breaks <= self._max_breaks:
            return None
        return f"{self._breaks} connections in a row were lost: {reason}"

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Reset the count of lost connections if a message was accepted or refused."""
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


def _is_about_content(refusal: UnclearRefusal) -> bool:
    return refusal.key[0] is Step.CONTENT
