"""Personal fields over HTTP: mistakes are refused before they reach people, and a preview shows what each will see."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from database import Email
from tests.support.web.api_client import EMAIL, Api, fields_of, is_problem

PAGE = '<!DOCTYPE html><p>Dear {{ name | guest }}, <a href="https://example.com/?t={{ ticket }}">your ticket</a></p>'
VALUES = {"r0@example.com": {"name": "Ada <3", "ticket": "A&B"}, "r1@example.com": {"name": "Bob"}}


@pytest.fixture
def people(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Three recipients; one has a ticket. The known names are `name` and `ticket`. Surveys never run out of time."""
    monkeypatch.setattr("storage.personal_fields.time", SimpleNamespace(monotonic=lambda: 0.0))
    api.installation.add_recipients(3)
    with api.installation.database() as database, database.connection.transaction():
        for address, fields in VALUES.items():
            sql = "UPDATE recipients SET fields = :fields WHERE address = :address"
            database.connection.execute(sql, fields=json.dumps(fields), address=address)
        for name in ("name", "ticket"):
            database.connection.execute("INSERT INTO field_names (name) VALUES (:name)", name=name)
    return api


def form(people: Api, subject: str, content: str, **more: str) -> tuple[int, str]:
    fields = {"event_id": "1", "email_subject": subject, "email_content": content, "timestamp": "2030-01-02 08:00:00"}
    answer = people.client.post("/send-emails", data={**fields, **more})
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("subject", "content", "field", "error"),
    [
        (
            "Hi {{ nmae }}",
            "x",
            "subject",
            "has an unknown placeholder, {{ nmae }}, on line 1, column 4; known names: name, ticket",
        ),
        (
            "Hi",
            "\nDear {{ nmae | you }}",
            "content",
            "has an unknown placeholder, {{ nmae }}, on line 2, column 6; known names: name, ticket",
        ),
        (
            "Hi {{ name",
            "x",
            "subject",
            "has an error on line 1, column 4: the braces of {{ name are not closed on this line",
        ),
        (
            "Hi",
            "x\ny {{ Name }}",
            "content",
            "has an error on line 2, column 3: {{ Name }} is not a placeholder; write {{ name }}",
        ),
        (
            "Hi",
            "<html><script>{{ name }}",
            "content",
            "has an error on line 1, column 15: a placeholder cannot be inside <script>",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(people: Api, subject: str, content: str, field: str, error: str) -> None:
    status, text = form(people, subject, content, email_personal="yes")
    assert status == 400
    assert text.startswith(f"Error: email_{field} {error}")
    answer = people("PUT", "/emails/1", {**EMAIL, "subject": subject, "content": content, "personal": True})
    assert fields_of(answer) == [field]
    assert error in answer.text.encode().decode("unicode_escape")
    assert people("GET", "/emails/1").status_code == 404
    assert form(people, subject, content) == (200, "Successful")


def test_before_anyone_has_a_field_the_error_says_so(api: Api) -> None:
    status, text = form(api, "Hi {{ name }}", "x", email_personal="yes")
    assert (status, text) == (
        400,
        "Error: email_subject has {{ name }} on line 1, column 4, but no recipient has personal fields",
    )


def test_of_many_names_the_error_lists_the_closest(people: Api) -> None:
    with people.installation.database() as database, database.connection.transaction():
        for number in range(40):
            database.connection.execute("INSERT INTO field_names (name) VALUES (:name)", name=f"column_{number}")
    _, text = form(people, "Hi {{ nane }}", "x", email_personal="yes")
    assert text.endswith("known names: name and 41 more")


def test_a_preview_shows_what_each_recipient_will_see(people: Api) -> None:
    people("PUT", "/emails/1", {**EMAIL, "subject": "For {{ name | you }}", "content": PAGE, "personal": True})
    ada, bob = (people.get(f"/emails/1/preview?recipient=r{number}@example.com") for number in range(2))
    assert ada == {
        "event_id": 1,
        "recipient": "r0@example.com",
        "subject": "For Ada <3",
        "text": "Dear Ada <3, your ticket <https://example.com/?t=A%26B>\r\n",
        "html": '<!DOCTYPE html><p>Dear Ada &lt;3, <a href="https://example.com/?t=A%26B">your ticket</a></p>\r\n',
        "missing": [],
        "problem": None,
    }
    assert (bob["subject"], bob["missing"], bob["problem"]) == ("For Bob", ["ticket"], "no value for {{ ticket }}")
    sample = people.get("/emails/1/preview")
    assert (sample["recipient"], sample["problem"]) == (None, None)
    assert sample["text"] == "Dear guest, your ticket <https://example.com/?t=%7B%7B%20ticket%20%7D%7D>\r\n"


def test_a_preview_without_personal_fields_shows_the_braces(people: Api) -> None:
    people("PUT", "/emails/1", {**EMAIL, "content": "Dear {{ name }}"})
    shown = people.get("/emails/1/preview?recipient=r0@example.com")
    assert (shown["text"], shown["html"], shown["problem"]) == ("Dear {{ name }}\r\n", None, None)


def test_a_preview_for_no_one_is_not_found(people: Api) -> None:
    people("PUT", "/emails/1", EMAIL)
    assert is_problem(people("GET", "/emails/1/preview?recipient=x@example.com"), 404)
    assert is_problem(people("GET", "/emails/2/preview"), 404)
    assert fields_of(people("GET", "/emails/1/preview?recipient=")) == ["recipient"]
    assert fields_of(people("GET", "/emails/1/preview?to=x@example.com")) == ["to"]


def test_an_email_says_how_many_recipients_lack_a_value(people: Api) -> None:
    people("PUT", "/emails/1", {**EMAIL, "content": PAGE, "personal": True})
    assert people.get("/emails/1")["recipients_without_value"] == {"count": 2, "at_least": False}
    assert "2 recipients will not get this email" in people.client.get("/emails/1").text
    people("PUT", "/emails/2", {**EMAIL, "content": PAGE})
    assert people.get("/emails/2")["recipients_without_value"] is None


def test_deliveries_without_a_value_fail_and_show_the_reason(people: Api) -> None:
    with people.installation.database() as database:
        now = datetime.now(UTC).replace(microsecond=0)
        database.emails.save(Email(1, "Hi", PAGE, now, personal=True), now)
    people.sweep()
    shown = people.get("/emails/1")
    assert (shown["deliveries"]["sent"], shown["deliveries"]["failed"]) == (1, 2)
    (failure,) = shown["failures"]
    assert "no value for {{ ticket }}" in json.dumps(failure)
    assert shown["recipients_without_value"] is None
    page = people.client.get("/emails/1").text
    assert "no value for {{ ticket }}" in page
    assert re.search(r"\br1@example.com\b", people.client.get("/emails/1?status=failed").text)
