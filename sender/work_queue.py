"""The work of one sender in a sweep: claims envelopes for it, and makes durable what it tells.

This is the `Work` that every sender in `delivery/` asks, on top of the data layer. Between the two of them
stands the promise: what ends was recorded as `sending` before, what was answered is recorded before the next
message of that connection ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import itemgetter
from typing import ParamSpec, TypeVar

from database import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    Accepted,
    Claim,
    Database,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DeliveryUpdate,
    SchemaMismatch,
    SendIntent,
    boot_clock,
    new_accepted,
    new_send_intent,
)
from delivery.interface import Envelope, Kind, Outcome, Recording, new_envelope, not_built
from delivery.message.message import Message, MessageError
from sender.outgoing import make_message
from sender.progress_bar import Display
from sender.retry_policy import LONGEST_REPLY, Policy, settle
from sender.shutdown import Stop
from sender.task_log import TaskLog
from settings import Settings

LAST_PATIENCE = 10.0
PATIENCE = 120.0  # seconds for which a database that is busy or full is tried again
MESSAGES_KEPT = 8  # rendered emails

_SENT = Kind.SENT  # quicker than in its class

P = ParamSpec("P")
T = TypeVar("T")


class ClaimedWork:
    """Everything that is due, claimed bit by bit for the sender `sender_id`."""

    def __init__(
        self,
        database: Database,
        sender_id: int,
        settings: Settings,
        tasklog: TaskLog,
        stop: Stop,
        display: Display,
        leased_at: float,
    ) -> None:
        """`leased_at` is the boot clock just before this sender's lease began."""
        self._database = database
        self._deliveries = database.deliveries
        self._sender_id = sender_id
        self._settings = settings
        self._policy = Policy(settings.retry_for, settings.in_doubt)
        self._tasklog = tasklog
        self._stop = stop
        self._display = display
        self._deferred: dict[int, tuple[int, str]] = {}  # email -> how many deliveries, and the last reply
        self.took = False  # whether it had any work
        self._messages: dict[int, Message | MessageError] = {}
        self._last_claimed = 0
        self._renewed = leased_at
        self._lost = self._log_fails = False

    @property
    def stopping(self) -> bool:
        """True once the sweep was asked to stop, or another sender took over what this one held."""
        return self._stop.requested or self._lost

    def take(self, limit: int) -> list[Envelope]:
        """Up to `limit` envelopes, from all emails that are due in turn; an empty list when nothing is."""
        self.keep_alive()
        self.flush_completion_log()
        while not self.stopping:
            now = int(time.time())
            begun = self._patiently(self._begin, now)
            claims = self._patiently(self._claim, now, limit)
            envelopes = self._envelopes(claims, now)
            self.took = self.took or bool(claims or begun)
            if envelopes or not (claims or begun):
                return envelopes
        return []

    def record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Make `outcomes` durable, and that `ending` are about to end; returns those that may."""
        self.keep_alive()
        sent, rows = self._sent(outcomes), self._ending(ending)
        others = [outcome for outcome in outcomes if outcome[1] is not _SENT] if len(sent) < len(outcomes) else []
        updates = [self._patiently(self._update, *outcome) for outcome in others]
        cleared = self._make_durable(sent, updates, rows)
        self._display.count("sent", len(sent))
        for outcome, update in zip(others, updates, strict=True):
            self._report(outcome.envelope.event_id, outcome.envelope.address, update)
        if len(cleared) == len(rows):
            return ending
        # The others were cancelled, or are another sender's by now.
        return [envelope for envelope, row in zip(ending, rows, strict=True) if row in cleared]

    def begin_record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Recording | None:
        """Begin to `record`, where the database goes on with that by itself; None: it does not."""
        if not self._deliveries.can_submit:
            return None
        self.keep_alive()
        sent, rows = self._sent(outcomes), self._ending(ending)
        pending = self._deliveries.submit_record(sent, rows) if len(sent) == len(outcomes) else None
        if pending is None:
            return None

        def result() -> Collection[Envelope]:
            if not pending.wait():
                return self.record(outcomes, ending)
            self._display.count("sent", len(sent))
            return ending

        return Recording(pending.descriptor, result)

    def give_back(self, envelopes: Sequence[Envelope]) -> None:
        """Return envelopes that were not ended; no attempt is counted."""
        keys = [envelope[:2] for envelope in envelopes]
        self._patiently(self._deliveries.release, self._sender_id, keys, int(time.time()))

    def may_end(self) -> bool:
        """Whether the lease holds, by the clock that no step of the wall clock touches."""
        return not self._lost and boot_clock() < self._renewed + LEASE_SECONDS

    def keep_alive(self) -> None:
        """Renew the lease every RENEW_SECONDS."""
        began = boot_clock()
        if self._lost or began < self._renewed + RENEW_SECONDS:
            return
        if self._patiently(self._database.senders.renew, self._sender_id, int(time.time())):
            self._renewed = began
        else:
            self._lost = True
            self._tasklog.error("another sender took over: this one did not renew its lease in time")

    def flush_completion_log(self) -> bool:
        """Write the lines owed in the log; False when it cannot be written: they stay owed."""
        if self._log_fails:
            return False
        try:
            self._patiently(self._database.progress.flush_completion_log, self._tasklog.finished)
        except OSError as error:
            self._log_fails = True
            self._tasklog.cannot_write(error)
        return not self._log_fails

    def close(self) -> None:
        """Report what was deferred, and show the final numbers."""
        for event_id, (count, reply) in self._deferred.items():
            self._tasklog.error(f"{count} deliveries deferred, to be tried again; the last reply: {reply}", event_id)
        self._display.close()

    def _begin(self, now: int) -> bool:
        """Begin what is due; whether there was any."""
        begun = self._database.progress.start_due_emails(now, self._settings.hold_if_late)
        for event_id, held_because in begun:
            if held_because:
                self._tasklog.error(f"held: {held_because}", event_id)
        return bool(begun)

    def _claim(self, now: int, limit: int) -> list[Claim]:
        per_day = messages_per_day(self._settings)
        claims = self._database.claims.claim(self._sender_id, self._last_claimed, now, limit, per_day)
        if claims:
            self._last_claimed = claims[-1][0]
        return claims

    def _envelopes(self, claims: Sequence[Claim], now: int) -> list[Envelope]:
        """The claims as a sender takes them; those whose message cannot be built have failed, or wait for memory."""
        envelopes: list[Envelope] = []
        for event_id, of_email in groupby(claims, itemgetter(0)):
            message = self._message(event_id)
            if isinstance(message, Message):
                envelopes += [new_envelope((*claim, message)) for claim in of_email]
            else:
                for claim in of_email:
                    self._not_built(claim, message, now)
        return envelopes

    def _message(self, event_id: int) -> Message | Exception:
        """The message of an email, rendered once; or why it cannot be, or a MemoryError: it cannot be now."""
        if event_id not in self._messages:
            while len(self._messages) >= MESSAGES_KEPT:
                del self._messages[next(iter(self._messages))]
            try:
                self._messages[event_id] = self._render(event_id)
            except MemoryError as error:
                return error
        return self._messages[event_id]

    def _render(self, event_id: int) -> Message | MessageError:
        text = self._database.emails.text_to_send(event_id)
        try:
            return make_message(self._settings, self._database, event_id, text)
        except MessageError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one email stops no other
            return MessageError(f"the message cannot be built: {error!r}")

    def _not_built(self, claim: Claim, error: Exception, now: int) -> None:
        event_id, recipient_id, address = claim
        kind, reason = not_built(error)
        delivery = self._patiently(self._deliveries.get, (event_id, recipient_id))
        update = settle(delivery, kind.value, reason, now, self._policy)
        self._make_durable([], [update], [])
        self._report(event_id, address, update)

    def _sent(self, outcomes: Sequence[Outcome]) -> list[Accepted]:
        sender_id = self._sender_id
        return [
            new_accepted((envelope[0], envelope[1], sender_id, reply[:LONGEST_REPLY], int(at)))
            for envelope, kind, reply, at in outcomes
            if kind is _SENT
        ]

    def _ending(self, envelopes: Sequence[Envelope]) -> list[SendIntent]:
        sender_id = self._sender_id
        return [new_send_intent((envelope[0], envelope[1], sender_id)) for envelope in envelopes]

    def _update(self, envelope: Envelope, kind: Kind, reply: str, at: float) -> DeliveryUpdate:
        return settle(self._deliveries.get(envelope[:2]), kind.value, reply, int(at), self._policy)

    def _make_durable(
        self, sent: Sequence[Accepted], updates: Sequence[DeliveryUpdate], ending: Sequence[SendIntent]
    ) -> Sequence[SendIntent]:
        try:
            return self._patiently(self._deliveries.record, self._sender_id, sent, updates, ending)
        except DatabaseUnavailable:
            for accepted in sent:
                self._tasklog.error(f"sent ({accepted.reply}), but this could not be recorded", accepted.event_id)
            for other in updates:
                reason = f"{other.outcome} ({other.reply}), but this could not be recorded"
                self._tasklog.error(reason, other.event_id)
            raise

    def _report(self, event_id: int, address: str, update: DeliveryUpdate) -> None:
        self._display.count(update.outcome)
        if update.status in ("failed", "unknown"):
            reason = f"{update.status}: {update.reply}"
            self._tasklog.error(reason, event_id, address)
        else:
            count, _ = self._deferred.get(event_id, (0, ""))
            self._deferred[event_id] = count + 1, update.reply

    def _patiently(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return patiently(self._stop, act, *args, **kwargs)


def messages_per_day(settings: Settings) -> int:
    """SMTP_MAX_PER_DAY, which bounds no Maildir; 0: no bound."""
    return 0 if settings.email_url.path is not None else settings.smtp_max_per_day


def patiently(stop: Stop, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something with the database, again and again for PATIENCE seconds while it is busy or full.

    Once a stop was requested, for LAST_PATIENCE.
    """
    began = time.monotonic()
    delay = 0.1
    while True:
        try:
            return act(*args, **kwargs)
        except (DatabaseMissing, DatabaseReadOnly, SchemaMismatch):
            raise  # retrying cannot fix this
        except DatabaseUnavailable:
            patience = LAST_PATIENCE if stop.requested else PATIENCE
            if time.monotonic() + delay > began + patience:
                raise
        time.sleep(delay)
        delay = min(delay * 2, 1.0)
