"""/api/emails: put, save in bulk, list, show, cancel and release."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.web.api_client import EMAIL, Api, fields_of, is_problem


def put(api: Api, event_id: int, **changes: object) -> int:
    return api("PUT", f"/emails/{event_id}", EMAIL | changes).status_code


def numbers(page: Any) -> list[int]:
    return [email["event_id"] for email in page["emails"]]


def in_pages(api: Api, path: str) -> list[list[int]]:
    """Return the event_ids on each page, following the links to the next one."""
    pages = []
    while path:
        answer = api("GET", path.removeprefix("/api"))
        page = answer.json
        assert page is not None
        pages.append(numbers(page))
        path = page["next"] or ""
        assert answer.headers.get("Link", "") == (f'<{path}>; rel="next"' if path else "")
    return pages


def change(api: Api, event_id: int, **values: object) -> None:
    with api.installation.database() as database:
        for column, value in values.items():
            sql = f"UPDATE emails SET {column} = :value WHERE event_id = :event_id"
            assert database.connection.execute(sql, value=value, event_id=event_id) == 1


def test_an_email_is_put_and_shown_as_it_was_put(api: Api) -> None:
    answer = api("PUT", "/emails/-9223372036854775808", EMAIL)
    assert answer.status_code == 201 and answer.json is not None and answer.json["result"] == "created"
    email = api.get("/emails/-9223372036854775808")
    assert email["event_id"] == -(2**63)
    assert (email["subject"], email["content"]) == (EMAIL["subject"], EMAIL["content"])
    assert (email["due_at"], email["due_at_local"]) == ("2030-01-02T00:00:00Z", "2030-01-02T08:00:00+08:00")
    assert (email["status"], email["finished_at"], email["lateness"]) == ("scheduled", None, None)
    assert set(email["deliveries"].values()) == {0} and email["failures"] == []
    assert "content" not in answer.json["email"] and "content" not in api.get("/emails")["emails"][0]


def test_putting_is_idempotent_and_replaces_what_was_not_begun(api: Api) -> None:
    assert [put(api, 1), put(api, 1)] == [201, 200]
    assert api("PUT", "/emails/1", EMAIL).json["result"] == "unchanged"  # type: ignore[index]
    replaced = api("PUT", "/emails/1", EMAIL | {"due_at": "2031-01-01 00:00:00"}).json
    assert replaced is not None and replaced["result"] == "replaced"
    assert replaced["email"]["due_at"] == "2030-12-31T16:00:00Z"


@pytest.mark.parametrize(("status", "answer"), [("held", 200), ("sending", 409), ("sent", 409), ("cancelled", 409)])
def test_only_what_is_scheduled_or_held_is_replaced(api: Api, status: str, answer: int) -> None:
    put(api, 1)
    change(api, 1, status=status)
    replaced = api("PUT", "/emails/1", EMAIL | {"content": "other"})
    assert replaced.status_code == answer
    if answer == 409:
        assert is_problem(replaced, 409, status) and replaced.json["email_status"] == status  # type: ignore[index]
        assert api.get("/emails/1")["content"] == EMAIL["content"]


@pytest.mark.parametrize("form", ["array", "lines"])
def test_many_are_saved_at_once_with_a_result_for_each(api: Api, form: str) -> None:
    put(api, 1)
    rows: list[Any] = [
        EMAIL | {"event_id": 1},
        EMAIL | {"event_id": 1, "content": "other"},
        EMAIL | {"event_id": "9007199254740993"},
        EMAIL | {"event_id": 9007199254740993},
        {"event_id": 5, "subject": "a\nb", "content": "", "due_at": "soon", "more": 1},
        [],
        EMAIL | {"event_id": 6},
    ]
    if form == "array":
        answer = api.post("/emails", rows)
    else:
        body = "\r\n".join(json.dumps(row) for row in rows) + "\n\n"
        answer = api.post("/emails", data=body.encode(), content_type="application/x-ndjson")
    results = [row["result"] for row in answer["results"]]
    assert results == ["identical", "different", "saved", "identical", "invalid", "invalid", "saved"]
    assert [answer[name] for name in ("saved", "identical", "different", "invalid")] == [2, 2, 1, 2]
    assert [error["field"] for error in answer["results"][4]["errors"]] == ["more", "subject", "content", "due_at"]
    assert answer["results"][2]["event_id"] == 9007199254740993
    assert numbers(api.get("/emails")) == [1, 6, 9007199254740993]


def test_a_line_that_is_no_json_is_one_invalid_result(api: Api) -> None:
    body = b'{"event_id": 1}\n{oops\n' + json.dumps(EMAIL | {"event_id": 2}).encode()
    answer = api.post("/emails", data=body, content_type="application/x-ndjson")
    assert [row["result"] for row in answer["results"]] == ["invalid", "invalid", "saved"]
    assert "JSON" in answer["results"][1]["errors"][0]["message"]


def test_a_thousand_are_taken_and_one_more_is_not(api: Api) -> None:
    rows = [EMAIL | {"event_id": number} for number in range(1001)]
    assert fields_of(api("POST", "/emails", rows)) == ["body"]
    lines = "\n".join(map(json.dumps, rows)).encode()
    assert fields_of(api("POST", "/emails", data=lines, content_type="application/x-ndjson")) == ["body"]
    assert api.get("/emails")["emails"] == []
    assert api.post("/emails", rows[:1000])["saved"] == 1000
    assert api.post("/emails", rows[:1000])["identical"] == 1000


def test_none_is_fine_and_a_single_one_has_an_address_of_its_own(api: Api) -> None:
    assert api.post("/emails", [])["results"] == []
    assert is_problem(
        api("POST", "/emails", EMAIL | {"event_id": 1}), 400, "PUT a single email to /api/emails/EVENT_ID"
    )


def test_lists_go_by_time_in_pages_by_key(api: Api) -> None:
    due = {1: "2030-01-03T00:00:00Z", 2: "2030-01-01T00:00:00Z", 3: "2030-01-01T00:00:00Z", -4: "1960-01-01T00:00:00Z"}
    for event_id, due_at in due.items():
        put(api, event_id, due_at=due_at)
    assert in_pages(api, "/emails?limit=2") == [[-4, 2], [3, 1]]
    assert in_pages(api, "/emails?limit=3&order=desc") == [[1, 3, 2], [-4]]
    assert in_pages(api, "/emails?limit=1&status=scheduled&order=asc") == [[-4], [2], [3], [1]]
    assert in_pages(api, "/emails?status=sent") == [[]]


def test_a_page_stays_right_while_emails_come_and_go(api: Api) -> None:
    for event_id in range(4):
        put(api, event_id, due_at=f"2030-01-0{event_id + 1}T00:00:00Z")
    first = api.get("/emails?limit=2")
    api.post("/emails/1/cancel")
    put(api, 9, due_at="2029-01-01T00:00:00Z")
    assert numbers(api.get(first["next"].removeprefix("/api"))) == [2, 3]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=x", "limit")),
        *(("limit=", "limit"), ("limit=1&limit=2", "limit"), ("limit=99999999999999999999", "limit")),
        *(("after=", "after"), ("after=x", "after"), ("after=1", "after"), ("after=1.2.3", "after")),
        *(("after=999999999999.1", "after"), ("after=1.9223372036854775808", "after"), ("after=1.2%00", "after")),
        *(("status=gone", "status"), ("status=", "status"), ("order=up", "order"), ("statsu=sent", "statsu")),
        *(("after=%F0%9D%9F%8F.1", "after"), ("after='%20OR%201=1", "after"), ("%00=1", "\\x00")),
    ],
)
def test_what_a_list_cannot_be_asked_for_is_named(api: Api, query: str, field: str) -> None:
    assert fields_of(api("GET", f"/emails?{query}")) == [field]


def test_everything_that_is_wrong_with_a_request_is_said_at_once(api: Api) -> None:
    assert fields_of(api("GET", "/emails?limit=0&order=x&a=1")) == ["a", "order", "limit"]
    assert fields_of(api("PUT", "/emails/1", {"event_id": 1})) == ["event_id", "subject", "content", "due_at"]


@pytest.mark.parametrize("event_id", ["x", "9223372036854775808", "1_0", "１", "1e3", "%20", "1%0a", "%00", "-"])
def test_an_address_without_a_number_is_refused(api: Api, event_id: str) -> None:
    for method, path in (("GET", ""), ("PUT", ""), ("POST", "/cancel"), ("POST", "/release"), ("POST", "/retry")):
        body = EMAIL if method == "PUT" else None
        assert fields_of(api(method, f"/emails/{event_id}{path}", body)) == ["event_id"]


def test_what_was_never_saved_is_not_found(api: Api) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/release"), ("POST", "/retry")):
        assert is_problem(api(method, f"/emails/7{path}"), 404, "7")


def test_a_scheduled_email_is_cancelled_and_nothing_is_sent(api: Api) -> None:
    api.installation.add_recipients(2)
    put(api, 1, due_at="2020-01-01T00:00:00Z")
    for _ in range(2):
        answer = api.post("/emails/1/cancel")
        assert (answer["sent"], answer["in_flight"], answer["cancelled"]) == (0, 0, 0)
        assert answer["email"]["status"] == "cancelled"
    assert api.sweep() == [] and api.installation.delivered() == {}
    assert is_problem(api("POST", "/emails/1/release"), 409, "cancelled")
    assert is_problem(api("POST", "/emails/1/retry"), 409, "cancelled")


def test_what_was_sent_can_no_longer_be_cancelled(api: Api) -> None:
    api.installation.add_recipients(2)
    put(api, 1, due_at="2020-01-01T00:00:00Z")
    api.sweep()
    assert is_problem(api("POST", "/emails/1/cancel"), 409, "sent")
    email = api.get("/emails/1")
    assert email["status"] == "sent" and email["deliveries"]["sent"] == email["deliveries"]["total"] == 2
    assert email["lateness"]["first_seconds"] > 180_000_000 and email["first_sent_at"] <= email["last_sent_at"]


def test_a_held_email_goes_out_when_it_is_released(api: Api) -> None:
    put(api, 1, due_at="2020-01-01T00:00:00Z")
    api.sweep()
    held = api.get("/emails/1")
    assert held["status"] == "held" and "no active recipients" in held["held_because"]
    assert is_problem(api("POST", "/emails/1/release"), 409, "no active recipients")
    api.installation.add_recipients(1)
    assert api.post("/emails/1/release")["email"]["status"] == "sending"
    assert is_problem(api("POST", "/emails/1/release"), 409, "sending")
    api.sweep()
    assert api.get("/emails/1")["status"] == "sent"


def test_emails_are_found_by_words_of_the_subject(api: Api) -> None:
    for number, subject in enumerate(("Gala in Zürich", "Straße 100 %", "gala", "Other"), start=1):
        assert put(api, number, subject=subject) == 201
    assert numbers(api.get("/emails?search=GALA")) == [1, 3]
    assert numbers(api.get("/emails?search=zÜrich+ala")) == [1]
    assert numbers(api.get("/emails?search=strasse")) == numbers(api.get("/emails?search=0+%25")) == [2]
    assert numbers(api.get("/emails?search=g_la")) == numbers(api.get("/emails?search=%25%25")) == []
    assert in_pages(api, "/emails?search=gala&limit=1&order=desc&status=scheduled") == [[3], [1]]
    assert numbers(api.get("/emails?search=gala&status=held")) == []
