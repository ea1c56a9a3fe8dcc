"""`flask prune` and KEEP_FOR: old emails are pruned in steps, and their event_ids stay in use."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from database import Database, Email, EventIdUsed, NotReplaceable, open_database
from settings import Settings, load_settings
from storage import pruning
from storage.idle import OLDEST_PRUNABLE
from tests.support import new_database
from tests.support.deliveries import EMAIL, NOON, NOW, addresses, ending, enter, failed, key, send_all, start
from tests.support.faults.killer import wait_until
from tests.support.installation import Installation, subjects
from tests.support.recipients_command import commands_of
from tests.support.warm_python import start as start_python

LATER = NOON + timedelta(seconds=1)
COUNT = "SELECT COUNT(*) FROM {table} WHERE event_id = :event_id"


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


@pytest.fixture
def second(settings: Settings, database: Database) -> Iterator[Database]:
    with open_database(settings, wait=5) as opened:
        yield opened


@dataclass
class Steps:
    """Stops pruning after `number` transactions, and calls `then`."""

    number: int
    then: Callable[[], object] = lambda: None
    asked: int = field(default=0)

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked == self.number + 1:
            self.then()
        return self.asked <= self.number


def sent_email(database: Database, recipients: int = 3, event_id: int = 7, fails: int = 0) -> None:
    """Save an email that was sent at NOON. Its first `fails` deliveries failed."""
    start(database, recipients, EMAIL._replace(event_id=event_id))
    sender_id = enter(database)
    if fails:
        claims = database.claims.claim(sender_id, 0, NOW, fails)
        database.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claims])
        database.deliveries.record(sender_id, [], [failed(claim) for claim in claims], [])
    send_all(database, sender_id)
    assert database.progress.flush_completion_log(lambda event_ids: None) == 1


def left(database: Database, event_id: int = 7) -> tuple[int, int]:
    """Return how many deliveries and attempts of an email exist."""
    ((deliveries,),) = database.connection.fetch_all(COUNT.format(table="deliveries"), event_id=event_id)
    ((attempts,),) = database.connection.fetch_all(COUNT.format(table="attempts"), event_id=event_id)
    return deliveries, attempts


def saved(database: Database, event_id: int = 7) -> Email:
    email = database.emails.get(event_id)
    assert email is not None
    return email


def test_an_old_email_loses_content_deliveries_and_attempts_and_keeps_its_counts(database: Database) -> None:
    sent_email(database, recipients=3, fails=1)
    assert left(database) == (3, 1)
    assert database.prune(LATER) == (1, 3)
    assert left(database) == (0, 0)
    email, summary = saved(database), database.emails.summary(7)
    assert (email.content, email.subject, email.status, email.due_at) == ("", "Hello", "sent", NOON)
    assert summary is not None
    assert (summary.deliveries, summary.sent, summary.failed, summary.first_sent_at) == (3, 2, 1, NOON)
    assert not database.any_prunable(LATER)
    assert database.prune(LATER) == (0, 0)


def test_its_event_id_stays_known_and_whether_it_is_the_same_email(database: Database) -> None:
    sent_email(database)
    database.prune(LATER)
    for email, identical in ((EMAIL, True), (EMAIL._replace(content=""), False), (EMAIL._replace(subject="x"), False)):
        with pytest.raises(EventIdUsed) as used:
            database.emails.save(email, NOON)
        assert used.value.identical == identical
    assert database.emails.save_many([EMAIL, EMAIL._replace(content="")], NOON) == ["identical", "different"]
    assert database.emails.replace(EMAIL, NOON) == "unchanged"
    with pytest.raises(NotReplaceable):
        database.emails.replace(EMAIL._replace(content="other"), NOON)


def test_only_what_is_finished_and_old_and_logged_is_pruned(database: Database) -> None:
    start(database)  # 7 is being sent
    for number, due_at in ((1, NOON + timedelta(days=1)), (2, NOON)):
        database.emails.save(EMAIL._replace(event_id=number, due_at=due_at), NOON)
    database.connection.execute("UPDATE emails SET status = 'held' WHERE event_id = 2")
    assert not database.any_prunable(LATER)
    assert database.prune(LATER) == (0, 0)
    send_all(database, enter(database))
    assert not database.any_prunable(LATER), "its line in the log is owed"
    database.progress.flush_completion_log(lambda event_ids: None)
    assert not database.any_prunable(NOON - timedelta(seconds=1)), "it was finished later than that"
    assert database.any_prunable(NOON)
    assert database.prune(LATER) == (1, 3)
    assert [saved(database, number).content for number in (1, 2)] == [EMAIL.content] * 2


def test_a_cancelled_email_is_pruned_whether_it_was_begun_or_not(database: Database) -> None:
    start(database)
    database.emails.save(EMAIL._replace(event_id=8), NOON)
    for number in (7, 8):
        database.emails.cancel(number, NOON)
    assert database.prune(LATER).emails == 2
    assert [saved(database, number).content for number in (7, 8)] == ["", ""]
    assert left(database) == (0, 0)


def test_pruning_that_stopped_between_any_two_transactions_is_continued(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH_SIZE", 2)
    sent_email(database, recipients=7, fails=3)
    rest = [left(database)[0]]
    while rest[-1] or not saved(database).content_digest:
        database.prune(LATER, Steps(2))
        rest.append(left(database)[0])
        assert saved(database).content == (EMAIL.content if saved(database).content_digest is None else "")
    assert rest[:5] == [7, 5, 3, 1, 0]
    assert database.prune(LATER) == (0, 0)


def test_an_email_that_is_retried_meanwhile_keeps_what_it_needs(
    database: Database, second: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH_SIZE", 2)
    sent_email(database, recipients=6, fails=6)
    retried: list[int] = []
    steps = Steps(2, then=lambda: retried.append(second.deliveries.retry(7, NOON)))
    assert database.prune(LATER, steps) == (0, 2)
    assert retried == [4]
    assert database.prune(LATER) == (0, 0)
    send_all(database, enter(database))
    summary = database.emails.summary(7)
    assert summary is not None
    assert (summary.status, summary.sent, summary.failed) == ("sent", 4, 2)
    assert saved(database).content == EMAIL.content


def test_two_prunings_at_once_forget_everything_once(
    database: Database, second: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH_SIZE", 3)
    for event_id in range(1, 6):
        sent_email(database, recipients=20, event_id=event_id)
    results = []
    other = threading.Thread(target=lambda: results.append(second.prune(LATER)))
    other.start()
    results.append(database.prune(LATER))
    other.join()
    assert sum(result.emails for result in results) == 5
    assert sum(result.deliveries for result in results) == 100
    assert [left(database, event_id) for event_id in range(1, 6)] == [(0, 0)] * 5


def test_others_claim_and_record_while_it_runs(database: Database, second: Database) -> None:
    """A delivery is claimed and settled between any two transactions."""
    sent_email(database, recipients=1200)
    second.emails.save(EMAIL._replace(event_id=8), NOON)
    second.progress.start_due_emails(NOW)
    sender_id = enter(second)
    taken: list[tuple[int, int]] = []

    def go_on() -> bool:
        claims = second.claims.claim(sender_id, 0, NOW, 1)
        second.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claims])
        taken.extend(map(key, claims))
        return True

    assert database.prune(LATER, go_on) == (1, 1200)
    assert len(taken) >= 3
    assert {event_id for event_id, _ in taken} == {8}


def test_what_is_to_be_pruned_is_found_by_its_index(database: Database) -> None:
    explain = "EXPLAIN" if database.connection.server_version().startswith("PostgreSQL") else "EXPLAIN QUERY PLAN"
    plan = str(database.connection.fetch_all(f"{explain} {OLDEST_PRUNABLE}", before=NOW))
    assert "emails_prunable" in plan
    assert "Sort" not in plan and "TEMP B-TREE" not in plan
    statement = pruning.SELECT_END_OF_BATCH
    plan = str(database.connection.fetch_all(f"{explain} {statement}", event_id=7, after=0, limit=5))
    assert "Seq Scan" not in plan and "SCAN deliveries" not in plan


# The command


def runner(settings: Settings) -> Callable[..., object]:
    new_database.create(settings, NOON)
    return commands_of(settings, "prune")


def test_the_command_says_what_was_pruned(settings: Settings, database: Database) -> None:
    sent_email(database, recipients=2)
    prune = commands_of(settings, "prune")
    assert prune("--older-than", "36500d").stdout == "Pruned 0 emails and 0 deliveries.\n"
    long_ago = int(time.time()) - 86400
    database.connection.execute("UPDATE emails SET finished_at = :long_ago", long_ago=long_ago)
    result = prune("--older-than", "1h", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"emails": 1, "deliveries": 2})


def test_the_command_takes_its_age_from_the_settings_or_refuses(where: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings(where, tmp_path)
    new_database.create(settings, NOON)
    refused = commands_of(settings, "prune")()
    assert refused.exit_code == 2
    assert "KEEP_FOR is not set. Give an age" in refused.stderr
    assert commands_of(load_settings(where | {"KEEP_FOR": "90d"}, tmp_path), "prune")().exit_code == 0
    bad = commands_of(settings, "prune")("--older-than", "90")
    assert bad.exit_code == 2
    assert "such as 45s, 30m, 24h or 90d" in bad.stderr


# By a sweep


def finished_long_ago(installation: Installation) -> None:
    with installation.database() as database:
        sql = "UPDATE emails SET finished_at = :long_ago WHERE status = 'sent'"
        database.connection.execute(sql, long_ago=int(time.time()) - 91 * 86400)


def contents(installation: Installation) -> list[str]:
    with installation.database() as database:
        return [content for (content,) in database.connection.fetch_all("SELECT content FROM emails ORDER BY event_id")]


@pytest.mark.parametrize(("keep_for", "content"), [("90d", ""), ("0", "Content\n"), ("92d", "Content\n")])
def test_a_sweep_prunes_if_a_setting_says_so(
    tmp_path: Path, where: dict[str, str], keep_for: str, content: str
) -> None:
    installation = Installation(tmp_path, KEEP_FOR=keep_for, **where)
    installation.add_recipients(2)
    installation.save_email(1, subject="1")
    assert installation.task().returncode == 0
    finished_long_ago(installation)
    installation.save_email(2, subject="2")
    assert installation.task().returncode == 0
    assert contents(installation) == [content, "Content\n"]
    assert installation.delivered() == subjects([1, 2], 2)
    assert installation.log() == ["1", "2"]


PRUNE_SECONDS = 60  # seconds
WATCH = f"""
import sys, task
from sender import sweeper
sweeper.PRUNE_SECONDS = {PRUNE_SECONDS}
sys.exit(task.main(['--watch']))
"""


def test_mail_does_not_wait_for_pruning(tmp_path: Path) -> None:
    """A watcher that has much to prune still sends new emails on time."""
    installation = Installation(tmp_path, KEEP_FOR="90d")
    with installation.database() as database:
        database.recipients.add(addresses(1), datetime.now(UTC))
        fill(database, emails=300, deliveries=1000)
    watcher = start_python((sys.executable, "-c", WATCH), installation.environment)
    try:
        wait_until(lambda: sum(map(bool, contents(installation))) < 300)
        due_at = installation.save_email(1000, due_in=1, subject="1000")
        wait_until(lambda: installation.log() != [])
        assert time.time() < due_at + PRUNE_SECONDS / 2
    finally:
        watcher.terminate()
        watcher.communicate(timeout=20)
    assert watcher.returncode == 0
    assert sum(map(bool, contents(installation))) > 1, "it was still pruning"


FILL_EMAILS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :emails)
INSERT INTO emails (event_id, due_at, created_at, finished_at, status, logged, token, subject, content)
SELECT i, 0, 0, i, 'sent', 1, 't', 's', 'c' FROM n
"""
FILL_DELIVERIES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :deliveries)
INSERT INTO deliveries (event_id, recipient_id, status, queued_at, next_attempt_at, finished_at, address, reply)
SELECT e.event_id, n.i, 'sent', 0, 0, 1, 'someone@example.com', '250 ok' FROM emails e, n
"""


def fill(database: Database, emails: int, deliveries: int) -> None:
    """Save emails that were sent long ago, with `deliveries` deliveries each."""
    with database.connection.transaction():
        database.connection.execute(FILL_EMAILS, emails=emails)
        database.connection.execute(FILL_DELIVERIES, deliveries=deliveries)


def test_an_import_is_not_undone_for_those_who_got_an_email_that_is_forgotten(database: Database) -> None:
    import_id = database.imports.create("people.csv", [], NOON)
    database.connection.execute("UPDATE imports SET status = 'importing'")
    assert database.imports.finish(import_id, addresses(2), NOON)
    sent_email(database, 3)
    assert database.prune(LATER) == (1, 3)
    assert database.imports.begin(import_id, "undo", NOON)
    while database.imports.undo_some(import_id, NOON):
        pass
    found = database.imports.get(import_id)
    assert found and (found.status, found.removed, found.kept) == ("undone", 0, 2)
