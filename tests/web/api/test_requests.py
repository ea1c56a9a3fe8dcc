"""API requests: strict JSON, times and methods. Nothing invalid causes a 500."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.support.samples import invalid_values
from tests.support.web.api_client import EMAIL, Api, fields_of, is_problem

JSON = "application/json"
GOOD = json.dumps(EMAIL).encode()
ROUTES = [("PUT", "/emails/1"), ("POST", "/emails"), ("POST", "/recipients"), ("POST", "/emails/1/retry")]
ROUTES += [("POST", "/emails/1/deliveries/1/decide")]


@pytest.fixture
def where() -> dict[str, str]:
    """One engine is enough, because no request reaches the database."""
    return {}


def put(api: Api, body: bytes, content_type: str | None = JSON, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api("PUT", "/emails/1", data=body, content_type=content_type, headers=named)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"nope", b"{} {}", b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"{\x00}", b"{'a': 1}"),
        *(b"NaN", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "a": 2}}]', b"01", b"+1"),
        *(
            b'"\n"',
            b"\xef\xbb\xbf{}",
            '{"a": 1}'.encode("utf-16"),
            '{"a": 1}'.encode("utf-32"),
            b'{"a": 1,}',
            b"//\n{}",
        ),
    ],
    ids=invalid_values.short,
)
def test_what_is_no_json_is_refused(api: Api, method: str, path: str, body: bytes) -> None:
    start = time.process_time()
    assert fields_of(api(method, path, data=body, content_type=JSON)) == ["body"]
    assert time.process_time() - start < 1


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("body", [b"null", b'"a"', b"1", b"1e400", b"true", b"9" * 5000], ids=invalid_values.short)
def test_json_of_another_shape_is_refused(api: Api, method: str, path: str, body: bytes) -> None:
    assert fields_of(api(method, path, data=body, content_type=JSON)) == ["body"]


@pytest.mark.parametrize(
    "text", [*invalid_values.EVENT_IDS, "1.5", "[]", "{}", "null", '"1.0"'], ids=invalid_values.short
)
def test_an_event_id_that_is_none_is_refused(api: Api, text: str) -> None:
    rows = [text if text[:1] in '[{"n' else json.dumps(text)]  # as a string and, if it is JSON, unchanged
    if text.strip("-") == text and text.replace(".", "").isascii() and text[0] in "123456789" and text.strip() == text:
        rows.append(text)
    for row in rows:
        if row in ("1.0", "1e3"):  # JSON has no integers: these two are
            continue
        body = b'[{"event_id": %b, "subject": "S", "content": "C", "due_at": "2030-01-01T00:00:00Z"}]' % row.encode()
        answer = api("POST", "/emails", data=body, content_type=JSON)
        assert answer.status_code in (200, 400) and '"saved": 1' not in answer.text, row
    assert api.get("/emails")["emails"] == []


@pytest.mark.parametrize(
    "value",
    [
        *("true", "false", "null", "[7]", '{"a": 7}', "1.5", "1e400", "-1e400", "9223372036854775808"),
        *("-9223372036854775809", '"true"', '"1e400"', "1" + "0" * 400),
    ],
    ids=invalid_values.short,
)
def test_an_event_id_of_another_kind_is_no_number(api: Api, value: str) -> None:
    body = b'[{"event_id": %b, "subject": "S", "content": "C", "due_at": "2030-01-01T00:00:00Z"}]' % value.encode()
    answer = api("POST", "/emails", data=body, content_type=JSON)
    assert answer.status_code in (200, 400) and '"saved":1' not in answer.text.replace(" ", "")
    assert api.get("/emails")["emails"] == []


@pytest.mark.parametrize("number", ["7", "7.0", "70e-1", '"7"', '"+7"', '"007"', "-0", '"-0"'])
def test_event_ids_that_are_taken(api: Api, number: str) -> None:
    body = b'[{"event_id": %b, "subject": "S", "content": "C", "due_at": "2030-01-01T00:00:00Z"}]' % number.encode()
    answer = api.post("/emails", data=body, content_type=JSON)
    assert answer["results"][0]["event_id"] == (0 if "-" in number and "e" not in number else 7)


@pytest.mark.parametrize("field", ["subject", "content", "due_at"])
@pytest.mark.parametrize("value", ["", None, 1, True, [], {}, "\ud800", "a\0b"])
def test_a_field_of_another_kind_is_refused(api: Api, field: str, value: object) -> None:
    answer = api("PUT", "/emails/1", EMAIL | {field: value})
    assert fields_of(answer) == [field] and is_problem(api("GET", "/emails/1"), 404)


@pytest.mark.parametrize("text", invalid_values.SUBJECTS, ids=invalid_values.short)
def test_an_unfit_subject_is_refused(api: Api, text: str) -> None:
    assert fields_of(api("PUT", "/emails/1", EMAIL | {"subject": text})) == ["subject"]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2030-01-02T08:00:00+08:00", "2030-01-02T00:00:00Z"),
        ("2030-01-02T08:00:00", "2030-01-02T00:00:00Z"),
        ("2030-01-02 08:00:00", "2030-01-02T00:00:00Z"),
        ("2030-01-02t08:00:00z", "2030-01-02T08:00:00Z"),
        ("2030-01-02T08:00:00.000Z", "2030-01-02T08:00:00Z"),
        ("2030-01-02T08:00:00.0001Z", "2030-01-02T08:00:01Z"),
        ("2029-12-31T23:59:59.5-00:00", "2030-01-01T00:00:00Z"),
        ("2030-01-02T08:00:00-23:59", "2030-01-03T07:59:00Z"),
        ("2024-02-29T00:00:00+05:45", "2024-02-28T18:15:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("1476-05-24T22:19:49Z", "1476-05-24T22:19:49Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_the_instant_that_was_understood_is_told(api: Api, text: str, utc: str) -> None:
    answer = api("PUT", "/emails/1", EMAIL | {"due_at": text})
    assert answer.status_code == 201 and answer.json is not None
    assert answer.json["email"]["due_at"] == utc
    listed = api.get("/emails?limit=1")["emails"][0]
    assert listed["due_at"] == utc
    same = datetime.fromisoformat(listed["due_at_local"]) == datetime.fromisoformat(utc)
    assert same and re.fullmatch(r".{19}[+-]\d\d:\d\d", listed["due_at_local"])


@pytest.mark.parametrize("text", invalid_values.INSTANTS, ids=invalid_values.short)
def test_a_time_that_is_none_is_refused(api: Api, text: str) -> None:
    assert fields_of(api("PUT", "/emails/1", EMAIL | {"due_at": text})) == ["due_at"]


def test_millions_of_unknown_fields_are_not_told_back(api: Api) -> None:
    body = json.dumps({"x" * 500 + str(number): 0 for number in range(10_000)}).encode()
    answer = put(api, body)
    assert answer.status_code == 400 and len(answer.data) < 10_000


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("POST", "/recipients/import")])
def test_another_content_type_is_refused(api: Api, method: str, path: str, kind: str | None) -> None:
    """Forms on other sites can send three content types without a preflight. None of them is accepted."""
    taken = "text/csv" if "import" in path else JSON
    assert is_problem(api(method, path, data=GOOD, content_type=kind), 415, taken)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;x=y"])
def test_a_content_type_may_have_parameters(api: Api, kind: str) -> None:
    assert put(api, GOOD, kind).status_code == 201


def test_a_compressed_body_is_refused(api: Api) -> None:
    assert is_problem(put(api, GOOD, Content_Encoding="gzip"), 415, "Content-Encoding")


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    limit = api.installation.settings.max_body
    assert is_problem(put(api, b"x" * (limit + 1)), 413, "MAX_BODY")


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("PATCH", "/emails", 405, "GET, HEAD, POST"),
        ("DELETE", "/emails/1", 405, "GET, HEAD, PUT"),
        ("GET", "/emails/1/cancel", 405, "POST"),
        ("HEAD", "/emails/1/retry", 405, "POST"),
        ("OPTIONS", "/recipients/1", 405, "DELETE, GET, HEAD"),
        ("GET", "/recipients/import", 405, "POST"),
        ("TRACE", "/emails", 405, "GET, HEAD, POST"),
        ("GET", "/emails/", 404, None),
        ("GET", "//emails", 404, None),
        ("GET", "/emails/1/", 404, None),
        ("GET", "/nothing", 404, None),
        ("GET", "/", 404, None),
    ],
)
def test_other_methods_and_addresses(api: Api, method: str, path: str, status: int, allowed: str | None) -> None:
    answer = api(method, path)
    assert answer.status_code == status and answer.content_type == "application/problem+json"
    assert (answer.headers.get("Allow") and ", ".join(sorted(answer.headers["Allow"].split(", ")))) == allowed
    assert method == "HEAD" or is_problem(answer, status)


@pytest.mark.parametrize("path", ["/emails", "/emails/1", "/emails/1/deliveries", "/recipients", "/recipients/1"])
def test_head_tells_what_get_would(api: Api, path: str) -> None:
    api("PUT", "/emails/1", EMAIL)
    api.installation.add_recipients(1)
    get, head = api("GET", path), api("HEAD", path)
    assert (head.status_code, head.data, head.content_type) == (200, b"", get.content_type)


def test_looking_changes_nothing(api: Api) -> None:
    api("PUT", "/emails/1", EMAIL)
    before = api.get("/emails/1")
    for path in ("/emails/1/cancel", "/emails/1/retry", "/emails/1/release", "/emails/1/deliveries/1/decide"):
        for method in ("GET", "HEAD", "OPTIONS"):
            assert api(method, path).status_code == 405
    assert api.get("/emails/1") == before


def test_a_bug_is_told_without_what_it_was_about(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(database: object) -> None:
        raise ValueError("a secret")

    monkeypatch.setattr("web.api.emails.query_fields", broken)
    answer = api("GET", "/emails")
    assert is_problem(answer, 500) and "secret" not in answer.text


def test_an_answer_is_kept_by_nobody_and_is_never_taken_for_a_page(api: Api) -> None:
    api("PUT", "/emails/1", EMAIL | {"content": "<script>alert(1)</script>"})
    for answer in (api("GET", "/emails/1"), api("GET", "/emails/2"), api("GET", "/recipients?format=csv")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not answer.content_type.startswith("text/html")


@pytest.fixture(scope="module")
def one_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = Api(tmp_path_factory.mktemp("api"))
    yield made
    made.close()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["event_id", "subject", "content", "due_at", "addresses", "statuses", "status", "x"]), inner
        )
    ),
    max_leaves=12,
)


@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), value=values)
def test_no_json_whatever_is_answered_with_500(one_api: Api, route: tuple[str, str], value: object) -> None:
    answer = one_api(*route, data=json.dumps(value).encode(), content_type=JSON)
    assert answer.status_code in (200, 201, 400, 404, 409), value
    assert answer.json is not None
