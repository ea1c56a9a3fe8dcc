"""The optional fields of an email, in the form and in JSON, from the request to the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.web.api_client import EMAIL, Api, fields_of, is_problem

GOOD = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2020-01-02 08:00:00"}
PART = '--X\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
Form = Mapping[str, Sequence[str] | str]
Poster = Callable[..., TestResponse]


def urlencoded(api: Api, **fields: Sequence[str] | str) -> TestResponse:
    return api.client.post("/send-emails", data=GOOD | fields)


def multipart(api: Api, **fields: Sequence[str] | str) -> TestResponse:
    pairs = [
        (name, text)
        for name, value in (GOOD | fields).items()
        for text in ([value] if isinstance(value, str) else value)
    ]
    body = "".join(PART.format(*pair) for pair in pairs) + "--X--\r\n"
    return api.client.post("/send-emails", data=body.encode(), content_type="multipart/form-data; boundary=X")


@pytest.fixture(params=[urlencoded, multipart])
def post(request: pytest.FixtureRequest) -> Poster:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def lists(api: Api) -> Api:
    """r0 to r5 are recipients. The list `gala` has r0 to r2, and `staff` has r2 and r3."""
    api.installation.add_recipients(6)
    for name, members in (("gala", (0, 1, 2)), ("staff", (2, 3))):
        assert api("POST", "/lists", {"name": name}).status_code == 201
        api.post(f"/lists/{name}/members", {"addresses": [f"r{number}@example.com" for number in members]})
    return api


def put(api: Api, event_id: int = 1, **fields: Any) -> TestResponse:
    return api("PUT", f"/emails/{event_id}", EMAIL | fields)


def document(api: Api, event_id: int = 1) -> Any:
    return api.get(f"/emails/{event_id}")


def recipients_of(api: Api) -> list[str]:
    """Send what is due, and return who received it."""
    assert api.sweep() == []
    return sorted(str(message["To"]).partition("@")[0] for message in api.installation.messages())


def message(api: Api) -> EmailMessage:
    api.sweep()
    return api.installation.messages()[0]


def saved(api: Api, event_id: int = 1) -> bool:
    return api("GET", f"/emails/{event_id}").status_code == 200


# email_audience


def test_the_original_four_fields_reach_everyone(lists: Api, post: Poster) -> None:
    assert post(lists).text == "Successful"
    assert recipients_of(lists) == ["r0", "r1", "r2", "r3", "r4", "r5"]


def test_an_email_can_say_that_it_is_for_everyone(lists: Api, post: Poster) -> None:
    answer = post(lists, email_audience="everyone")
    assert (answer.status_code, answer.text) == (200, "Successful")
    assert document(lists)["audience"] == "everyone"
    assert recipients_of(lists) == ["r0", "r1", "r2", "r3", "r4", "r5"]


def test_no_other_audience_has_a_name(lists: Api, post: Poster) -> None:
    answer = post(lists, email_audience="staff")
    assert (answer.status_code, answer.text.partition(";")[0]) == (400, 'Error: email_audience must be "everyone"')
    assert fields_of(put(lists, audience="staff")) == ["audience"] and not saved(lists)


@pytest.mark.parametrize("fields", [{}, {"email_from_name": "Gala"}, {"email_recipients_max": "5"}])
def test_an_email_without_an_audience_is_refused_if_one_is_required(
    tmp_path: Path, where: dict[str, str], post: Poster, fields: dict[str, str]
) -> None:
    api = Api(tmp_path, DEFAULT_AUDIENCE="required", **where)
    answer = post(api, **fields)
    assert answer.status_code == 400 and answer.text.startswith("Error: email_audience is missing; say who")
    assert fields_of(put(api)) == ["audience"] and not saved(api)
    bulk = api.post("/emails", [{"event_id": 1, **EMAIL}, {"event_id": 2, **EMAIL, "to": ["ada@example.com"]}])
    assert [each["result"] for each in bulk["results"]] == ["invalid", "saved"]
    assert post(api, email_audience="everyone").text == "Successful"
    assert put(api, 3, exclude_lists=["x"]).status_code == 400  # it says who, but there is no such list
    api.close()


# email_list and email_exclude_list


@pytest.mark.parametrize(
    ("fields", "recipients"),
    [
        ({"email_list": "gala"}, "r0 r1 r2"),
        ({"email_list": ["gala", "GALA", "gala"]}, "r0 r1 r2"),
        ({"email_list": ["staff", "gala"]}, "r0 r1 r2 r3"),
        ({"email_list": "gala", "email_exclude_list": "Staff"}, "r0 r1"),
        ({"email_exclude_list": "staff"}, "r0 r1 r4 r5"),
        ({"email_exclude_list": ["staff", "gala"], "email_audience": "everyone"}, "r4 r5"),
    ],
)
def test_an_email_goes_to_lists_minus_lists(lists: Api, post: Poster, fields: Form, recipients: str) -> None:
    answer = post(lists, **fields)
    assert (answer.status_code, answer.text) == (200, "Successful")
    assert document(lists)["recipients"] == {"active": len(recipients.split()), "unsubscribed": 0, "rejected": 0}
    assert recipients_of(lists) == recipients.split()


@pytest.mark.parametrize("field", ["email_list", "email_exclude_list"])
def test_an_unknown_list_is_refused_and_the_lists_that_exist_are_named(lists: Api, post: Poster, field: str) -> None:
    answer = post(lists, **{field: "gale"})
    reason = 'is not valid: there is no list "gale"; existing lists: gala, staff'
    assert (answer.status_code, answer.text) == (400, f"Error: {field} {reason}")
    name = {"email_list": "lists", "email_exclude_list": "exclude_lists"}[field]
    answer = put(lists, 1, **{name: ["gale"]})
    assert fields_of(answer) == [name] and answer.json["errors"][0]["message"] == reason  # type: ignore[index]
    assert not saved(lists)


def test_of_many_lists_the_closest_are_named(api: Api) -> None:
    with api.installation.database() as database:
        for number in range(30):
            database.lists.add(f"guests-{number}", datetime.now(UTC))
        database.lists.add("gala-2026", datetime.now(UTC))
    answer = urlencoded(api, email_list="gala2026")
    assert 'there is no list "gala2026"; existing lists: gala-2026' in answer.text and answer.text.endswith("more")


def test_an_archived_list_takes_no_new_emails(lists: Api, post: Poster) -> None:
    assert put(lists, 2, lists=["gala"]).status_code == 201
    lists("PATCH", "/lists/gala", {"archived": True})
    answer = post(lists, email_list="gala")
    assert (answer.status_code, answer.text) == (400, 'Error: email_list is not valid: the list "gala" is archived')
    assert fields_of(put(lists, 3, lists=["gala"])) == ["lists"]


def test_a_list_that_is_included_and_excluded_is_refused(lists: Api, post: Poster) -> None:
    answer = post(lists, email_list=["staff", "gala"], email_exclude_list="GALA")
    assert (answer.status_code, answer.text) == (400, 'Error: email_exclude_list "gala" is also in email_list')
    assert fields_of(put(lists, lists=["gala"], exclude_lists=["gala"])) == ["exclude_lists"]


def test_in_a_request_with_many_emails_an_unknown_list_refuses_only_its_own(lists: Api) -> None:
    emails: list[dict[str, Any]] = [
        {"event_id": 1, "lists": ["gala"]},
        {"event_id": 2, "lists": ["gale"]},
        {"event_id": 3},
    ]
    answer = lists.post("/emails", [EMAIL | each for each in emails])
    assert [each["result"] for each in answer["results"]] == ["saved", "invalid", "saved"]
    assert answer["results"][1]["errors"][0]["field"] == "lists"
    assert (answer["saved"], answer["invalid"]) == (2, 1)
    assert [saved(lists, event_id) for event_id in (1, 2, 3)] == [True, False, True]


# email_to


def test_an_email_goes_to_the_addresses_that_it_names(lists: Api, post: Poster) -> None:
    answer = post(lists, email_to=["r4@example.com", "Ada@Example.com", "ada@example.com"])
    assert (answer.status_code, answer.text) == (200, "Successful")
    found = document(lists)
    assert (found["audience"], sorted(found["to"])) == ("to", ["Ada@example.com", "r4@example.com"])
    assert found["recipients"] == {"active": 2, "unsubscribed": 0, "rejected": 0}
    assert recipients_of(lists) == ["Ada", "r4"]
    deliveries = lists.get("/emails/1/deliveries")["deliveries"]
    assert sorted((each["address"], each["status"]) for each in deliveries) == [
        ("Ada@example.com", "sent"),
        ("r4@example.com", "sent"),
    ]


def test_an_address_that_only_an_email_named_gets_nothing_for_everyone(lists: Api) -> None:
    assert put(lists, 1, to=["ada@example.com"]).status_code == 201
    assert urlencoded(lists, event_id="2").text == "Successful"
    assert recipients_of(lists) == ["r0", "r1", "r2", "r3", "r4", "r5"]


@pytest.mark.parametrize("other", ["email_list", "email_exclude_list"])
def test_addresses_are_refused_together_with_lists(lists: Api, post: Poster, other: str) -> None:
    answer = post(lists, **{"email_to": "ada@example.com", other: "gala"})
    assert (answer.status_code, answer.text) == (400, f"Error: email_to cannot be combined with {other}")
    assert fields_of(put(lists, to=["ada@example.com"], lists=["gala"])) == ["to"]


def test_the_number_of_addresses_is_limited(api: Api, post: Poster) -> None:
    many = [f"a{number}@example.com" for number in range(1001)]
    assert post(api, email_to=many[:50]).text == "Successful"
    answer = post(api, event_id="2", email_to=many[:51])
    assert (answer.status_code, answer.text.partition(";")[0]) == (400, "Error: email_to appears 51 times (limit: 50")
    assert put(api, 3, to=many[:1000]).status_code == 201
    assert fields_of(put(api, 4, to=many)) == ["to"]


def test_an_invalid_address_is_named(api: Api, post: Poster) -> None:
    answer = post(api, email_to=["ada@example.com", "bob"])
    assert answer.status_code == 400 and answer.text.startswith('Error: email_to "bob" is not valid')
    assert fields_of(put(api, to=["ada@example.com", "bob"])) == ["to[1]"]


def test_the_unsubscribed_and_the_rejected_are_left_out_and_counted(lists: Api, post: Poster) -> None:
    with lists.installation.database() as database:
        database.connection.execute("UPDATE recipients SET status = 'unsubscribed' WHERE address LIKE 'r0@%'")
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE address LIKE 'r1@%'")
    counts = {"active": 1, "unsubscribed": 1, "rejected": 1}
    assert put(lists, 2, lists=["gala"]).json["email"]["recipients"] == counts  # type: ignore[index]
    assert put(lists, 3, to=[f"r{n}@example.com" for n in range(3)]).json["email"]["recipients"] == counts  # type: ignore[index]
    assert put(lists, 4).json["email"]["recipients"] == counts | {"active": 4}  # type: ignore[index]
    assert post(lists, email_list="gala").text == "Successful"
    assert recipients_of(lists) == ["r2"]


# email_recipients_max


@pytest.mark.parametrize("fields", [{}, {"email_list": "gala"}, {"email_to": ["r0@example.com", "r1@example.com"]}])
def test_an_email_is_held_if_its_audience_has_grown_too_large(lists: Api, fields: Form) -> None:
    assert urlencoded(lists, email_recipients_max="1", **fields).text == "Successful"
    lists.sweep()
    found = document(lists)
    assert (found["status"], found["recipients_max"]) == ("held", 1) and "1" in found["held_because"]
    assert lists.installation.messages() == []


def test_an_email_goes_out_if_its_audience_is_just_as_large(lists: Api, post: Poster) -> None:
    assert post(lists, email_recipients_max="3", email_list="gala").text == "Successful"
    assert recipients_of(lists) == ["r0", "r1", "r2"]


@pytest.mark.parametrize("number", [0, -1, 1.5, "x", None, True, [5], 2**63])
def test_the_largest_audience_is_a_whole_number(api: Api, number: object) -> None:
    assert fields_of(put(api, recipients_max=number)) == ["recipients_max"]


# email_reply_to and email_from_name


def test_replies_and_the_senders_name_are_those_of_the_email(lists: Api, post: Poster) -> None:
    names = {"email_reply_to": "Box Office <tickets@example.com>", "email_from_name": "Gala 2026, Größe 🎉"}
    assert post(lists, email_to="ada@example.com", **names).text == "Successful"
    found = document(lists)
    assert (found["reply_to"], found["from_name"]) == tuple(names.values())
    headers = message(lists)
    assert headers["Reply-To"] == "Box Office <tickets@example.com>"
    assert headers["From"].addresses[0].display_name == "Gala 2026, Größe 🎉"
    assert headers["From"].addresses[0].addr_spec == "no-reply@localhost"


@pytest.mark.parametrize("field", ["email_reply_to", "email_from_name", "email_list", "email_to", "email_audience"])
@pytest.mark.parametrize("value", ["a@example.com\r\nBcc: x@example.com", "a\nb@example.com", "x\0", ""])
def test_no_field_adds_a_header(api: Api, post: Poster, field: str, value: str) -> None:
    answer = post(api, **{field: value})
    assert answer.status_code == 400 and answer.text.startswith(f"Error: {field} ") and "\n" not in answer.text


# email_personal


def test_personal_fields_are_filled_in_only_on_request(api: Api, post: Poster) -> None:
    assert post(api, email_personal="yes").text == "Successful" and document(api)["personal"] is True
    assert post(api, event_id="2").text == "Successful" and document(api, 2)["personal"] is False
    answer = post(api, event_id="3", email_personal="1")
    assert (answer.status_code, answer.text) == (400, 'Error: email_personal must be "yes" or "no"')
    assert put(api, 4, personal=True).status_code == 201
    assert fields_of(put(api, 5, personal="yes")) == ["personal"]


# Headers


def test_an_email_to_one_list_has_an_identifier_that_survives_a_rename(lists: Api) -> None:
    assert urlencoded(lists, email_list="gala", email_exclude_list="staff").text == "Successful"
    first = message(lists)
    lists("PATCH", "/lists/gala", {"name": "Gala Größe"})
    assert urlencoded(lists, event_id="2", email_list="gala größe").text == "Successful"
    lists.sweep()
    (second, *_) = (each for each in lists.installation.messages() if each["X-Event-Id"] == "2")
    assert first["X-Event-Id"] == "1" and str(first["List-Id"]).startswith("gala <list-")
    assert str(second["List-Id"]).startswith("Gala Größe <list-")
    assert str(first["List-Id"]).partition("<")[2] == str(second["List-Id"]).partition("<")[2]


@pytest.mark.parametrize("fields", [{}, {"email_list": ["gala", "staff"]}, {"email_to": "r0@example.com"}])
def test_any_other_email_has_no_list_id(lists: Api, fields: Form) -> None:
    assert urlencoded(lists, **fields).text == "Successful"
    assert message(lists)["List-Id"] is None


# Repeated fields, and repeated requests


@pytest.mark.parametrize(
    "field", ["email_audience", "email_recipients_max", "email_reply_to", "email_from_name", "email_personal"]
)
def test_only_lists_and_addresses_may_be_repeated(api: Api, post: Poster, field: str) -> None:
    answer = post(api, **{field: ["everyone", "everyone"]})
    assert (answer.status_code, answer.text) == (400, f"Error: {field} appears more than once")


@pytest.mark.parametrize(
    ("fields", "same", "others"),
    [
        (
            {"email_list": ["gala", "staff"]},
            [{"email_list": ["STAFF", "gala", "gala"]}],
            [{"email_list": "gala"}, {}, {"email_list": "gala", "email_exclude_list": "staff"}],
        ),
        (
            {"email_to": ["a@example.com", "b@example.com"]},
            [{"email_to": ["B@example.com", "a@example.com", "a@example.com"]}],
            [{"email_to": "a@example.com"}, {"email_to": [f"{x}@example.com" for x in "abc"]}, {"email_list": "gala"}],
        ),
        ({}, [{"email_audience": "everyone"}, {"email_personal": "no"}], [{"email_exclude_list": "gala"}]),
        ({"email_recipients_max": "5"}, [{"email_recipients_max": "005"}], [{"email_recipients_max": "6"}, {}]),
        (
            {"email_reply_to": "Ada <a@example.com>"},
            [{"email_reply_to": '"Ada" <a@EXAMPLE.com>'}],
            [{"email_reply_to": "a@example.com"}, {}],
        ),
        ({"email_from_name": "Gala"}, [], [{"email_from_name": "gala"}, {}]),
        ({"email_personal": "yes"}, [], [{}]),
    ],
)
def test_a_repeated_request_is_identical_or_different(
    lists: Api, fields: Form, same: Sequence[Form], others: Sequence[Form]
) -> None:
    assert urlencoded(lists, **fields).text == "Successful"
    for form, word in [
        (fields, "identical"),
        *((form, "identical") for form in same),
        *((form, "different") for form in others),
    ]:
        answer = urlencoded(lists, **form)
        assert answer.status_code == 400 and "UNIQUE constraint" in answer.text and word in answer.text, form


def test_put_compares_and_replaces_the_audience(lists: Api) -> None:
    assert put(lists, lists=["gala", "staff"]).json["result"] == "created"  # type: ignore[index]
    assert put(lists, lists=["staff", "gala"]).json["result"] == "unchanged"  # type: ignore[index]
    replaced = put(lists, exclude_lists=["staff"], recipients_max=10).json
    assert replaced is not None and replaced["result"] == "replaced"
    email = replaced["email"]
    assert (email["audience"], email["lists"], email["exclude_lists"]) == ("everyone", [], ["staff"])
    assert (email["recipients_max"], email["recipients"]["active"]) == (10, 4)


# What the API says


def test_documents_say_who_an_email_is_for(lists: Api) -> None:
    assert put(lists, 1, lists=["staff", "gala"], reply_to="a@example.com").status_code == 201
    assert put(lists, 2, to=["ada@example.com"]).status_code == 201
    assert put(lists, 3).status_code == 201
    first, second, third = lists.get("/emails")["emails"]
    assert (first["audience"], first["lists"], first["reply_to"]) == ("lists", ["gala", "staff"], "a@example.com")
    assert (second["audience"], second["lists"], third["audience"]) == ("to", [], "everyone")
    whole = document(lists, 1)
    assert whole["recipients"]["active"] == 4 and whole["to"] == []
    assert document(lists, 2)["to"] == ["ada@example.com"]
    lists("PATCH", "/lists/gala", {"name": "ball"})
    assert document(lists, 1)["lists"] == ["ball", "staff"]


def test_recipients_are_counted_until_the_email_starts(lists: Api) -> None:
    urlencoded(lists, email_list="gala")
    assert document(lists)["recipients"]["active"] == 3
    lists.sweep()
    assert document(lists)["recipients"] is None and document(lists)["deliveries"]["total"] == 3


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("audience", ["lists", "", None, ["everyone"]]),
        ("lists", ["gala", [], [""], [1], None, ["a,b"], ["x" * 101]]),
        ("exclude_lists", ["gala", [], {}]),
        ("to", ["a@example.com", [], ["a"], [None]]),
        ("reply_to", ["", "a", None, 1, ["a@example.com"]]),
        ("from_name", ["", " ", "x" * 201, "a\nb", None]),
        ("personal", ["yes", 1, None]),
    ],
)
def test_json_of_another_kind_is_refused(api: Api, field: str, values: Sequence[object]) -> None:
    for value in values:
        assert fields_of(put(api, 1, **{field: value}))[0].partition("[")[0] == field, value


@pytest.mark.parametrize(
    ("name", "meant"), [("list", "lists"), ("exclude_list", "exclude_lists"), ("recipient_max", "recipients_max")]
)
def test_json_suggests_the_name_that_was_meant(api: Api, name: str, meant: str) -> None:
    answer = put(api, 1, **{name: ["gala"]})
    assert is_problem(answer, 400, f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("email_lsit", "email_list"), ("email_lists", "email_list"), ("email_list[]", "email_list")),
        *(("email_exlude_list", "email_exclude_list"), ("email_too", "email_to"), ("Email_List", "email_list")),
        *(
            ("email_audiance", "email_audience"),
            ("email_reply-to", "email_reply_to"),
            ("email_from", "email_from_name"),
        ),
        *(("email_recipient_max", "email_recipients_max"), ("email_personel", "email_personal")),
    ],
)
def test_a_misspelt_field_suggests_the_right_one(api: Api, post: Poster, name: str, meant: str) -> None:
    answer = post(api, **{name: "staff"})
    assert (answer.status_code, answer.text) == (400, f"Error: unknown field {name}; did you mean {meant}?")
    assert not saved(api)


def test_a_list_in_the_query_string_is_refused(lists: Api) -> None:
    answer = lists.client.post("/send-emails?email_list=staff", data=GOOD)
    reason = "email_list is in the query string; send it in the body of the request"
    assert (answer.status_code, answer.text) == (400, f"Error: {reason}") and not saved(lists)


def test_a_field_that_is_sent_as_a_file_is_refused(lists: Api) -> None:
    body = "".join(PART.format(*pair) for pair in GOOD.items())
    body += '--X\r\nContent-Disposition: form-data; name="email_list"; filename="f"\r\n\r\nstaff\r\n--X--\r\n'
    answer = lists.client.post("/send-emails", data=body.encode(), content_type="multipart/form-data; boundary=X")
    assert answer.status_code == 400 and answer.text.startswith("Error: email_list was sent as a file")
