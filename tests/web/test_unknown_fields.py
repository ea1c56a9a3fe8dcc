"""POST /send-emails refuses a field that is probably misspelt, because ignoring it could send mail to everyone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from email_app import create_app
from settings import load_settings
from tests.support import new_database
from web.services import services_of

GOOD = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}
PART = '--X\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    settings = load_settings({}, tmp_path_factory.mktemp("fields"))
    new_database.create(settings, datetime.now(UTC))
    app = create_app(settings)
    yield app.test_client()
    services_of(app).email_writer.close()
    services_of(app).databases.close()


def post(client: FlaskClient, fields: Mapping[str, str], kind: str = "urlencoded") -> TestResponse:
    if kind == "urlencoded":
        return client.post("/send-emails", data=fields)
    body = "".join(PART.format(name, "", value) for name, value in fields.items()) + "--X--\r\n"
    return client.post("/send-emails", data=body.encode(), content_type="multipart/form-data; boundary=X")


def saved(client: FlaskClient, event_id: int) -> bool:
    email = services_of(client.application).databases.act(lambda database: database.emails.get(event_id))
    return email is not None


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
@pytest.mark.parametrize("value", ["staff", ""])
@pytest.mark.parametrize(
    ("name", "meant"),
    [("email_subjct", "email_subject"), ("email_conten", "email_content"), ("Email_Subject", "email_subject")],
)
def test_a_misspelt_field_is_refused_with_a_suggestion(
    client: FlaskClient, kind: str, value: str, name: str, meant: str
) -> None:
    answer = post(client, GOOD | {name: value}, kind)
    assert (answer.status_code, answer.text) == (400, f"Error: unknown field {name}; did you mean {meant}?")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert not saved(client, 1)


@pytest.mark.parametrize("name", ["email_", "email_xyz", "email_" + "x" * 5000, "email_ü", " email_xyz", "EMAIL_XYZ"])
def test_nothing_is_suggested_if_nothing_is_close(client: FlaskClient, name: str) -> None:
    answer = post(client, GOOD | {name: "x"})
    assert (answer.status_code, answer.text) == (400, f"Error: unknown field {name[:80]}")
    assert not saved(client, 1)


@pytest.mark.parametrize(
    "name", ["email_format", "email_attachment", "email_calendar", "email_finish_by", "email_webhook"]
)
def test_a_field_of_a_later_version_is_unknown(client: FlaskClient, name: str) -> None:
    answer = post(client, GOOD | {name: "auto"})
    assert (answer.status_code, answer.text) == (400, f"Error: unknown field {name}")


def test_an_attached_file_is_refused_rather_than_left_out(client: FlaskClient) -> None:
    parts = "".join(PART.format(name, "", value) for name, value in GOOD.items())
    body = parts + PART.format("email_attachment", '; filename="a.pdf"', "x") + "--X--\r\n"
    answer = client.post("/send-emails", data=body.encode(), content_type="multipart/form-data; boundary=X")
    assert (answer.status_code, answer.text) == (400, "Error: unknown field email_attachment")
    assert not saved(client, 1)


def test_a_misspelt_field_is_named_even_if_it_leaves_a_required_one_missing(client: FlaskClient) -> None:
    fields = {name: value for name, value in GOOD.items() if name != "email_subject"}
    assert "did you mean email_subject?" in post(client, fields | {"email_subjekt": "S"}).text


@pytest.mark.parametrize(
    ("name", "shown"),
    [("email_a\r\nX: y", r"email_a\r\nX: y"), ("email_\x1b[31m", r"email_\x1b[31m"), ("email_\0", r"email_\x00")],
)
def test_the_name_of_an_unknown_field_is_escaped(client: FlaskClient, name: str, shown: str) -> None:
    assert post(client, GOOD | {name: "x"}).text == f"Error: unknown field {shown}"


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
@pytest.mark.parametrize("name", ["more", "list", "to", "emails", "e-mail_list", "my_email_list", "csrf_token", ""])
def test_other_unknown_fields_are_ignored(client: FlaskClient, kind: str, name: str) -> None:
    event_id = str(hash((kind, name)))
    assert post(client, GOOD | {"event_id": event_id, name: "x"}, kind).text == "Successful"


def test_a_field_of_an_email_in_the_query_string_is_refused(client: FlaskClient) -> None:
    answer = client.post("/send-emails?email_lists=staff", data=GOOD)
    assert answer.status_code == 400 and "unknown field email_lists" in answer.text
    assert not saved(client, 1)


def test_the_rest_of_the_query_string_has_no_effect(client: FlaskClient) -> None:
    answer = client.post("/send-emails?token=x&event_id=5&email_subject=Other&to=all", data=GOOD | {"event_id": "4"})
    assert answer.text == "Successful" and saved(client, 4) and not saved(client, 5)


@pytest.mark.parametrize(("name", "meant"), [("contents", "content"), ("Subject", "subject"), ("dueat", "due_at")])
def test_json_suggests_a_name_as_well(client: FlaskClient, name: str, meant: str) -> None:
    document = {"subject": "S", "content": "C", "due_at": "2030-01-02T08:00:00Z"}
    answer = client.put("/api/emails/1", json=document | {name: "x"})
    assert answer.status_code == 400 and answer.json is not None
    assert answer.json["errors"][0]["field"] == name and f"did you mean {meant}?" in answer.json["errors"][0]["message"]


def test_json_suggests_nothing_if_nothing_is_close(client: FlaskClient) -> None:
    answer = client.put("/api/emails/1", json={"webhook": "x"})
    assert answer.json is not None and "did you mean" not in answer.text
    assert answer.json["errors"][0]["message"].startswith("is not a known name; known: ")
