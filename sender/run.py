"""One sender's part in a sweep: register, send everything due, unregister."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime

from database import MAIL_SERVER, Database, Delivery, DeliveryUpdate, boot_clock
from delivery.interface import SessionError
from delivery.smtp.sender import SMTPSender
from sender.address_memory import DatabaseAddressMemory
from sender.outgoing import make_sender
from sender.progress_bar import ProgressBar
from sender.result import SweepResult
from sender.retry_policy import Policy, next_state_after_crash
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from sender.work_queue import DeliveryQueue, messages_per_day, retry_while_busy
from settings import Settings


def send_due(
    settings: Settings, database: Database, tasklog: TaskLog, stop: StopRequest, progress_bar: ProgressBar
) -> SweepResult:
    """Send until nothing more is due. Do nothing if SENDERS senders are already running."""
    policy = Policy(settings.retry_for, settings.in_doubt)

    def resolve_abandoned(delivery: Delivery) -> DeliveryUpdate:
        update = next_state_after_crash(delivery, int(time.time()), policy)
        if update.status == "unknown":
            tasklog.error(f"unknown: {update.reply}", delivery.event_id, delivery.address)
        return update

    leased_at = boot_clock()
    sender_id = retry_while_busy(stop, database.senders.register, settings.senders, int(time.time()), resolve_abandoned)
    if sender_id is None:
        return SweepResult.BUSY
    gc.freeze()  # loaded modules never become garbage; scanning them is a fifth of the garbage collector's work
    retry_while_busy(stop, database.emails.finish_cancels, datetime.now(UTC))
    queue = DeliveryQueue(database, sender_id, settings, tasklog, stop, progress_bar, leased_at)
    try:
        sender = make_sender(settings)
        if isinstance(sender, SMTPSender):
            sender.address_memory = DatabaseAddressMemory(database, tasklog, stop)
        sender.deliver(queue)
        queue.clear_error()
        return _result_of(queue, settings, database, tasklog)
    except SessionError as error:
        tasklog.error(error.reason)
        retry_while_busy(stop, database.sender_errors.record, MAIL_SERVER, error.reason, int(time.time()))
        return SweepResult.CANNOT_SEND
    finally:
        queue.close()
        milliseconds = int((boot_clock() - leased_at) * 1000) if queue.had_work else None
        retry_while_busy(stop, database.senders.unregister, sender_id, resolve_abandoned, milliseconds)


def _result_of(queue: DeliveryQueue, settings: Settings, database: Database, tasklog: TaskLog) -> SweepResult:
    per_day = messages_per_day(settings)
    if per_day and database.claims.used_today(int(time.time())) >= per_day:
        if queue.had_work:
            tasklog.error(f"daily limit reached (SMTP_MAX_PER_DAY={per_day}); the rest is sent when the limit allows")
        return SweepResult.QUOTA_REACHED
    if not queue.flush_completion_log():
        return SweepResult.LOG_FAILED
    return SweepResult.DONE if queue.had_work else SweepResult.IDLE
