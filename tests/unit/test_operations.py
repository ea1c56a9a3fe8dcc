"""operations.py: each operation schedules the wake-up that its change needs, after the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

import operations
from database import Database, Email, EmailWriter, EventIdUsed, NoSuchEmail, NotHeld, NotInDoubt
from operations import Released
from storage.sqlite.driver import driver
from tests.support.in_process import sweep_once
from tests.support.installation import Installation

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(hours=1)


def email(event_id: int, due_at: datetime = LATER, content: str = "Content\n") -> Email:
    return Email(event_id, "Subject", content, due_at)


class RecordedWakeUps:
    """Records the times of the wake-ups, and which emails another connection saw at that moment."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.times: list[datetime] = []
        self.visible: list[tuple[int, str, datetime]] = []

    def at(self, *seconds: int) -> None:
        self.times += [datetime.fromtimestamp(second, UTC) for second in seconds]
        with self._installation.database() as database:
            self.visible = [(each.event_id, each.status, each.due_at) for each in database.emails.page(None, 10)]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path)
    installation.add_recipients(1)
    return installation


@pytest.fixture
def database(installation: Installation) -> Iterator[Database]:
    with installation.database() as database:
        yield database


@pytest.fixture
def recorded(installation: Installation) -> RecordedWakeUps:
    return RecordedWakeUps(installation)


@pytest.fixture
def wake_ups(recorded: RecordedWakeUps) -> WakeUps:
    return cast("WakeUps", recorded)


def hold(installation: Installation) -> None:
    with closing(driver.connect(installation.folder / "email.db")) as connection, connection:
        connection.execute("UPDATE emails SET status = 'held', held_because = 'late'")


def test_a_saved_email_is_committed_before_its_wake_up(
    installation: Installation, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    writer = EmailWriter(installation.settings)
    operations.save_email(writer, wake_ups, email(1), NOW)
    assert recorded.times == [LATER] and recorded.visible == [(1, "scheduled", LATER)]
    with pytest.raises(EventIdUsed):
        operations.save_email(writer, wake_ups, email(1), NOW)
    writer.close()
    assert recorded.times == [LATER]


def test_of_many_emails_the_new_ones_get_one_wake_up_for_each_time(
    database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    database.emails.save(email(1, NOW), NOW)
    emails = [email(1, NOW), email(2), email(3), email(2, content="other"), email(4, LATER + timedelta(minutes=1))]
    results = operations.save_emails(database, wake_ups, emails, NOW)
    assert [str(result) for result in results] == ["identical", "saved", "saved", "different", "saved"]
    assert recorded.times == [LATER, LATER + timedelta(minutes=1)]


def test_a_replaced_email_gets_a_wake_up_at_its_new_time(
    database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    assert operations.replace_email(database, wake_ups, email(1), NOW) == "created"
    assert operations.replace_email(database, wake_ups, email(1, LATER + timedelta(hours=1)), NOW) == "replaced"
    assert recorded.times == [LATER, LATER + timedelta(hours=1)]
    assert recorded.visible == [(1, "scheduled", LATER + timedelta(hours=1))]


@pytest.mark.parametrize(("due_at", "status", "wake_up"), [(LATER, "scheduled", LATER), (NOW, "sending", NOW)])
def test_a_released_email_gets_a_wake_up_at_its_time_or_now(
    installation: Installation,
    database: Database,
    wake_ups: WakeUps,
    recorded: RecordedWakeUps,
    due_at: datetime,
    status: str,
    wake_up: datetime,
) -> None:
    database.emails.save(email(1, due_at), NOW)
    hold(installation)
    assert operations.release_email(database, wake_ups, 1, NOW) == Released(status, due_at)
    assert recorded.times == [wake_up] and recorded.visible == [(1, status, due_at)]
    with pytest.raises(NotHeld):
        operations.release_email(database, wake_ups, 1, NOW)
    assert recorded.times == [wake_up]


def test_a_rescheduled_email_gets_a_wake_up_at_its_new_time(
    database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    database.emails.save(email(1, LATER + timedelta(days=1)), NOW)
    operations.reschedule_email(database, wake_ups, 1, LATER, NOW)
    assert recorded.times == [LATER] and recorded.visible == [(1, "scheduled", LATER)]


def test_a_retry_wakes_a_sweep_at_once(
    installation: Installation, database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    installation.save_email(1)
    assert sweep_once(installation) == []
    assert operations.retry_deliveries(database, wake_ups, 1, NOW) == 0
    assert recorded.times == [NOW]


def test_a_decision_counts_the_deliveries_in_doubt_and_needs_no_wake_up(
    installation: Installation, database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    installation.save_email(1)
    assert sweep_once(installation) == []
    database.connection.execute("UPDATE deliveries SET status = 'unknown'")
    database.connection.execute("UPDATE progress SET sent = 0, unknown = 1")
    assert operations.decide_deliveries(database, wake_ups, 1, "failed", NOW, [1, 99]) == 1
    assert operations.decide_deliveries(database, wake_ups, 1, "failed", NOW) == 0
    assert operations.get_summary(database, 1).failed == 1
    with pytest.raises(NotInDoubt):
        operations.decide_delivery(database, wake_ups, 1, 1, "sent", NOW)
    with pytest.raises(NoSuchEmail):
        operations.decide_deliveries(database, wake_ups, 2, "sent", NOW)
    assert recorded.times == []


def test_what_is_cancelled_or_unknown_needs_no_wake_up(
    database: Database, wake_ups: WakeUps, recorded: RecordedWakeUps
) -> None:
    database.emails.save(email(1), NOW)
    assert operations.cancel_email(database, wake_ups, 1, NOW).sent == 0
    with pytest.raises(NoSuchEmail):
        operations.retry_deliveries(database, wake_ups, 2, NOW)
    with pytest.raises(NoSuchEmail):
        operations.get_summary(database, 2)
    assert recorded.times == []


def test_without_redis_there_is_nothing_to_wake(database: Database) -> None:
    operations.replace_email(database, None, email(1), NOW)
    operations.reschedule_email(database, None, 1, NOW, NOW)
    assert operations.get_summary(database, 1).due_at == NOW
