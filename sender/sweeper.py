"""A sweep from start to finish, as run by the command line of `task.py` and by the Redis queue."""

from __future__ import annotations

import argparse
import re
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import operations
from database import (
    LEASE_SECONDS,
    Database,
    DatabaseBusy,
    DatabaseFull,
    DatabaseReadOnly,
    DBError,
    NoSuchEmail,
    NotRetryable,
    format_utc,
    open_database,
)
from schedulers.errors import QueueUnavailable
from schedulers.wake_ups import wake_ups_of
from sender.clock_check import clock_is_right
from sender.progress_bar import ProgressBar
from sender.result import SweepResult
from sender.run import send_due
from sender.shutdown import StopRequest
from sender.sweep_log import log_sweep
from sender.task_log import TaskLog
from sender.watch import Watcher
from sender.watch_loop import RETRY_SECONDS, sweep_ahead
from settings import Settings, SettingsError, load_settings
from settings.console import escape_unencodable

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

LOST_COMMITS_MESSAGE = (
    "the write-ahead log is corrupt: at least {} committed transactions were lost. "
    "The database will be treated as a restored backup"
)
PRUNE_SECONDS = 2
INDEX_SECONDS = 10
MAX_QUEUED_SWEEP_SECONDS = 600  # after this, a sweep started by the Redis queue leaves the rest to the next one


class UsageError(Exception):
    """The command cannot be run. Nothing was changed."""


class SweepRefused(Exception):
    """Nothing can be sent until an operator fixes the problem that is in the log."""


class Sweeper:
    """Runs the sweeps of one database."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tasklog: TaskLog,
        stop: StopRequest,
        wake_ups: WakeUps | None = None,
        *,
        is_service: bool = False,
    ) -> None:
        """`is_service`: this is a long-running service, which logs a line for each sweep."""
        self._settings = settings
        self._database = database
        self._tasklog = tasklog
        self._stop = stop
        self._wake_ups = wake_ups
        self._is_service = is_service
        self._armed_at: int | None = None
        self._log_again_at = 0.0  # when to retry writing to the log after a failure

    def run(self, options: argparse.Namespace) -> None:
        """Do what the command-line options ask for."""
        if options.clock_is_right:
            self._database.record_heartbeat(int(time.time()))
        if options.retry_failed is not None:
            self._retry_failed(options.retry_failed)
        elif options.watch:
            Watcher(self._could_send, self._database, self._tasklog, self._stop).run()
        elif options.ahead is not None:
            sweep_ahead(self._could_send, self._database.next_work_at, self._stop, options.ahead)
        else:
            self.sweep(show_progress=True)

    def sweep(self, *, show_progress: bool = False) -> SweepResult:
        """Send everything due, unless enough senders are running, then schedule the next wake-up.

        With `show_progress`, show the number of sent messages on a terminal.
        """
        result = self._sweep(show_progress)
        if self._wake_ups is not None:
            self._wake_at(self._next_sweep_at(result))
        return result

    def _sweep(self, show_progress: bool) -> SweepResult:
        if not clock_is_right(self._database, self._tasklog, self._stop):
            return SweepResult.CANNOT_SEND
        self._hold_restored()
        while not self._stop.requested and self._has_work():
            if not clock_is_right(self._database, self._tasklog, self._stop):
                return SweepResult.CANNOT_SEND
            self._wake_at(next_minute())  # in case this process is killed
            progress_bar = ProgressBar(enabled=show_progress, sent="saved" if self._settings.email_url.path else "sent")
            result = send_due(self._settings, self._database, self._tasklog, self._stop, progress_bar)
            if self._is_service:
                log_sweep(progress_bar.counts, progress_bar.seconds, result, self._settings.log_format)
            if result is SweepResult.LOG_FAILED:
                self._log_again_at = time.monotonic() + RETRY_SECONDS
            elif result is not SweepResult.DONE:
                return result
        self._database.recipients.forget_removals(datetime.now(UTC))
        self._prune()
        self._index()
        return SweepResult.DONE

    def _prune(self) -> None:
        """Prune emails older than KEEP_FOR for up to PRUNE_SECONDS, while nothing is due. Later sweeps continue."""
        before = datetime.now(UTC) - timedelta(seconds=self._settings.keep_for)
        if self._settings.keep_for and self._database.any_prunable(before):
            end = time.monotonic() + PRUNE_SECONDS
            self._database.prune(
                before, lambda: time.monotonic() < end and not (self._stop.requested or self._has_work())
            )

    def _index(self) -> None:
        """Update the index for searching recipients for up to INDEX_SECONDS, while nothing is due."""
        if self._database.search_index.is_behind():
            end = time.monotonic() + INDEX_SECONDS
            with suppress(DatabaseBusy, DatabaseFull, DatabaseReadOnly):  # then searches are slower, but still right
                self._database.search_index.update(
                    lambda: time.monotonic() < end and not (self._stop.requested or self._has_work())
                )

    def _has_work(self) -> bool:
        return self._database.has_work(int(time.time()), log=time.monotonic() >= self._log_again_at)

    def _could_send(self) -> bool:
        return self.sweep() not in (SweepResult.CANNOT_SEND, SweepResult.QUOTA_REACHED)

    def _next_sweep_at(self, result: SweepResult) -> int | None:
        """Return when to sweep next: when there is work again, but within a minute unless this sweep did everything."""
        due_at = self._database.next_work_at()
        if result is SweepResult.DONE:
            return int(time.time()) if self._has_work() else due_at
        return next_minute() if due_at is None or due_at <= time.time() else min(due_at, next_minute())

    def _wake_at(self, second: int | None) -> None:
        if self._wake_ups is not None and second not in (None, self._armed_at):
            self._armed_at = second
            self._wake_ups.at(second)

    def _retry_failed(self, event_id: int) -> None:
        try:
            count = operations.retry_deliveries(self._database, self._wake_ups, event_id, datetime.now(UTC))
            blocked = operations.blocked_deliveries(self._database, event_id)
        except (NoSuchEmail, NotRetryable) as error:
            raise UsageError(str(error)) from error
        deliveries = "delivery" if count == 1 else "deliveries"
        print(f"Retrying {count} {deliveries} of email {event_id} on the next sweep.")
        if blocked:
            print(f"{sum(blocked.values())} cannot be retried: {operations.why_blocked(blocked)}")

    def _hold_restored(self) -> None:
        """Put the due and partly sent emails of a restored backup on hold, so that an operator decides about them."""
        restored = self._database.progress.hold_restored(int(time.time()))
        if restored is not None:
            if restored.lost_commits:
                self._tasklog.error(LOST_COMMITS_MESSAGE.format(restored.lost_commits))
            emails = "email" if restored.held == 1 else "emails"
            self._tasklog.error(
                f"restored backup from {format_utc(restored.made_at)}: put {restored.held} due or partly sent {emails} "
                "on hold, because mail may have been sent since then"
            )


def run_queued() -> None:
    """Run a sweep for the Redis queue, and schedule the next wake-up.

    Raises only errors that an operator has to fix, so that the queue of failed jobs contains nothing else. It stops
    long before rq's timeout, which would kill it in the middle of a message.
    """
    settings, stop = load_settings(), StopRequest()
    stop.install()
    stop.after(MAX_QUEUED_SWEEP_SECONDS)
    tasklog = TaskLog(settings.tasklog)
    wake_ups = _wake_ups(settings, tasklog)
    if wake_ups is not None:
        wake_ups.drain_queue()  # before the database is read, which then includes everything they were scheduled for
    try:
        with open_database(settings) as database:
            result = Sweeper(settings, database, tasklog, stop, wake_ups, is_service=True).sweep()
    except DBError as error:
        tasklog.error(str(error))
        if wake_ups is not None:
            wake_ups.at(next_minute())
        if not isinstance(error, DatabaseBusy):
            raise
    else:
        if result is SweepResult.CANNOT_SEND:
            raise SweepRefused(f"cannot send now; see the log: {settings.tasklog}")


def run_command(arguments: list[str], description: str) -> int:
    """Run the command line of `task.py`. Return the exit code."""
    escape_unencodable()
    options = _parser(description).parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(*error.errors, sep="\n", file=sys.stderr)
        return 1
    return _run(options, settings)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    tasklog = TaskLog(settings.tasklog)
    stop = StopRequest()
    stop.install()
    try:
        with open_database(settings) as database:
            wake_ups = _wake_ups(settings, tasklog)
            Sweeper(settings, database, tasklog, stop, wake_ups, is_service=options.watch).run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    except DBError as error:
        tasklog.error(str(error))
    return 1 if tasklog.errors else 0


def _wake_ups(settings: Settings, tasklog: TaskLog) -> WakeUps | None:
    try:
        return wake_ups_of(settings)
    except QueueUnavailable as error:  # mail is still sent
        tasklog.error(str(error))
        return None


def next_minute() -> int:
    """Return the start of the next minute, in seconds since 1970 UTC: when to retry what cannot be done now."""
    return (int(time.time()) // LEASE_SECONDS + 1) * LEASE_SECONDS


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python task.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ahead", metavar="SECONDS", type=_seconds, help="also send what falls due within SECONDS, on time"
    )
    parser.add_argument("--watch", action="store_true", help="sweep whenever something is due, until stopped")
    parser.add_argument(
        "--retry-failed",
        metavar="EVENT_ID",
        type=_event_id,
        help="retry the failed and unconfirmed deliveries of this email on the next sweep",
    )
    parser.add_argument(
        "--clock-is-right", action="store_true", help="sweep although the system clock seems to have jumped"
    )
    return parser


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 9999")
    return int(text)


def _event_id(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a 64-bit integer")
    return int(text)
