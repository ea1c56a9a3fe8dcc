"""Every accepted email can be built, shown and sent. Others are refused, on every interface."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from delivery.message import mime
from tests.support.web.api_client import EMAIL, Api, fields_of

ACCEPTED = {
    "a reference of 5,000 digits": "<html>&#" + "0" * 5_000 + "65;",
    "a reference of 5,000 nines": "<html>&#" + "9" * 5_000 + ";",
    "a reference without an end": "<html>&#" + "1" * 4_301,
    "a hexadecimal reference of 5,000 digits": "<html>&#x" + "0" * 5_000 + "41;",
    "such a reference in a link": f"<html><a href='https://example.com/&#{'0' * 5_000}65;'>x</a>",
    "such a reference in a picture": f"<html><img alt='&#{'9' * 5_000};'>",
    "references of characters that do not exist": "<html>&#0;&#xD800;&#x110000;&#1;",
    "a name of 100,000 letters": f"<html>&{'a' * 100_000};",
    "a list that begins with 5,000 digits": f"<html><ol start={'9' * 5_000}><li value={'9' * 5_000}>x",
    "20,000 nested elements": "<html>" + "<div>" * 20_000,
    "a word of 500,000 letters": "x" * 500_000,
    "such a word in HTML": "<html>" + "x" * 500_000,
    "control characters": "".join(map(chr, [*range(1, 32), *range(127, 160)])),
    "control characters in HTML": "<html>" + "".join(map(chr, [*range(1, 32), *range(127, 160)])),
    "line separators and noncharacters": "\u2028\u2029\ufffe\uffff\U0010ffff",
    "one space": " ",
}
SUBJECTS = [
    " ",
    " " * 900,
    "x" * 998,
    "é" * 499,
    "\u0301" * 400,
    "\ufeff",
    "\u200b" * 300,
    "\uffff",
    "\ue000",
    "=?" * 499,
]
SUBJECTS += ["\u202e" * 300, ("x" * 61 + " ") * 16, "=" * 998]
REFUSED = ["\0", "<html>\0", "\\ud800", "<html>\\udfff", "a\\udc00\\ud800"]  # as JSON escapes


@pytest.fixture
def where() -> dict[str, str]:
    """One engine is enough."""
    return {"PUBLIC_URL": "https://mail.example.com"}


def post_each_way(api: Api, subject: str, content: str) -> list[int]:
    """Save an email by PUT, in a list, with the form and on the page. Return the statuses, and the list's results."""
    email = {**EMAIL, "subject": subject, "content": content}
    form = {"event_id": "3", "email_subject": subject, "email_content": content, "timestamp": "2030-01-02 08:00:00"}
    put = api("PUT", "/emails/1", email)
    listed = api("POST", "/emails", [{**email, "event_id": 2}])
    assert listed.status_code == 200
    posted = api.client.post("/send-emails", data=form)
    saved_by_page = api.client.post("/emails/new", data={**form, "event_id": "4", "step": "schedule", **token(api)})
    results: Any = listed.json
    return [put.status_code, results["saved"], posted.status_code, saved_by_page.status_code]


def token(api: Api) -> dict[str, str]:
    found = re.search(r'name="csrf_token" value="([^"]+)"', api.client.get("/emails/new").text)
    assert found
    return {"csrf_token": found[1]}


def assert_shown_and_sent(api: Api, content: str) -> None:
    for number in range(1, 5):
        for page in (f"/emails/{number}", f"/emails/{number}/source"):
            assert api.client.get(page).status_code == 200
    form = {"event_id": "9", "email_subject": "S", "email_content": content, "timestamp": "2030-01-02 08:00:00"}
    assert api.client.post("/emails/new", data={**form, **token(api)}).status_code == 200
    if mime.is_html(content):
        assert api.client.post("/emails/new", data={**form, "step": "html", **token(api)}).status_code == 200
    api.post("/recipients", {"addresses": ["ada@example.com"]})
    with api.installation.database() as database:
        database.connection.execute("UPDATE emails SET due_at = 1000")
    api.sweep()
    assert {api.get(f"/emails/{number}")["deliveries"]["sent"] for number in range(1, 5)} == {1}


@pytest.mark.parametrize("content", ACCEPTED.values(), ids=ACCEPTED)
def test_an_accepted_content_is_shown_and_sent(api: Api, content: str) -> None:
    assert post_each_way(api, "S", content) == [201, 1, 200, 303]
    assert_shown_and_sent(api, content)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda text: ascii(text[:8]))
def test_an_accepted_subject_is_shown_and_sent(api: Api, subject: str) -> None:
    assert post_each_way(api, subject, "C") == [201, 1, 200, 303]
    assert_shown_and_sent(api, "C")


@pytest.mark.parametrize("content", REFUSED)
def test_half_characters_and_nul_are_refused_in_json(api: Api, content: str) -> None:
    body = json.dumps({**EMAIL, "content": "HERE"}).replace("HERE", content.replace("\0", "\\u0000"))
    answer = api("PUT", "/emails/1", data=body.encode(), content_type="application/json")
    assert fields_of(answer) == ["content"]


def test_what_cannot_be_built_is_refused_with_the_reason_and_not_saved(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> str:
        raise RecursionError

    monkeypatch.setattr(mime, "plain_text", fail)
    content = "<html>x"
    assert post_each_way(api, "S", content) == [400, 0, 400, 400]
    form = {"event_id": "1", "email_subject": "S", "email_content": content, "timestamp": "2030-01-02 08:00:00"}
    answer = api.client.post("/send-emails", data=form)
    assert answer.text.startswith("Error: email_content cannot be sent: the content cannot be turned into plain text")
    assert fields_of(api("PUT", "/emails/1", {**EMAIL, "content": content})) == ["content"]
    page = api.client.post("/emails/new", data={**form, **token(api)})
    assert page.status_code == 400 and "The content cannot be sent" in page.text
    assert api.client.post("/emails/new", data={**form, "step": "html", **token(api)}).status_code == 400
    assert api.get("/emails")["emails"] == []


@pytest.mark.parametrize(
    "number", ["9" * 5_000, "-" + "9" * 5_000, "9" * 5_000 + ".0", "1e" + "9" * 5_000, '"' + "9" * 5_000 + '"']
)
def test_a_number_of_thousands_of_digits_in_json_is_named(api: Api, number: str) -> None:
    body = f'[{{"event_id": {number}, "subject": "S", "content": "C", "due_at": "2030-01-02T08:00:00Z"}}]'
    answer = api.post("/emails", data=body.encode(), content_type="application/json")
    assert [error["field"] for error in answer["results"][0]["errors"]] == ["event_id"]


NUMBERED = [
    "/api/emails/N",
    "/emails/N",
    "/recipients/N",
    "/recipients/imports/N",
    "/api/recipients/N",
    "/outbox/N",
    "/?after=N",
]
NUMBERED += ["/api/emails/1/deliveries/N", "/api/emails?after=N.1", "/api/emails?limit=N", "/recipients?after=N"]


@pytest.mark.parametrize("path", NUMBERED)
@pytest.mark.parametrize("number", ["9" * 5_000, "٣" * 5_000])
def test_a_number_of_thousands_of_digits_in_an_address_leads_nowhere(api: Api, path: str, number: str) -> None:
    assert api.client.get(path.replace("N", number)).status_code in (400, 404)


def test_a_small_email_is_checked_in_no_time() -> None:
    start = time.process_time()
    for _ in range(20_000):
        mime.check_content("We start at eight.\n" * 10)
    assert time.process_time() - start < 2
