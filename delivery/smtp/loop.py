"""The loop of one `deliver`: passes envelopes from the queue to the connections, and outcomes back.

Theory of operation
-------------------
One thread serves all connections, and one commit covers every message that is ready. Each round has five steps:

1. Renew the lease if it is due for renewal, and react to a stop request.
2. Dispatch: fetch envelopes if few are left, begin one on each idle connection, and open more connections.
3. Wait for the network, or for a commit that runs in the background. Collect the outcomes that arrived, and the
   connections that are ready for their final dot.
4. Commit, in one transaction, all these outcomes and the fact that all these messages are about to end.
5. Send the final dots of the messages whose claim still holds, each followed by the next envelope if possible.

A round takes whatever the network brings and never waits for more. With many connections, each commit still covers many
messages, because replies keep arriving while the previous commit is being synced.

The loop claims about half a second's worth of envelopes at a time, so that mail that falls due meanwhile does not wait
behind a long queue. The batch doubles (up to MAX_BATCH_SIZE) if it is used up within 0.25 s, and halves if it lasts
longer than 1 s. When the queue is empty, it is asked again every REFETCH_SECONDS while messages are in flight.

Invariants:

1. A final dot is sent only after a commit has recorded two things: the outcome of the connection's previous message,
   and that this message is `sending`. A connection becomes ready only after the reply to its previous message, so that
   outcome is in the same commit or an earlier one. After a crash, at most one message per connection is in doubt.
2. If the claim of a message was lost before the commit (it was cancelled, or claimed by another sender), its dot is not
   sent. Closing the connection makes the server discard the message.
3. The lease is checked right before each dot. Once it has expired, no message ends.
4. There is at most one pending commit (`begin_commit`). While it runs, the loop reads replies and serves other
   connections, but it takes the result before it makes the queue use the database again.
5. If the server is not usable (`pool.refusal`), after a stop request, or once the lease has expired, the loop drains:
   it finishes the messages in flight and starts no others. After a stop request it waits at most `stop_timeout`. Then
   it releases the envelopes that were not started.
6. A message that cannot be built or sent fails alone. Only a MemoryError in the session ends the loop.
7. A refusal that may be about the session has no outcome until `circuit_breaker.py` decides. If it came after the final
   dot, `record_refused` records durably that the message is not in doubt, before the next dot on its connection.

If a method of the queue raises, the exception leaves the loop, and `SMTPSender.deliver` closes all connections. The
sender's claims are released when it unregisters, or taken over once its lease expires.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from delivery.interface import Envelope, Kind, Outcome, PendingCommit, Queue, classify_build_error
from delivery.smtp.circuit_breaker import CircuitBreaker
from delivery.smtp.command import Step
from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.pool import Pool
from delivery.smtp.rate_limit import RateLimiter
from delivery.smtp.session import Session
from delivery.smtp.state import CLOSED, IDLE, READY_FOR_CONTENT

NEVER = float("inf")
INITIAL_BATCH_SIZE = 10
MAX_BATCH_SIZE = 1000  # envelopes claimed at once, at full speed
MAX_WAIT_SECONDS = 5.0  # short enough to renew the lease in time
REFETCH_SECONDS = 1.0  # between requests to an empty queue while messages are in flight


class DeliveryLoop:
    """Passes envelopes from `queue` to the connections of `pool`, and their outcomes back."""

    def __init__(
        self,
        queue: Queue,
        network: Network,
        pool: Pool,
        rate_limiter: RateLimiter,
        circuit_breaker: CircuitBreaker,
        *,
        messages_per_connection: float,
        stop_timeout: float,
    ) -> None:
        self._queue = queue
        self._network = network
        self._pool = pool
        self._rate_limiter = rate_limiter
        self._circuit_breaker = circuit_breaker
        self._messages_per_connection = messages_per_connection
        self._stop_timeout = stop_timeout
        self._envelopes: deque[Envelope] = deque()  # fetched, but not started
        self._batch_size = max(INITIAL_BATCH_SIZE, pool.max_connections)
        self._fetched_at = network.now
        self._next_fetch_at = network.now  # when to ask the queue again
        self._ready_for_dot: list[Connection] = []  # ready to send content and dot once that is committed
        self._awaiting_commit: list[Connection] = []  # the same, with the commit in progress
        self._pending_commit: PendingCommit | None = None
        self._outcomes: list[Outcome] = []  # not committed yet
        self._refused_after_dot: list[Envelope] = []  # not in doubt, which is not committed yet; without an outcome
        self._draining = False
        self._stop_at = NEVER

    def run(self) -> None:
        """Send until the queue is empty, the server is not usable, or a stop is requested."""
        while self._run_once():
            pass
        held = [outcome.envelope for outcome in self._circuit_breaker.release_held()]
        if self._envelopes or held:
            self._queue.release([*self._envelopes, *held])
        self._quit_all()

    def _run_once(self) -> bool:
        if self._pending_commit is None:
            self._queue.renew_lease()
        if self._queue.stopping:
            self._stop()
        if not self._draining:
            self._dispatch()
        if self._finished():
            return False
        self._collect(self._network.wait(self._poll_timeout()))
        committed = self._finish_commit() if self._network.commit_ready else None
        if self._pending_commit is None and (self._outcomes or self._ready_for_dot or self._refused_after_dot):
            self._commit()
        if committed is not None:
            self._send_final_dots(*committed)
        if self._pool.refusal is not None and not self._draining:
            self._drain()
        return True

    def _finished(self) -> bool:
        in_flight = self._pool.busy or self._outcomes or self._pending_commit or self._refused_after_dot
        if in_flight or (self._envelopes and not self._draining):
            return False
        if self._circuit_breaker.held and not self._draining:
            return self._judge_held()
        return True

    def _judge_held(self) -> bool:
        """Decide about the held refusals once nothing is left to send. Return whether the loop is finished."""
        self._pool.refusal = self._circuit_breaker.judge_held()
        if self._pool.refusal is None:
            self._outcomes += self._circuit_breaker.release_held()
        return self._pool.refusal is not None

    def _poll_timeout(self) -> float:
        if self._outcomes and self._pending_commit is None:
            return 0.0
        now = self._network.now
        wait = min(MAX_WAIT_SECONDS, self._stop_at - now)
        if self._draining:
            return wait
        if not self._envelopes:
            return min(wait, self._next_fetch_at - now)
        return min(wait, self._rate_limiter.delay(now) or wait)

    # Envelopes to connections

    def _dispatch(self) -> None:
        now, pool = self._network.now, self._pool
        reserve = len(pool.open) + len(pool.opening)
        if self._pending_commit:
            reserve *= 2  # a fetch waits for that commit, whose connections then need another envelope too
        if len(self._envelopes) <= reserve and now >= self._next_fetch_at:
            self._fetch(now)
        while pool.idle and self._envelopes and self._rate_limiter.try_start(now):
            connection, _ = pool.idle.popitem()
            session = connection.session
            if self._begin_next(session, session.begin):
                connection.flush()
            else:
                pool.idle[connection] = None
        while pool.should_open(len(self._envelopes), few=self._rate_limiter.enabled):
            pool.open_connection()

    def _fetch(self, now: float) -> None:
        """Claim about half a second's worth of envelopes, so that mail that falls due later does not wait long."""
        if now - self._fetched_at < 0.25:
            self._batch_size = min(self._batch_size * 2, MAX_BATCH_SIZE)
        elif now - self._fetched_at > 1:
            self._batch_size = max(self._batch_size // 2, len(self._pool.open), 1)
        self._fetched_at = now
        committed = self._finish_commit()
        if committed is not None:
            self._send_final_dots(*committed)
        fetched = self._queue.fetch(min(self._batch_size, self._rate_limiter.per_second))
        if not fetched:
            self._next_fetch_at = now + REFETCH_SECONDS
        self._envelopes += fetched

    def _begin_next(self, session: Session, begin: Callable[[Envelope, bytes], None]) -> bool:
        """Call `begin` with the next envelope that can be sent, and return whether there was one. Others fail alone."""
        at, eight_bit = self._network.wall_time, session.capabilities.eight_bit
        while self._envelopes:
            envelope = self._envelopes.popleft()
            _, recipient_id, address, message = envelope
            try:
                content = message.smtp_data(address, recipient_id, at, eight_bit=eight_bit)
            except Exception as error:  # noqa: BLE001 - a fault in one message must not stop the others
                self._outcomes.append(Outcome(envelope, *classify_build_error(error), at))
                continue
            try:
                begin(envelope, content)
            except MemoryError:
                raise  # the session may have partly started it
            except Exception as error:  # noqa: BLE001
                self._outcomes.append(Outcome(envelope, *classify_build_error(error), at))
            else:
                return True
        return False

    # Outcomes from connections

    def _collect(self, connections: list[Connection]) -> None:
        breaker = self._circuit_breaker
        for connection in connections:
            session = connection.session
            if session.outcomes:
                if session.refused or breaker.held:
                    self._hold_refusals(session)
                self._outcomes += session.outcomes
                session.outcomes.clear()
            if session.state is READY_FOR_CONTENT:
                self._ready_for_dot.append(connection)
                if breaker.held:
                    breaker.accept_envelope()
            elif session.returned or session.state is IDLE or session.state is CLOSED:
                self._handle_state_change(connection)

    def _handle_state_change(self, connection: Connection) -> None:
        session, pool = connection.session, self._pool
        self._envelopes.extendleft(session.returned)
        session.returned.clear()
        self._refused_after_dot += session.returned_after_dot
        session.returned_after_dot.clear()
        if session.state is IDLE:
            self._park(connection)
        elif session.state is CLOSED:
            if session.broken_mid_message or session.too_many_connections:
                pool.refusal = pool.refusal or self._circuit_breaker.record_break(session.reason)
            pool.remove(connection)

    def _hold_refusals(self, session: Session) -> None:
        """Move refusals that may be about the session to the circuit breaker, and show it the acceptances."""
        breaker, pool = self._circuit_breaker, self._pool
        if pool.refusal is None:  # otherwise everything held stays due
            for outcome in session.outcomes:
                if outcome.kind is Kind.SENT:
                    self._outcomes += breaker.accept(outcome.envelope)
        in_flight = self._in_flight() if session.refused else set()
        for refusal in session.refused:
            session.outcomes.remove(refusal.outcome)
            if refusal.key[0] is Step.CONTENT:
                self._refused_after_dot.append(refusal.outcome.envelope)
            reason = breaker.hold(refusal, in_flight)
            pool.refusal = pool.refusal or reason
            if pool.refusal is None:
                self._outcomes += breaker.excess()
        session.refused.clear()

    def _in_flight(self) -> set[tuple[int, int]]:
        """Return the keys of the messages that were started, including those whose outcome is not collected yet."""
        keys = set()
        for connection in self._pool.open:
            session = connection.session
            if session.envelope is not None:
                keys.add(session.envelope[:2])
            keys.update(envelope[:2] for _, envelope in session.pending if envelope is not None)
            keys.update(outcome.envelope[:2] for outcome in session.outcomes)
        return keys

    def _park(self, connection: Connection) -> None:
        session, pool = connection.session, self._pool
        if session.refusal is not None:
            pool.refusal = pool.refusal or str(session.refusal)
        if session.message_count >= self._messages_per_connection or session.refusal is not None:
            pool.quit(connection)
        else:
            pool.park(connection)

    # Commits, and the final dots that they permit

    def _commit(self) -> None:
        """Commit the outcomes, and that the ready messages are about to end. Only then send their dots."""
        outcomes, self._outcomes = self._outcomes, []
        ready, self._ready_for_dot = self._ready_for_dot, []
        ending = [c.session.envelope for c in ready if c.session.envelope]
        if self._refused_after_dot:
            self._queue.record_refused(self._refused_after_dot)
            self._refused_after_dot = []
        self._pending_commit = self._queue.begin_commit(outcomes, ending)
        if self._pending_commit is None:
            self._send_final_dots(ready, self._queue.commit(outcomes, ending))
        else:
            self._awaiting_commit = ready
            self._network.watch_commit(self._pending_commit.descriptor)
        self._circuit_breaker.record_outcomes(outcomes)

    def _finish_commit(self) -> tuple[list[Connection], Collection[Envelope]] | None:
        """Wait for the pending commit and return the arguments for `_send_final_dots`; None if no commit is pending.

        The next commit may begin before these dots are sent.
        """
        if self._pending_commit is None:
            return None
        self._network.watch_commit(None)
        commit, self._pending_commit = self._pending_commit, None
        ready, self._awaiting_commit = self._awaiting_commit, []
        return ready, commit.result()

    def _send_final_dots(self, ready: list[Connection], kept: Collection[Envelope]) -> None:
        """Send the content and dot of the messages in `kept`, except on connections lost during the commit."""
        all_kept = len(kept) == len(ready)
        ready = [connection for connection in ready if not connection.closed]
        if not all_kept:
            ready = self._drop_lost_claims(ready, kept)
        for connection in ready:
            if self._queue.lease_is_valid():
                self._send_final_dot(connection)
            else:
                self._drain()
                connection.stop("the lease has expired")

    def _send_final_dot(self, connection: Connection) -> None:
        session = connection.session
        pipeline_next = (
            self._envelopes
            and session.can_pipeline_next
            and not self._draining
            and session.message_count < self._messages_per_connection
            and (not self._rate_limiter.enabled or self._rate_limiter.try_start(self._network.now))
        )
        if not (pipeline_next and self._begin_next(session, session.end_and_begin)):
            session.end()
        connection.flush()

    def _drop_lost_claims(self, ready: list[Connection], kept: Collection[Envelope]) -> list[Connection]:
        """Close the connections whose claim was lost. Without the dot, the server discards the message."""
        kept_keys = {(envelope.event_id, envelope.recipient_id) for envelope in kept}
        still_ready = []
        for connection in ready:
            envelope = connection.session.envelope
            if envelope is not None and (envelope.event_id, envelope.recipient_id) in kept_keys:
                still_ready.append(connection)
            else:
                connection.session.drop_envelope()
                connection.stop("the delivery was cancelled or taken over")
        return still_ready

    # Stopping

    def _stop(self) -> None:
        if self._stop_at == NEVER:
            self._stop_at = self._network.now + self._stop_timeout
            self._drain()
        elif self._network.now >= self._stop_at:
            self._pool.stop("stopped before the server replied")

    def _drain(self) -> None:
        """Start no more messages; those in flight are finished."""
        self._draining = True
        self._pool.stop_opening()

    def _quit_all(self) -> None:
        self._pool.stop_opening()
        for connection in list(self._pool.idle):
            self._pool.quit(connection)
        while self._pool.quitting:
            self._collect(self._network.wait(MAX_WAIT_SECONDS))
