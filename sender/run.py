"""One sender's turn: enter, send what is due, leave."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime

from database import Database, Delivery, DeliveryUpdate, boot_clock
from delivery.interface import SessionError
from sender.outgoing import make_sender
from sender.progress_bar import Display
from sender.result import Ended
from sender.retry_policy import Policy, settle_abandoned
from sender.shutdown import Stop
from sender.task_log import TaskLog
from sender.work_queue import ClaimedWork, messages_per_day, patiently
from settings import Settings


def send_due(settings: Settings, database: Database, tasklog: TaskLog, stop: Stop, display: Display) -> Ended:
    """Send until nothing more is due, if there is a place for one more sender."""
    policy = Policy(settings.retry_for, settings.in_doubt)

    def settle(delivery: Delivery) -> DeliveryUpdate:
        update = settle_abandoned(delivery, int(time.time()), policy)
        if update.status == "unknown":
            tasklog.error(f"unknown: {update.reply}", delivery.event_id, delivery.address)
        return update

    leased_at = boot_clock()
    sender_id = patiently(stop, database.senders.register, settings.senders, int(time.time()), settle)
    if sender_id is None:
        return Ended.BUSY
    gc.freeze()  # the modules loaded by now are never garbage; examining them is a fifth of the collector's work
    patiently(stop, database.emails.finish_cancels, datetime.now(UTC))
    work = ClaimedWork(database, sender_id, settings, tasklog, stop, display, leased_at)
    try:
        make_sender(settings).deliver(work)
        return _ended(work, settings, database, tasklog)
    except SessionError as error:
        tasklog.error(error.reason)
        return Ended.REFUSED
    finally:
        work.close()
        took = int((boot_clock() - leased_at) * 1000) if work.took else None
        patiently(stop, database.senders.unregister, sender_id, settle, took)


def _ended(work: ClaimedWork, settings: Settings, database: Database, tasklog: TaskLog) -> Ended:
    per_day = messages_per_day(settings)
    if per_day and database.claims.used_today(int(time.time())) >= per_day:
        if work.took:
            tasklog.error(f"SMTP_MAX_PER_DAY={per_day} messages are sent: what is left waits until there is room again")
        return Ended.FULL
    if not work.flush_completion_log():
        return Ended.UNLOGGED
    return Ended.DONE if work.took else Ended.IDLE
