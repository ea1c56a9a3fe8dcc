"""The API of the whole service: killed, under concurrent requests, without PostgreSQL, and with Redis."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from database import Email, open_database
from email_app import create_app
from settings import load_settings
from tests.support import new_database
from tests.support.servers.postgresql_server import PostgreSQLServer
from tests.support.servers.web_server import Server, serve
from tests.support.web.api_client import EMAIL, Api, is_problem
from web.services import services_of

if TYPE_CHECKING:
    from tests.support.servers.redis_server import RedisInstallation, RedisServer

JSON = {"Content-Type": "application/json"}
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[Server]:
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    with serve(tmp_path, free_port) as running:
        yield running


def send(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    answer = server.request(method, f"/api{path}", json.dumps(body).encode(), JSON)
    return answer.status, json.loads(answer.body)


def saved(server: Server, event_id: int) -> Email | None:
    with open_database(load_settings({}, server.log.parent)) as database:
        return database.emails.get(event_id)


def test_of_a_list_all_is_saved_or_nothing_though_the_server_is_killed(tmp_path: Path, free_port: int) -> None:
    """Sending the same list again completes it without duplicates."""
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    lists = [[EMAIL | {"event_id": 100 * number + each} for each in range(100)] for number in range(1000)]
    answered = 0
    with serve(tmp_path, free_port) as server:
        timer = threading.Timer(1, server.kill)
        timer.start()
        with suppress(OSError):
            for rows in lists:
                assert send(server, "POST", "/emails", rows)[1]["saved"] == 100
                answered += 1
        timer.join()
    assert answered
    with open_database(load_settings({}, tmp_path)) as database:
        for number in range(answered + 2):
            there = {database.emails.get(100 * number + each) is not None for each in range(100)}
            assert there == {True} if number < answered else len(there) == 1
    with serve(tmp_path, free_port) as server:
        again = send(server, "POST", "/emails", lists[answered])[1]
    assert again["saved"] + again["identical"] == 100 and {again["saved"], again["identical"]} == {0, 100}


def test_of_many_that_put_one_email_at_once_one_creates_it_and_none_fails(server: Server) -> None:
    emails = [EMAIL | {"content": str(number)} for number in range(50)]
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda email: send(server, "PUT", "/emails/1", email), emails))
    assert sorted(status for status, _ in answers) == [200] * 49 + [201]
    email = saved(server, 1)
    assert email is not None and email.content in {each["content"] for each in emails}


def test_of_many_lists_with_one_event_id_one_saves_it(server: Server) -> None:
    lists = [[EMAIL | {"event_id": 1, "content": str(number)}] for number in range(30)]
    with ThreadPoolExecutor(30) as clients:
        answers = [answer for _, answer in clients.map(lambda rows: send(server, "POST", "/emails", rows), lists)]
    assert sorted(answer["results"][0]["result"] for answer in answers) == ["different"] * 29 + ["saved"]


def test_a_body_that_was_cut_off_saves_nothing(server: Server) -> None:
    head = b"POST /api/emails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "
    lines = b"".join(json.dumps(EMAIL | {"event_id": number}).encode() + b"\n" for number in range(3))
    chunked = b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n"
    cases = [
        (b"application/x-ndjson\r\nContent-Length: %d\r\n\r\n%b" % (len(lines) + 1, lines), b" 400 "),
        (b"application/x-ndjson" + chunked % (len(lines), lines), b" 411 "),
        (b"application/json" + chunked % (4, b"[{},"), b" 400 "),
    ]
    for request, status in cases:
        assert status in server.raw(head + request, close=True)
    assert all(saved(server, number) is None for number in range(3))


def test_a_whole_chunked_json_body_is_taken_and_one_that_is_too_large_is_not(server: Server) -> None:
    head = b"PUT /api/emails/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    body = json.dumps(EMAIL).encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    assert b" 201 " in server.raw(head + chunked % (len(body), body))
    assert b" 413 " in server.raw(head + b"Content-Length: 100000000\r\n\r\n")
    assert b" 413 " in server.raw(head + chunked % (11_000_000, b" " * 11_000_000))


def test_connections_that_a_server_ended_are_made_anew(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    url = postgresql.new_database()
    api = Api(tmp_path, DATABASE_URL=url)
    assert api("PUT", "/emails/1", EMAIL).status_code == 201
    for act in (lambda: api.get("/emails/1"), lambda: api.post("/emails", [EMAIL | {"event_id": 1}])):
        with psycopg.connect(url, autocommit=True) as killer:
            killer.execute(TERMINATE)
        answers = [_status(api, act) for _ in range(2)]
        assert answers[1] == 200 and answers[0] in (200, 503)
    assert api.get("/emails/1")["content"] == EMAIL["content"]
    api.close()


def _status(api: Api, act: Any) -> int:
    try:
        act()
    except AssertionError as error:  # the error of Api.get and Api.post for a status other than 200
        assert '"status": 503' in str(error)
        return 503
    return 200


def test_a_database_server_that_is_away_is_answered_with_503_until_it_is_back(
    tmp_path: Path, postgresql: PostgreSQLServer
) -> None:
    api = Api(tmp_path, DATABASE_URL=postgresql.new_database())
    assert api("PUT", "/emails/1", EMAIL).status_code == 201
    postgresql.stop()
    try:
        for method, path, body in (("GET", "/emails", None), ("PUT", "/emails/2", EMAIL), ("GET", "/recipients", None)):
            answer = api(method, path, body)
            assert is_problem(answer, 503) and answer.headers["Retry-After"] == "60" and "secret" not in answer.text
    finally:
        postgresql.start()
    assert [email["event_id"] for email in api.get("/emails")["emails"]] == [1]
    assert api("PUT", "/emails/2", EMAIL).status_code == 201
    api.close()


def test_with_redis_each_way_to_save_an_email_sets_its_wake_up(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    app = create_app(installation.settings)
    client = app.test_client()
    hour = int(time.time()) // 3600 * 3600 + 7200
    dues = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(hour + each)) for each in range(4)]
    client.put("/api/emails/1", json=EMAIL | {"due_at": dues[0]})
    client.put("/api/emails/1", json=EMAIL | {"due_at": dues[1]})
    client.post("/api/emails", json=[EMAIL | {"event_id": each, "due_at": dues[each]} for each in (1, 2, 3)])
    services_of(app).databases.close()
    assert redis_server.armed() == [f"wake-{hour + each}" for each in range(4)]
