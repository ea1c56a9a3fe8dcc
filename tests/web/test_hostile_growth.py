"""For every route and every form, doubling hostile input takes less than three times the work.

The work is the CPU time of this thread (the shortest of several attempts), and the memory that Python allocates. Ratios
are checked only above a minimum, which any quadratic step exceeds by far at these sizes.
"""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token

WEB = Path(__file__).resolve().parents[2] / "web"
OPENAPI = json.loads((WEB / "api" / "openapi.json").read_text())
FIELD_NAMES = sorted(
    {
        name
        for file in WEB.rglob("*.html")
        for name in re.findall(r'<(?:input|textarea|select|button)[^>]*? name="(\w+)"', file.read_text())
    }
    | {"event_id", "email_subject", "email_content", "timestamp"}
)
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Werkzeug's uploads
SIZE = 40_000  # bytes of a body; twice as many are sent too
LINE_SIZE = 4_000  # bytes of an argument or a header
FLOOR_SECONDS, FLOOR_BYTES = 0.25, 4_000_000
MAX_RATIO = 3.0
TRIES = 3
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=X"
PART = "--X\r\nContent-Disposition: form-data; name={}\r\n\r\n"

Make = Callable[[int], str]


def repeated(piece: str, before: str = "", after: str = "") -> Make:
    return lambda size: before + piece * (size // len(piece)) + after


def numbered(piece: str, before: str, after: str) -> Make:
    """Return a text in which each piece has its own number."""
    return lambda size: before + "".join(piece % number for number in range(size // (len(piece) + 3))) + after


BODIES: dict[str, list[Make]] = {
    JSON: [
        numbered('"n%d":0,', "{", '"n9":0}'),
        numbered('"n%d":0,', "{", '"last":0}'),
        numbered('{"event_id":%d},', "[", "{}]"),
        numbered('"a%d@example.com",', '{"addresses":[', '"b"]}'),
        numbered("%d,", '{"recipient_ids":[', "1]}"),
        repeated("["),
        repeated("{},", "[", "{}]"),
        repeated("1"),
        repeated("\\u0041", '"', '"'),
        repeated('\\"', '{"content":"', '"}'),
        repeated("<p>&lt;", '{"subject":"a","due_at":"2030-01-01T00:00:00Z","content":"<html>', '"}'),
        repeated(" "),
    ],
    LINES: [repeated("\n"), repeated("1\n"), repeated("{}\n"), repeated("[")],
    CSV: [
        repeated("x\n", "recipient_email\n"),
        numbered("a%d@example.com\n", "recipient_email\n", ""),
        repeated("\n", "recipient_email\n"),
        repeated('"'),
        repeated(" ", "recipient_email\n"),
        repeated(",x", "recipient_email"),
        repeated('""', 'recipient_email\n"'),
        repeated("\r"),
        repeated("\ufeff", "recipient_email\n"),
        repeated(";sep=", "sep="),
    ],
}
VALUES = (
    "a",
    "%",
    "%20",
    "&",
    "=",
    "<",
    "&lt;",
    "<html><p>",
    "%0A",
    "=?utf-8?q?a?=",
    "(",
    '"',
    "0",
    "a@b.c%0A",
    "%C3%A9",
)
ARGUMENTS = ("a", "%20", "a=1&", "limit=1&", "%00", "%C3%A9", "+")
HEADERS = ("Accept", "Content-Type", "Cookie", "Authorization", "X-Forwarded-For", "If-None-Match", "Host", "Origin")
HEADER_PIECES = ("a,", "a;", '"', "a=b; ", "(", ";q=0.1,", "\\", "=", "/", "[", ":", "a/b;c=d,")
PARTS = ("--X", "\r\n", PART.format("a") + "b\r\n", "-", "\r", "--", "\r\n--")


class Route(NamedTuple):
    """A route and the body to send to it."""

    method: str
    path: str
    kind: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))


def documented() -> list[Route]:
    """Return the routes of /openapi.json, each with every type of body that it accepts."""
    return [
        Route(method.upper(), re.sub(r"\{[^}]*\}", "1", path), kind)
        for path, operations in OPENAPI["paths"].items()
        for method, operation in operations.items()
        if method in ("get", "put", "post", "delete", "patch")
        for kind in (list(operation.get("requestBody", {}).get("content", {})) or [""])
    ]


def seconds_of(request: Callable[[], object], tries: int) -> float:
    seconds = []
    for _ in range(tries):
        began = time.thread_time()
        request()
        seconds.append(time.thread_time() - began)
    return min(seconds)


def bytes_of(request: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        request()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_linear(send: Callable[[str], object], make: Make, size: int) -> None:
    once, twice = make(size), make(2 * size)
    seconds = seconds_of(lambda: send(twice), 1)
    if seconds > FLOOR_SECONDS:
        seconds = seconds_of(lambda: send(twice), TRIES)
        assert seconds < max(MAX_RATIO * seconds_of(lambda: send(once), TRIES), FLOOR_SECONDS), twice[:80]
    memory = bytes_of(lambda: send(twice))
    if memory > FLOOR_BYTES:
        assert memory < MAX_RATIO * bytes_of(lambda: send(once)), twice[:80]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(tmp_path_factory.mktemp("hostile"))
    api.installation.add_recipients(1)
    api("PUT", "/emails/1", {"subject": "a", "content": "b", "due_at": "2090-01-01T00:00:00Z"})
    yield api
    api.close()


@pytest.mark.parametrize("route", documented(), ids=str)
def test_twice_the_hostile_input_of_a_route_takes_less_than_three_times_the_work(api: Api, route: Route) -> None:
    kind = route.kind.partition(";")[0]
    for make in BODIES.get(kind, []):
        assert_linear(
            lambda body: api.client.open(route.path, method=route.method, data=body, content_type=kind), make, SIZE
        )
    if kind in (URLENCODED, "multipart/form-data"):
        assert_forms_linear(api, route.path)
    for piece in ARGUMENTS:
        assert_linear(
            lambda text: api.client.open(f"{route.path}?x={text}", method=route.method), repeated(piece), LINE_SIZE
        )


def page_forms() -> list[str]:
    """Return the addresses to which pages and programs send forms, from the templates."""
    found = {"/emails/new", "/emails/1/retry", "/recipients", "/recipients/import", "/login", "/unsubscribe/1"}
    for file in WEB.rglob("*.html"):
        for form in re.findall(r"<form[^>]*>", file.read_text()):
            action = re.search(r'action="([^"]*)"', form)
            if "post" in form.lower() and action and action[1].startswith("/"):
                found.add(re.sub(r"\{\{.*?\}\}", "1", action[1]).partition("?")[0])
    return sorted(found)


@pytest.mark.parametrize("path", page_forms())
def test_twice_the_hostile_input_of_a_form_takes_less_than_three_times_the_work(api: Api, path: str) -> None:
    assert_forms_linear(api, path)


def assert_forms_linear(api: Api, path: str) -> None:
    page = api.client.get("/recipients", headers={"Accept": "text/html"}).text
    token = f"csrf_token={csrf_token(page)}"
    share = len(FIELD_NAMES)
    for piece in VALUES:
        assert_linear(
            lambda text: api.client.post(
                path,
                data="&".join([token, *(f"{name}={text[: len(text) // share]}" for name in FIELD_NAMES)]),
                content_type=URLENCODED,
            ),
            repeated(piece),
            SIZE,
        )
    for name in ("email_content", "timestamp", "address", "addresses", "next", "recipient_id", "event_id"):
        assert_linear(
            lambda text, name=name: api.client.post(
                path, data=f"{token}&step=check&{name}={text}", content_type=URLENCODED
            ),  # type: ignore[misc]
            repeated("a%0A"),
            SIZE,
        )
    for piece in PARTS:
        start = PART.format("csrf_token") + token.partition("=")[2] + "\r\n" + PART.format('file; filename="f"')
        assert_linear(
            lambda text, start=start: api.client.post(path, data=start + text + "\r\n--X--", content_type=MULTIPART),  # type: ignore[misc]
            repeated(piece),
            SIZE,
        )


@pytest.mark.parametrize("path", ["/api/emails", "/recipients", "/send-emails", "/healthz", "/unsubscribe/1"])
def test_twice_the_hostile_header_takes_less_than_three_times_the_work(api: Api, path: str) -> None:
    for header in HEADERS:
        for piece in HEADER_PIECES:
            assert_linear(
                lambda text, header=header: api.client.open(path, headers={header: text}),  # type: ignore[misc]
                repeated(piece),
                LINE_SIZE,
            )
