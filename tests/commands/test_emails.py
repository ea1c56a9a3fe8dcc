"""`flask emails`: lists, one email, and decisions, on each engine."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from database import Address, Audience, Database
from settings import Settings, load_settings
from tests.support.deliveries import EMAIL, NOON, NOW, ending, enter, failed, send_all, start
from tests.support.recipients_command import Command, commands_of


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings({"EMAIL_URL": "smtp://127.0.0.1", **where}, tmp_path)


@pytest.fixture
def emails(settings: Settings, database: Database) -> Command:
    return commands_of(settings, "emails")


def hold(database: Database, event_id: int) -> None:
    sql = "UPDATE emails SET status = 'held', held_because = 'because' WHERE event_id = :event_id"
    assert database.connection.execute(sql, event_id=event_id) == 1


def send(database: Database, recipients: int = 3, fails: int = 0) -> None:
    """Send email 7 at NOON. Its first `fails` deliveries fail."""
    start(database, recipients)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, fails) if fails else []
    database.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claims])
    database.deliveries.record(sender_id, [], [failed(claim) for claim in claims], [])
    send_all(database, sender_id)


def test_the_list_has_the_latest_time_first_and_columns(emails: Command, database: Database) -> None:
    send(database, fails=1)
    database.emails.save(EMAIL._replace(event_id=-5, due_at=NOON + timedelta(hours=1), subject="a\tb\x1b[2J"), NOON)
    assert emails("list").stdout.splitlines() == [
        "-5\tscheduled\t2026-11-25 13:00:00+08:00\t-\ta b\\x1b[2J",
        "7\tsent\t2026-11-25 12:00:00+08:00\t2 of 3 sent, 1 failed\tHello",
    ]


def test_a_status_and_a_limit_choose(emails: Command, database: Database) -> None:
    for number in range(450):
        database.emails.save(EMAIL._replace(event_id=number, due_at=NOON + timedelta(seconds=number)), NOON)
    hold(database, 3)
    assert [line.split("\t")[0] for line in emails("list", "--status", "held").stdout.splitlines()] == ["3"]
    assert len(emails("list").stdout.splitlines()) == 50
    everything = emails("list", "--limit", "0").stdout.splitlines()
    assert [int(line.split("\t")[0]) for line in everything] == list(range(449, -1, -1))
    assert emails("list", "--status", "late").exit_code == 2


def test_emails_are_found_by_words_of_the_subject(emails: Command, database: Database) -> None:
    for number, subject in enumerate(("Gala in Wien", "Other", "GALA"), start=1):
        database.emails.save(EMAIL._replace(event_id=number, subject=subject), NOON)
    assert [line.split("\t")[0] for line in emails("list", "--search", "gala").stdout.splitlines()] == ["3", "1"]
    assert emails("list", "--search", "gala", "--status", "held").stdout == ""
    assert emails("list", "--search", "").stderr == "Error: --search: the text is empty\n"


def test_the_list_as_json_lines(emails: Command, database: Database) -> None:
    send(database, fails=1)
    (line,) = emails("list", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["event_id"], found["status"], found["due_at"]) == (7, "sent", "2026-11-25T04:00:00+00:00")
    assert (found["deliveries"], found["sent"], found["failed"], found["last_lateness"]) == (3, 2, 1, 0)


def test_one_email_is_shown_with_its_counts_lateness_and_reasons(emails: Command, database: Database) -> None:
    send(database, recipients=3, fails=2)
    lines = emails("show", "7").stdout.splitlines()
    assert lines[0] == "email 7: sent"
    assert "delay: 0 s (first delivery) to 0 s (last)" in lines
    assert "deliveries: 1 of 3 sent, 2 failed" in lines
    assert lines[-2:] == ["  2 failed: 550, for example p0@example.com", "      550 no"]
    told = json.loads(emails("show", "7", "--json").stdout)
    assert told["reasons"][0]["count"] == 2
    assert told["pruned"] is False


@pytest.mark.parametrize(
    ("audience", "shown", "recipients"),
    [
        (Audience(), "for: everyone", 6),
        (Audience((), ("staff",)), "for: everyone (except staff)", 4),
        (Audience(("Staff", "GALA")), "for: gala, staff", 2),
        (Audience(("gala",), ("staff",)), "for: gala (except staff)", 0),
        (Audience(to=(Address("a@b.c", "a@b.c"),)), "for: a@b.c", 1),
        (Audience(to=tuple(Address(f"{n}@b.c", f"{n}@b.c") for n in range(7))), "for: 0@b.c, 1@b.c, 2@b.c, 3@b.c,", 7),
    ],
)
def test_it_is_said_who_an_email_is_for(
    emails: Command, database: Database, audience: Audience, shown: str, recipients: int
) -> None:
    everyone = [Address(f"r{number}@example.com", f"r{number}@example.com") for number in range(6)]
    database.recipients.add(everyone, NOON)
    for name, members in (("gala", everyone[:1]), ("staff", everyone[:2])):
        database.lists.add(name, NOON)
        database.lists.add_members(name, members, NOON, "command")
    database.emails.save(EMAIL._replace(audience=audience, from_name="Gala", recipients_max=1500), NOON)
    lines = emails("show", "7").stdout.splitlines()
    assert any(line.startswith(shown) for line in lines) and f"recipients now: {recipients}" in lines
    assert "sender's name: Gala" in lines and "maximum recipients: 1,500 (held if there are more)" in lines
    document = json.loads(emails("show", "7", "--json").stdout)
    assert document["recipients"] == {"active": recipients, "unsubscribed": 0, "rejected": 0}
    assert (document["from_name"], document["sent"]) == ("Gala", 0)
    assert len(document["to"]) == len(audience.to) and document["audience"] in ("everyone", "lists", "to")
    (line,) = emails("list", "--json").stdout.splitlines()
    assert json.loads(line)["audience"] == document["audience"]


def test_what_was_pruned_is_said(emails: Command, database: Database) -> None:
    send(database)
    database.progress.flush_completion_log(lambda event_ids: None)
    database.prune(NOON)
    shown = emails("show", "7").stdout.splitlines()
    assert shown[-3:] == ["deliveries: 3 of 3 sent", "for: everyone", "content and deliveries: pruned"]
    assert json.loads(emails("show", "7", "--json").stdout)["pruned"] is True


@pytest.mark.parametrize("words", [["show"], ["cancel"], ["retry"], ["release"]])
def test_an_event_id_that_nobody_has_is_one_line(emails: Command, words: list[str]) -> None:
    result = emails(*words, "99")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: email 99 not found\n"
    assert emails(*words, "9" * 20).exit_code == 2


def test_cancelling_says_how_many_had_gone_and_twice_is_fine(emails: Command, database: Database) -> None:
    start(database, recipients=5)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, 2)
    database.deliveries.record(sender_id, [], [], [ending(claims[0], sender_id)])
    for _ in range(2):
        result = emails("cancel", "7")
        assert result.exit_code == 0
        assert result.stdout.startswith("Cancelled. 0 messages had already been sent, and 1 may still arrive.")
    told = json.loads(emails("cancel", "7", "--json").stdout)
    assert (told["event_id"], told["sent"], told["in_flight"]) == (7, 0, 1)


def test_what_was_sent_cannot_be_cancelled(emails: Command, database: Database) -> None:
    send(database)
    result = emails("cancel", "7")
    assert (result.exit_code, result.stderr) == (1, "Error: email 7 cannot be cancelled: its status is sent\n")


def test_a_retry_says_why_the_rest_cannot_be_retried(emails: Command, database: Database) -> None:
    send(database, recipients=4, fails=4)
    database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id <= 2")
    database.recipients.unsubscribe(3, NOON)
    blocked = "3 cannot{}: 2 recipients are rejected and 1 recipient has unsubscribed"
    shown = emails("show", "7").stdout.splitlines()
    assert f"1 can be retried (flask emails retry), {blocked.format('')}" in shown
    assert emails("retry", "7", "--only", "failed").stdout.splitlines() == [
        "Retrying 1 delivery on the next sweep.",
        blocked.format(" be retried") + ".",
    ]
    again = json.loads(emails("retry", "7", "--json").stdout)
    assert again == {"event_id": 7, "retried": 0, "not_retried": {"rejected": 2, "unsubscribed": 1}}


def test_before_all_deliveries_are_made_the_list_counts_those_that_are_expected(
    emails: Command, database: Database
) -> None:
    start(database, 300)
    database.claims.claim(enter(database), 0, NOW, 20)
    (line,) = emails("list").stdout.splitlines()
    assert line.split("\t")[3] == "0 of 300 sent"
    assert "deliveries: 0 of 300 sent" in emails("show", "7").stdout


def test_failed_deliveries_are_put_in_line_again(emails: Command, database: Database) -> None:
    send(database, recipients=3, fails=2)
    assert emails("retry", "7", "--only", "unknown").stdout.startswith("There are no deliveries to retry.")
    assert json.loads(emails("retry", "7", "--json").stdout) == {"event_id": 7, "retried": 2}
    summary = database.emails.summary(7)
    assert summary is not None
    assert (summary.status, summary.failed) == ("sending", 0)


def test_a_held_email_is_released_to_what_it_would_be(emails: Command, database: Database) -> None:
    start(database)
    future = EMAIL._replace(event_id=-8, due_at=datetime.fromtimestamp(int(time.time()) + 3600, UTC))
    database.emails.save(future, NOON)
    for event_id in (7, -8):
        hold(database, event_id)
    assert emails("release", "7").stdout == "Released. Status: sending.\n"
    assert json.loads(emails("release", "-8", "--json").stdout) == {"event_id": -8, "status": "scheduled"}
    again = emails("release", "7")
    assert (again.exit_code, again.stderr) == (1, "Error: email 7 cannot be released: its status is sending\n")


def test_held_emails_are_what_check_tells_of(settings: Settings, emails: Command, database: Database) -> None:
    start(database)
    hold(database, 7)
    assert "1 email is on hold" in commands_of(settings, "check")().stdout


def test_what_changes_the_recipients_answers_as_json_too(settings: Settings, database: Database) -> None:
    recipients = commands_of(settings)
    added = json.loads(recipients("add", "a@example.com", "b@example.com", "--json").stdout)
    assert added == {"added": 2, "known": 0, "inactive": {}}
    told = json.loads(
        recipients("import", "-", "--json", stdin=b"b@example.com\nc@example.com\nC@example.com\n").stdout
    )
    assert told == {"stored": True, "added": 1, "known": 1, "repeated": 1, "lines": 3, "left_out": 0}
    dry = json.loads(recipients("import", "-", "--dry-run", "--json", stdin=b"d@example.com\n").stdout)
    assert dry == {"stored": False, "lines": 1, "left_out": 0}
    removed = recipients("remove", "a@example.com", "x@example.com", "--json")
    assert (removed.exit_code, json.loads(removed.stdout)) == (1, {"removed": 1, "unknown": ["x@example.com"]})
