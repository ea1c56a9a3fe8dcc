"""The request log: one line per request, whatever a client sends, with the response's ID and without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from email_app import create_app
from tests.support.installation import Installation
from web.request_log import RequestLog

TOKEN = "a-token-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
ODD = ["\r\n2026-11-01 INFO forged", "\x1b[2J", "\u2028forged", "\x85", "\u202etxt", "\x00", '"', "\\", " 200 1.0 ms"]
Serve = Callable[..., FlaskClient]


@pytest.fixture
def served(tmp_path: Path) -> Serve:
    def make(form: str = "text", **environment: str) -> FlaskClient:
        settings = Installation(tmp_path, API_TOKEN=TOKEN, LOG_FORMAT=form, **environment).settings
        return create_app(settings).test_client()

    return make


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_request_is_one_line_with_the_id_of_its_answer(
    served: Serve, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    answer = served(form).get("/api/emails?limit=7", headers=HEADERS)
    (line,) = capfd.readouterr().err.splitlines()
    if form == "json":
        row = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["time"])
        line = " ".join(str(row[name]) for name in ("time", "request_id", "client", "method", "path", "status"))
    assert re.match(r"\S+Z (\S+) 127\.0\.0\.1 GET /api/emails 200", line)
    assert answer.headers["X-Request-Id"] == line.split()[1]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_no_request_can_write_a_line_or_move_a_terminal(
    served: Serve, capfd: pytest.CaptureFixture[str], form: str, odd: str
) -> None:
    client = served(form)
    client.open("/x" + quote(odd), headers=HEADERS)
    client.open("/healthy", headers=HEADERS, environ_overrides={"REMOTE_ADDR": odd, "REQUEST_METHOD": f"GET{odd}"})
    logged = capfd.readouterr().err
    assert logged.isascii() and logged.replace("\n", "").isprintable() and logged.count("\n") == 2
    for line in logged.splitlines():
        if form == "json":
            assert json.loads(line)["status"] == 404 or json.loads(line)["status"] == 405
        else:
            assert len(line.split(" ")) == 10


def test_a_long_path_is_cut(served: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    served().get("/" + "x" * 1_000_000, headers=HEADERS)
    assert len(capfd.readouterr().err) < 500


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_and_no_content_is_in_it(served: Serve, capfd: pytest.CaptureFixture[str], form: str) -> None:
    client = served(form)
    client.get("/api/emails?token=in-the-query", headers=HEADERS | {"Cookie": "session=in-a-cookie"})
    client.get("/unsubscribe/in-the-link", headers={"Referer": "https://in-a-referer.example"})
    client.post("/login", data={"token": "in-a-form"}, headers={"Authorization": "Bearer in-a-header"})
    logged = capfd.readouterr().err
    assert logged.count("\n") == 3 and "/unsubscribe/" in logged
    assert TOKEN not in logged and "in-" not in logged


@pytest.mark.parametrize(
    ("proxies", "given", "kept"),
    [
        ("1", "abc-1.2_3", True),
        ("0", "abc-1.2_3", False),
        ("1", "", False),
        ("1", "a b", False),
        ("1", "x" * 65, False),
        ("1", "a\u00e9", False),
        ("1", 'a"', False),
    ],
)
def test_a_proxy_that_is_trusted_may_name_a_request(
    served: Serve, capfd: pytest.CaptureFixture[str], proxies: str, given: str, kept: bool
) -> None:
    client = served(TRUSTED_PROXIES=proxies)
    name = client.get("/api/emails", headers=HEADERS | {"X-Request-Id": given}).headers["X-Request-Id"]
    assert (name == given) == kept and f" {name} " in capfd.readouterr().err


def test_no_two_requests_have_one_id(served: Serve) -> None:
    clients = served(), served()
    names = [client.get("/healthz").headers["X-Request-Id"] for client in clients for _ in range(100)]
    assert len(set(names)) == 200


def test_a_health_check_that_is_answered_well_is_no_line(served: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    client = served()
    assert client.get("/healthz").status_code == 200
    assert client.post("/healthz", headers=HEADERS).status_code == 405
    assert [line.split(" ")[3] for line in capfd.readouterr().err.splitlines()] == ["POST"]


def test_an_answer_of_unknown_length_is_logged_at_its_end(served: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    answer = served("json").get("/api/recipients?format=csv", headers=HEADERS)
    assert json.loads(capfd.readouterr().err)["bytes"] == len(answer.data) > 0


def test_no_log_is_none(served: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    assert served("off").get("/api/emails", headers=HEADERS).status_code == 200
    assert capfd.readouterr().err == ""


def test_a_log_that_cannot_be_written_keeps_nobody_from_being_served(
    served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served()
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("web.request_log.STDERR", full.fileno())
        assert client.get("/api/emails", headers=HEADERS).status_code == 200
    monkeypatch.setattr("web.request_log.STDERR", 9_999)  # closed
    assert client.get("/api/emails", headers=HEADERS).status_code == 200


def test_a_second_is_put_into_words_once_and_never_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    log = RequestLog("text")
    said = []
    for moment in (10.0, 10.5, 11.0, 10.5, 86_399.75):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        said.append(log._now()[11:])
    assert said == ["00:00:10.000Z", "00:00:10.500Z", "00:00:11.000Z", "00:00:10.500Z", "23:59:59.750Z"]
