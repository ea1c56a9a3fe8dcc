"""The queue of one sender in a sweep: claims envelopes for it, and makes its outcomes durable.

This implements the `Queue` that the senders in `delivery/` use, on top of the data layer. Together they keep the
central promise: a message ends only after it was recorded as `sending`, and its outcome is recorded before the next
message on the same connection ends.

Theory of operation
-------------------
`fetch` starts the emails that are due, then claims deliveries from all started emails in turn, and returns their
envelopes. The message of an email is rendered once and cached.

`commit` records outcomes, and the messages that are about to end, in one transaction (`storage/deliveries/outcome.py`).
It returns only the envelopes whose claim still holds. `begin_commit` does the same without waiting, if the database
server can run the transaction on its own and all outcomes are acceptances; other outcomes depend on rows that must be
read first. If a background transaction was not certainly committed, `commit` repeats it. That is safe, because
recording the same outcome twice changes nothing.

The lease. This sender's row in `senders` has a lease of LEASE_SECONDS, renewed every RENEW_SECONDS. Once the lease has
expired, another sender may take over its claims, and the messages that it was sending become in doubt. So
`lease_is_valid` is checked right before every final dot, by the boot clock, which setting the time does not change.
The start of the lease is read before the database writes it, so this sender never overestimates it.

Errors. While the database is busy or full, each operation is retried for BUSY_RETRY_SECONDS. After that, the exception
ends the sweep. Deliveries whose outcome could not be recorded stay `sending`; the next sender that registers resolves
them as in doubt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import ParamSpec, TypeVar

from database import (
    LEASE_SECONDS,
    MAIL_SERVER,
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
    offset_is_right,
)
from delivery.interface import Envelope, Kind, Outcome, PendingCommit, classify_build_error, new_envelope
from delivery.message.message import Message, MessageError
from delivery.message.personal import PersonalMessage
from sender.outgoing import make_message
from sender.progress_bar import ProgressBar
from sender.retry_policy import MAX_REPLY_LENGTH, Policy, next_state
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from settings import Settings

BUSY_RETRY_SECONDS = 120.0  # how long to retry while the database is busy or full
STOPPING_RETRY_SECONDS = 10.0  # the same after a stop request
ERRORS_PER_COMMIT = 100  # messages that cannot be built; other writers wait for a commit
MAX_CACHED_MESSAGES = 8  # one per email

_NO_FIELDS: Mapping[str, str] = {}
_SENT = Kind.SENT  # faster than looking it up in the enum

P = ParamSpec("P")
T = TypeVar("T")


class DeliveryQueue:
    """Everything that is due, claimed in batches for the sender `sender_id`."""

    def __init__(
        self,
        database: Database,
        sender_id: int,
        settings: Settings,
        tasklog: TaskLog,
        stop: StopRequest,
        progress_bar: ProgressBar,
        leased_at: float,
    ) -> None:
        """`leased_at` is the boot clock, read just before this sender's lease began."""
        self._database = database
        self._deliveries = database.deliveries
        self._sender_id = sender_id
        self._settings = settings
        self._policy = Policy(settings.retry_for, settings.in_doubt)
        self._tasklog = tasklog
        self._stop = stop
        self._progress_bar = progress_bar
        self._deferred: dict[int, tuple[int, str]] = {}  # event_id -> number of deliveries, last reply
        self.had_work = False  # whether anything was due
        self._messages: dict[int, Message | MessageError] = {}
        self._last_claimed = 0
        self._renewed_at = leased_at
        self._lease_lost = self._log_failed = False
        self._has_error = any(error.kind == MAIL_SERVER for error in database.sender_errors.current())
        self._clock_offset = database.clocks.expected_offset()

    @property
    def stopping(self) -> bool:
        """True after a stop request, or once another sender has taken over this one's claims."""
        return self._stop.requested or self._lease_lost

    def fetch(self, limit: int) -> list[Envelope]:
        """Claim and return up to `limit` envelopes, from all due emails in turn. Empty if nothing is due."""
        self.flush_completion_log()
        while not self.stopping:
            self.renew_lease()
            now = int(time.time())
            started = self._retry(self._start_emails, now)
            claims = self._retry(self._claim, now, limit)
            envelopes = self._envelopes(claims, now)
            self.had_work = self.had_work or bool(claims or started)
            if envelopes or not (claims or started):
                return envelopes
        return []

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Record `outcomes` and that `ending` are about to end, in one commit. Return those that may end."""
        self.renew_lease()
        sent, rows = self._sent(outcomes), self._ending(ending)
        others = [outcome for outcome in outcomes if outcome[1] is not _SENT] if len(sent) < len(outcomes) else []
        updates = [self._retry(self._update, *outcome) for outcome in others]
        cleared = self._make_durable(sent, updates, rows)
        if sent:
            self.clear_error()
        self._progress_bar.count("sent", len(sent))
        for outcome, update in zip(others, updates, strict=True):
            self._report(outcome.envelope.event_id, outcome.envelope.address, update)
        if len(cleared) == len(rows):
            return ending
        # The others were cancelled, or claimed by another sender.
        return [envelope for envelope, row in zip(ending, rows, strict=True) if row in cleared]

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> PendingCommit | None:
        """Start a `commit` that the database server completes on its own. Return None if that is not possible."""
        if not self._deliveries.can_submit:
            return None
        self.renew_lease()
        sent, rows = self._sent(outcomes), self._ending(ending)
        pending = self._deliveries.submit_record(sent, rows) if len(sent) == len(outcomes) else None
        if pending is None:
            return None

        def result() -> Collection[Envelope]:
            if not pending.wait():
                return self.commit(outcomes, ending)
            self._progress_bar.count("sent", len(sent))
            if sent:
                self.clear_error()
            return ending

        return PendingCommit(pending.descriptor, result)

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        """Record that these messages were refused after their final dot: not in doubt, but still claimed."""
        keys = [envelope[:2] for envelope in envelopes]
        self._retry(self._deliveries.record_refused, self._sender_id, keys)

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Queue envelopes again that were not ended. No attempt is counted."""
        keys = [envelope[:2] for envelope in envelopes]
        self._retry(self._deliveries.release, self._sender_id, keys, int(time.time()))

    def lease_is_valid(self) -> bool:
        """Return whether it is certain that the lease is valid, by a clock that setting the time does not affect."""
        return not self._lease_lost and boot_clock() < self._renewed_at + LEASE_SECONDS

    def renew_lease(self) -> None:
        """Renew the lease if RENEW_SECONDS have passed. Notice if another sender has taken over."""
        began = boot_clock()
        if self._lease_lost or began < self._renewed_at + RENEW_SECONDS:
            return
        if self._retry(self._database.senders.renew, self._sender_id, int(time.time())):
            self._renewed_at = began
        else:
            self._lease_lost = True
            self._tasklog.error("lease lost: it was not renewed in time, and another sender took over")

    def flush_completion_log(self) -> bool:
        """Write the log lines of finished emails. Return False if the log is not writable; later sweeps write them."""
        if self._log_failed:
            return False
        try:
            self._retry(self._database.progress.flush_completion_log, self._tasklog.finished)
        except OSError as error:
            self._log_failed = True
            self._tasklog.cannot_write(error)
        return not self._log_failed

    def clear_error(self) -> None:
        """Record that the mail server works again, if an error was recorded."""
        if self._has_error:
            self._retry(self._database.sender_errors.clear, MAIL_SERVER)
            self._has_error = False

    def close(self) -> None:
        """Report deferred deliveries, one line per email, and show the final counts."""
        for event_id, (count, reply) in self._deferred.items():
            deliveries = "delivery" if count == 1 else "deliveries"
            self._tasklog.error(f"{count} {deliveries} deferred, will retry; last reply: {reply}", event_id)
        self._progress_bar.close()

    def _start_emails(self, now: int) -> bool:
        """Start the emails that are due, unless the clock was just changed. Return whether there were any."""
        if self._clock_offset is not None and not offset_is_right(self._clock_offset):
            return False  # the next sweep reports it
        started = self._database.progress.start_due_emails(now, self._settings.hold_if_late)
        for event_id, held_because in started:
            if held_because:
                self._tasklog.error(f"held: {held_because}", event_id)
        return bool(started)

    def _claim(self, now: int, limit: int) -> list[Claim]:
        per_day = messages_per_day(self._settings)
        claims = self._database.claims.claim(self._sender_id, self._last_claimed, now, limit, per_day)
        if claims:
            self._last_claimed = claims[-1][0]
        return claims

    def _envelopes(self, claims: Sequence[Claim], now: int) -> list[Envelope]:
        """Return the envelopes of claims. If a message cannot be built, its deliveries fail, or wait for memory."""
        envelopes: list[Envelope] = []
        for event_id, of_email in groupby(claims, itemgetter(0)):
            message = self._message(event_id)
            if isinstance(message, PersonalMessage):
                envelopes += self._personal_envelopes(message, list(of_email), now)
            elif isinstance(message, Message):
                envelopes += [new_envelope((*claim, message)) for claim in of_email]
            else:
                self._report_build_errors([(claim, message) for claim in of_email], now)
        return envelopes

    def _personal_envelopes(self, message: PersonalMessage, claims: Sequence[Claim], now: int) -> list[Envelope]:
        """Return the envelopes of claims of one email with placeholders. Deliveries without a usable value fail."""
        recipient_ids = [recipient_id for _, recipient_id, _ in claims] if message.has_placeholders else []
        fields = self._retry(self._database.personal_fields.of, recipient_ids)
        envelopes: list[Envelope] = []
        errors: list[tuple[Claim, Exception]] = []
        for claim in claims:
            try:
                envelopes.append(new_envelope((*claim, message.for_recipient(fields.get(claim[1], _NO_FIELDS)))))
            except Exception as error:  # noqa: BLE001 - a fault in one message must not stop the others
                errors.append((claim, error))
        if errors:
            self._report_build_errors(errors, now)
        return envelopes

    def _message(self, event_id: int) -> Message | Exception:
        """Return the message of an email, rendered once, or the error that prevents it. A MemoryError is not cached."""
        if event_id not in self._messages:
            while len(self._messages) >= MAX_CACHED_MESSAGES:
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
        except Exception as error:  # noqa: BLE001 - a fault in one email must not stop the others
            return MessageError(f"the message cannot be built: {error!r}")

    def _report_build_errors(self, errors: Sequence[tuple[Claim, Exception]], now: int) -> None:
        """Record that the messages of these claims cannot be built."""
        for start in range(0, len(errors), ERRORS_PER_COMMIT):
            batch = errors[start : start + ERRORS_PER_COMMIT]
            updates = [self._failed_to_build(claim, error, now) for claim, error in batch]
            self._make_durable([], updates, [])
            for ((event_id, _, address), _), update in zip(batch, updates, strict=True):
                self._report(event_id, address, update)
            self.renew_lease()

    def _failed_to_build(self, claim: Claim, error: Exception, now: int) -> DeliveryUpdate:
        kind, reason = classify_build_error(error)
        delivery = self._retry(self._deliveries.get, claim[:2])
        return next_state(delivery, kind.value, reason, now, self._policy)

    def _sent(self, outcomes: Sequence[Outcome]) -> list[Accepted]:
        sender_id = self._sender_id
        return [
            (envelope[0], envelope[1], sender_id, reply[:MAX_REPLY_LENGTH], int(at))
            for envelope, kind, reply, at in outcomes
            if kind is _SENT
        ]

    def _ending(self, envelopes: Sequence[Envelope]) -> list[SendIntent]:
        sender_id = self._sender_id
        return [(envelope[0], envelope[1], sender_id) for envelope in envelopes]

    def _update(self, envelope: Envelope, kind: Kind, reply: str, at: float) -> DeliveryUpdate:
        return next_state(self._deliveries.get(envelope[:2]), kind.value, reply, int(at), self._policy)

    def _make_durable(
        self, sent: Sequence[Accepted], updates: Sequence[DeliveryUpdate], ending: Sequence[SendIntent]
    ) -> Sequence[SendIntent]:
        try:
            return self._retry(self._deliveries.record, self._sender_id, sent, updates, ending)
        except DatabaseUnavailable:
            for event_id, _, _, reply, _ in sent:
                reason = f"sent ({reply}), but the result could not be saved; it may be sent again"
                self._tasklog.error(reason, event_id)
            for other in updates:
                reason = f"{other.outcome} ({other.reply}), but the result could not be saved"
                self._tasklog.error(reason, other.event_id)
            raise

    def _report(self, event_id: int, address: str, update: DeliveryUpdate) -> None:
        self._progress_bar.count(update.outcome)
        if update.status in ("failed", "unknown"):
            reason = f"{update.status}: {update.reply}"
            self._tasklog.error(reason, event_id, address)
        else:
            count, _ = self._deferred.get(event_id, (0, ""))
            self._deferred[event_id] = count + 1, update.reply

    def _retry(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return retry_while_busy(self._stop, act, *args, **kwargs)


def messages_per_day(settings: Settings) -> int:
    """Return SMTP_MAX_PER_DAY, or 0 (no limit) for a Maildir."""
    return 0 if settings.email_url.path is not None else settings.smtp_max_per_day


def retry_while_busy(stop: StopRequest, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `act`, and retry while the database is unavailable, such as busy or full, for up to BUSY_RETRY_SECONDS.

    After a stop request, retry only for STOPPING_RETRY_SECONDS. Errors that retrying cannot fix are raised at once.
    """
    started = time.monotonic()
    delay = 0.1
    while True:
        try:
            return act(*args, **kwargs)
        except (DatabaseMissing, DatabaseReadOnly, SchemaMismatch):
            raise  # retrying cannot fix this
        except DatabaseUnavailable:
            timeout = STOPPING_RETRY_SECONDS if stop.requested else BUSY_RETRY_SECONDS
            if time.monotonic() + delay > started + timeout:
                raise
        time.sleep(delay)
        delay = min(delay * 2, 1.0)
