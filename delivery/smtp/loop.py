"""One `deliver`, round by round.

A round takes whatever the network brings, makes it durable in one `Work.record` together with what is about to
end, and only then lets it end. It never waits to fill a round: many connections share each commit by themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from delivery.interface import Envelope, Outcome, Recording, Work, not_built
from delivery.smtp.circuit_breaker import Suspicion
from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.pool import Pool
from delivery.smtp.rate_limit import Pace
from delivery.smtp.session import Session
from delivery.smtp.state import CLOSED, GO, IDLE

NEVER = float("inf")
FIRST_BATCH = 10
LARGEST_BATCH = 1000  # envelopes claimed at once, at full speed
LONGEST_WAIT = 5.0  # the lease is looked at this often
LOOK_AGAIN = 1.0  # how often to ask for work while the last messages are under way


class Rounds:
    """Takes envelopes from `work` to connections of `pool`, and what became of them back."""

    def __init__(
        self,
        work: Work,
        network: Network,
        pool: Pool,
        pace: Pace,
        suspicion: Suspicion,
        *,
        messages_per_connection: float,
        time_to_stop: float,
    ) -> None:
        self._work = work
        self._network = network
        self._pool = pool
        self._pace = pace
        self._suspicion = suspicion
        self._messages_per_connection = messages_per_connection
        self._time_to_stop = time_to_stop
        self._queue: deque[Envelope] = deque()
        self._batch = max(FIRST_BATCH, pool.most)
        self._taken_at = network.now
        self._look_at = network.now  # no need to ask for work before
        self._going: list[Connection] = []  # their messages may end, once that is recorded
        self._waiting: list[Connection] = []  # the same, and it is being recorded
        self._recording: Recording | None = None
        self._outcomes: list[Outcome] = []  # not recorded yet
        self._draining = False
        self._stop_at = NEVER

    def run(self) -> None:
        """Until there is no work left, or no sense in going on."""
        while self._round():
            pass
        if self._queue:
            self._work.give_back(list(self._queue))
        self._say_goodbye()

    def _round(self) -> bool:
        if self._recording is None:
            self._work.keep_alive()
        if self._work.stopping:
            self._stop()
        if not self._draining:
            self._hand_out()
        if self._finished():
            return False
        self._read(self._network.wait(self._patience()))
        recorded = self._recorded() if self._network.told else None
        if self._recording is None and (self._outcomes or self._going):
            self._commit()
        if recorded is not None:
            self._let_end(*recorded)
        if self._pool.refusal is not None and not self._draining:
            self._drain()
        return True

    def _finished(self) -> bool:
        under_way = self._pool.working or self._outcomes or self._recording
        return not under_way and (self._draining or not self._queue)

    def _patience(self) -> float:
        """How long to wait for the network at most."""
        if self._outcomes and self._recording is None:
            return 0.0
        now = self._network.now
        wait = min(LONGEST_WAIT, self._stop_at - now)
        if self._draining:
            return wait
        if not self._queue:
            return min(wait, self._look_at - now)
        return min(wait, self._pace.wait(now) or wait)

    # Work out

    def _hand_out(self) -> None:
        now, pool = self._network.now, self._pool
        reserve = len(pool.open) + len(pool.opening)
        if self._recording:
            reserve *= 2  # that has to end first, and then the waiting connections want the next envelope
        if len(self._queue) <= reserve and now >= self._look_at:
            self._take(now)
        while pool.idle and self._queue and self._pace.start(now):
            connection, _ = pool.idle.popitem()
            session = connection.session
            if self._begin(session, session.begin):
                connection.flush()
            else:
                pool.idle[connection] = None
        while pool.wants_more(len(self._queue), sparing=self._pace.bounded):
            pool.open_one()

    def _take(self, now: float) -> None:
        """Claim about as much as goes out in half a second: nothing that is due later waits behind it."""
        if now - self._taken_at < 0.25:
            self._batch = min(self._batch * 2, LARGEST_BATCH)
        elif now - self._taken_at > 1:
            self._batch = max(self._batch // 2, len(self._pool.open), 1)
        self._taken_at = now
        recorded = self._recorded()
        if recorded is not None:
            self._let_end(*recorded)
        taken = self._work.take(min(self._batch, self._pace.per_second))
        if not taken:
            self._look_at = now + LOOK_AGAIN
        self._queue += taken

    def _begin(self, session: Session, begin: Callable[[Envelope, bytes], None]) -> bool:
        """`begin` the next envelope that can be sent; those that cannot have failed, alone."""
        at, eight_bit = self._network.at, session.offers.eight_bit
        while self._queue:
            envelope = self._queue.popleft()
            _, recipient_id, address, message = envelope
            try:
                content = message.smtp_data(address, recipient_id, at, eight_bit=eight_bit)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one message stops no other
                self._outcomes.append(Outcome(envelope, *not_built(error), at))
                continue
            try:
                begin(envelope, content)
            except MemoryError:
                raise  # the session may have half begun it
            except Exception as error:  # noqa: BLE001
                self._outcomes.append(Outcome(envelope, *not_built(error), at))
            else:
                return True
        return False

    # What came in

    def _read(self, connections: list[Connection]) -> None:
        for connection in connections:
            session = connection.session
            if session.outcomes:
                self._outcomes += session.outcomes
                session.outcomes.clear()
            if session.state is GO:
                self._going.append(connection)
            elif session.returned or session.refused or session.state is IDLE or session.state is CLOSED:
                self._look_closer(connection)

    def _look_closer(self, connection: Connection) -> None:
        session, pool = connection.session, self._pool
        self._queue.extendleft(session.returned)
        session.returned.clear()
        for envelope, reply in session.refused:
            self._note_refusal(envelope, reply)
        session.refused.clear()
        if session.state is IDLE:
            self._rest(connection)
        elif session.state is CLOSED:
            if session.broke:
                pool.refusal = pool.refusal or self._suspicion.broke(session.reason)
            pool.closed(connection)

    def _note_refusal(self, envelope: Envelope, reply: str) -> None:
        """Once the server is to blame, those that it refuses besides are not: they are the rest, given back."""
        if self._pool.refusal is None:
            self._pool.refusal = self._suspicion.refused(envelope, reply)
        else:
            self._outcomes = [outcome for outcome in self._outcomes if outcome.envelope is not envelope]
            self._queue.append(envelope)

    def _rest(self, connection: Connection) -> None:
        session, pool = connection.session, self._pool
        if session.refusal is not None:
            pool.refusal = pool.refusal or str(session.refusal)
        if session.messages >= self._messages_per_connection or session.refusal is not None:
            pool.quit(connection)
        else:
            pool.rest(connection)

    # What goes out

    def _commit(self) -> None:
        """Record what was answered and what is about to end; only then let it end."""
        outcomes, self._outcomes = self._outcomes, []
        going, self._going = self._going, []
        ending = [c.session.envelope for c in going if c.session.envelope]
        self._recording = self._work.begin_record(outcomes, ending)
        if self._recording is None:
            self._let_end(going, self._work.record(outcomes, ending))
        else:
            self._waiting = going
            self._network.watch(self._recording.descriptor)
        self._suspicion.clear(outcomes)

    def _recorded(self) -> tuple[list[Connection], Collection[Envelope]] | None:
        """Wait for the rest of what is being recorded: what `_let_end` takes. The next record may begin before that."""
        if self._recording is None:
            return None
        self._network.watch(None)
        recording, self._recording = self._recording, None
        waiting, self._waiting = self._waiting, []
        return waiting, recording.result()

    def _let_end(self, going: list[Connection], kept: Collection[Envelope]) -> None:
        """Let the messages of `kept` end; a connection may have been lost while that was recorded."""
        all_kept = len(kept) == len(going)
        going = [connection for connection in going if not connection.closed]
        if not all_kept:
            going = self._drop_lost(going, kept)
        for connection in going:
            if self._work.may_end():
                self._end(connection)
            else:
                self._drain()
                connection.stop("the lease has ended")

    def _end(self, connection: Connection) -> None:
        session = connection.session
        follow = (
            self._queue
            and session.can_follow
            and not self._draining
            and session.messages < self._messages_per_connection
            and (not self._pace.bounded or self._pace.start(self._network.now))
        )
        if not (follow and self._begin(session, session.end_and_begin)):
            session.end()
        connection.flush()

    def _drop_lost(self, going: list[Connection], kept: Collection[Envelope]) -> list[Connection]:
        """Cancelled, or another sender's by now: without its dot the server forgets the message."""
        ours = {(envelope.event_id, envelope.recipient_id) for envelope in kept}
        still = []
        for connection in going:
            envelope = connection.session.envelope
            if envelope is not None and (envelope.event_id, envelope.recipient_id) in ours:
                still.append(connection)
            else:
                connection.session.drop()
                connection.stop("the message is not to be sent any more")
        return still

    # Ends

    def _stop(self) -> None:
        if self._stop_at == NEVER:
            self._stop_at = self._network.now + self._time_to_stop
            self._drain()
        elif self._network.now >= self._stop_at:
            self._pool.stop("stopped before the answer came")

    def _drain(self) -> None:
        """Let what is under way end, and start nothing."""
        self._draining = True
        self._pool.stop_opening()

    def _say_goodbye(self) -> None:
        self._pool.stop_opening()
        for connection in list(self._pool.idle):
            self._pool.quit(connection)
        while self._pool.leaving:
            self._read(self._network.wait(LONGEST_WAIT))
