"""One sender's turn: enter, send what is due, leave."""

from __future__ import annotations

import gc
import time

from database import Database, Delivery, Settlement
from delivery.outcome import SessionError
from settings import Settings
from sweep.ended import Ended
from sweep.outgoing import make_sender
from sweep.settle import Policy, settle_abandoned
from sweep.stop import Stop
from sweep.tasklog import TaskLog
from sweep.work import ClaimedWork, patiently


def send_due(settings: Settings, database: Database, tasklog: TaskLog, stop: Stop) -> Ended:
    """Send until nothing more is due, if there is a place for one more sender."""
    policy = Policy(settings.retry_for, settings.in_doubt)

    def settle(delivery: Delivery) -> Settlement:
        settlement = settle_abandoned(delivery, int(time.time()), policy)
        if settlement.status == "unknown":
            tasklog.error(f"unknown: {settlement.reply}", delivery.event_id, delivery.address)
        return settlement

    sender_id = patiently(database.senders.enter, settings.senders, int(time.time()), settle)
    if sender_id is None:
        return Ended.BUSY
    gc.freeze()  # what is imported by now is never garbage: a fifth of the collector's work is looking at it
    work = ClaimedWork(database, sender_id, settings, tasklog, stop)
    try:
        make_sender(settings).deliver(work)
        return _ended(work, settings, database)
    except SessionError as error:
        tasklog.error(error.reason)
        return Ended.REFUSED
    finally:
        work.close()
        patiently(database.senders.leave, sender_id, settle)


def _ended(work: ClaimedWork, settings: Settings, database: Database) -> Ended:
    per_day = settings.smtp_max_per_day
    if not work.log_finished() or (per_day and database.deliveries.used_today(int(time.time())) >= per_day):
        return Ended.REFUSED
    return Ended.DONE if work.took else Ended.IDLE
