"""/api/emails/…/deliveries: lists, reasons, and retries."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from intake.recipients_csv.format import unescape
from tests.support.servers.smtp_server import Action, Close, ScriptedServer
from tests.support.web.api_client import Api, fields_of, is_problem

REFUSED = "550 5.7.1 =cmd|' /C calc'!A0"
REASON = "550 5.7.1"


def answer_to(line: bytes, nth: int) -> Action:
    return REFUSED if b"r1@" in line or b"r3@" in line else None


def doubt(content: bytes, nth: int) -> Action:
    return Close() if b"To: r2@" in content else None


@pytest.fixture
def sent(tmp_path: Path, where: dict[str, str]) -> Iterator[Api]:
    """Send email 1 to r0 to r4@example.com: 1 and 3 are refused, and 2 is in doubt."""
    with ScriptedServer(on={"RCPT": answer_to, "CONTENT": doubt}) as server:
        made = Api(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}", IN_DOUBT="hold", **where)
        made.installation.add_recipients(5)
        made.installation.save_email(1)
        made.sweep()
        yield made
        made.close()


def addresses(page: Any) -> list[str]:
    return [delivery["address"] for delivery in page["deliveries"]]


def test_an_email_tells_how_many_got_it_and_why_the_others_did_not(sent: Api) -> None:
    email = sent.get("/emails/1")
    assert email["status"] == "sent"
    assert email["deliveries"] == {"total": 5, "unfinished": 0, "sent": 2, "failed": 2, "unknown": 1, "cancelled": 0}
    refused, unknown = email["failures"]
    assert (refused["status"], refused["reason"], refused["count"]) == ("failed", REASON, 2)
    assert refused["example_address"] == "r1@example.com" and refused["example_reply"] == REFUSED
    assert (unknown["status"], unknown["count"]) == ("unknown", 1) and email["failures_complete"] is True
    assert 0 <= email["lateness"]["first_seconds"] <= email["lateness"]["last_seconds"] < 60


def test_deliveries_are_listed_in_pages_and_by_status(sent: Api) -> None:
    first = sent.get("/emails/1/deliveries?limit=3")
    assert addresses(first) == ["r0@example.com", "r1@example.com", "r2@example.com"]
    assert addresses(sent.get(first["next"].removeprefix("/api"))) == ["r3@example.com", "r4@example.com"]
    assert addresses(sent.get("/emails/1/deliveries?status=failed")) == ["r1@example.com", "r3@example.com"]
    assert sent.get("/emails/1/deliveries?status=queued") == {"deliveries": [], "next": None}
    assert fields_of(sent("GET", "/emails/1/deliveries?status=x&format=xml&after=a")) == ["status", "after", "format"]
    assert is_problem(sent("GET", "/emails/2/deliveries"), 404)


def test_one_delivery_is_shown_with_the_tries_that_did_not_succeed(sent: Api) -> None:
    refused = sent.get("/emails/1/deliveries/2")
    assert (refused["status"], refused["reply"], refused["next_attempt_at"]) == ("failed", REFUSED, None)
    (attempt,) = refused["unsuccessful_attempts"]
    assert attempt == {"at": refused["finished_at"], "outcome": "failed", "reply": REFUSED}
    assert sent.get("/emails/1/deliveries/1")["unsuccessful_attempts"] == []
    assert fields_of(sent("GET", "/emails/1/deliveries/x")) == ["recipient_id"]
    assert fields_of(sent("GET", "/recipients/9999999999999999999")) == ["recipient_id"]
    for key in ("1/deliveries/6", "1/deliveries/0", f"1/deliveries/{-(2**63)}", f"1/deliveries/{2**63 - 1}"):
        assert is_problem(sent("GET", f"/emails/{key}"), 404)


def test_csv_has_every_delivery_and_runs_nothing_in_a_spreadsheet(sent: Api) -> None:
    for options in ({"headers": {"Accept": "text/csv"}}, {"query_string": {"format": "csv", "limit": 1}}):
        answer = sent("GET", "/emails/1/deliveries", **options)
        assert (
            answer.content_type.startswith("text/csv") and "deliveries-1.csv" in answer.headers["Content-Disposition"]
        )
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert [row[0] for row in rows] == ["recipient_email"] + [f"r{number}@example.com" for number in range(5)]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0")) for row in rows for cell in row)
        assert unescape(rows[2][5]) == REFUSED


def test_the_csv_of_those_who_got_nothing_is_a_list_of_recipients(sent: Api) -> None:
    answer = sent("GET", "/emails/1/deliveries?status=failed&format=csv")
    imported = sent.post("/recipients/import", data=answer.data, content_type="text/csv")
    assert imported == {"added": 0, "known": 2, "repeated": 0, "left_out": 0}


@pytest.mark.parametrize(
    ("body", "again"),
    [
        (None, ["r1", "r2", "r3"]),
        ({}, ["r1", "r2", "r3"]),
        ({"statuses": ["unknown"]}, ["r2"]),
        ({"recipient_ids": [4, "2", 1]}, ["r1", "r3"]),
        ({"recipient_ids": [4, 3], "statuses": ["failed"]}, ["r3"]),
        ({"recipient_ids": [77]}, []),
    ],
)
def test_those_who_got_nothing_are_tried_again(sent: Api, body: object, again: list[str]) -> None:
    answer = sent.post("/emails/1/retry", body)
    assert answer["queued"] == len(again) and answer["email"]["status"] == ("sending" if again else "sent")
    assert addresses(sent.get("/emails/1/deliveries?status=queued")) == [f"{name}@example.com" for name in again]


@pytest.mark.parametrize("body", [None, {"recipient_ids": [2, 3, 4, 5]}])
def test_a_retry_says_what_it_left_alone_and_why(sent: Api, body: object) -> None:
    with sent.installation.database() as database:
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id = 2")
        database.recipients.unsubscribe(3, datetime.now(UTC))
    answer = sent.post("/emails/1/retry", body)
    assert answer["queued"] == 1 and answer["not_queued"] == {"rejected": 1, "unsubscribed": 1}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"statuses": ["sent"], "who": 1}, ["who", "statuses[0]"]),
        ({"statuses": []}, ["statuses"]),
        ({"recipient_ids": []}, ["recipient_ids"]),
        ({"recipient_ids": ["1", "x", None, True, 1.5]}, [f"recipient_ids[{n}]" for n in (1, 2, 3, 4)]),
        ({"recipient_ids": list(range(10_001))}, ["recipient_ids"]),
        ([], ["body"]),
    ],
)
def test_a_retry_that_cannot_be_meant_is_refused(sent: Api, body: object, fields: list[str]) -> None:
    assert fields_of(sent("POST", "/emails/1/retry", body)) == fields
    assert sent.get("/emails/1")["status"] == "sent"


@pytest.mark.parametrize("status", ["sent", "failed"])
def test_a_person_decides_what_became_of_a_delivery_in_doubt(sent: Api, status: str) -> None:
    assert sent.get("/emails/1/deliveries/3")["status"] == "unknown"
    assert fields_of(sent("POST", "/emails/1/deliveries/3/decide", {"status": "queued"})) == ["status"]
    assert sent.post("/emails/1/deliveries/3/decide", {"status": status})["status"] == status
    again = sent("POST", "/emails/1/deliveries/3/decide", {"status": status})
    assert is_problem(again, 409, "not unknown") and again.json["delivery_status"] == status  # type: ignore[index]
    assert is_problem(sent("POST", "/emails/1/deliveries/9/decide", {"status": status}), 404)
    assert sent.get("/emails/1")["deliveries"]["unknown"] == 0


def test_what_one_recipient_was_sent_is_listed(sent: Api) -> None:
    sent.installation.save_email(2, due_in=-100, subject="Earlier")
    sent.sweep()
    first = sent.get("/recipients/r1@example.com/deliveries?limit=1")
    second = sent.get(first["next"].removeprefix("/api"))
    shown = [(row["event_id"], row["status"]) for row in first["deliveries"] + second["deliveries"]]
    assert shown == [(1, "failed"), (2, "failed")]
    assert is_problem(sent("GET", "/recipients/9/deliveries"), 404)
