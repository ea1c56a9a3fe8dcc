"""How often a client may ask, and how often guess: 429 after that, for a while, for that client alone."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import TooManyRequests
from werkzeug.test import TestResponse

from email_app import create_app
from settings import Settings
from tests.support.forms import csrf_token
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.web_server import Server, serve
from web.auth.rate_limits import WRONG_TOKENS_PER_MINUTE, Limits, client_of

TOKEN = "a-token-of-the-tests"
GUESSES = 4 * WRONG_TOKENS_PER_MINUTE
MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client(tmp_path: Path) -> MakeClient:
    """A client of an application with these settings and a token."""

    def make(**environment: str) -> FlaskClient:
        return create_app(Installation(tmp_path, API_TOKEN=TOKEN, **environment).settings).test_client()

    return make


def ask(
    client: FlaskClient, token: str, address: str = "192.0.2.7", path: str = "/api/emails", **headers: str
) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = {"Authorization": f"Bearer {token}"} | named
    return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})


def guess(client: FlaskClient, address: str = "192.0.2.7", **headers: str) -> Counter[int]:
    """How often each status was the answer to wrong tokens."""
    return Counter(ask(client, f"wrong-token-{number}", address, **headers).status_code for number in range(GUESSES))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time go on."""
    for name in ("time", "monotonic"):
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda clock=clock: clock() + seconds)


def log_in(client: FlaskClient, token: str, address: str = "192.0.2.7") -> TestResponse:
    client.delete_cookie("session")
    there = {"REMOTE_ADDR": address}
    page = client.get("/login", headers={"Accept": "text/html"}, environ_overrides=there).text
    return client.post("/login", data={"csrf_token": csrf_token(page), "token": token}, environ_overrides=there)


def test_who_guesses_tokens_is_refused_for_a_minute_and_nobody_else_is(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    assert guess(client) == {401: WRONG_TOKENS_PER_MINUTE, 429: GUESSES - WRONG_TOKENS_PER_MINUTE}
    refused = ask(client, TOKEN)  # not even the right one is looked at: a guess that is right must not be told apart
    assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.content_type == "application/problem+json"
    assert ask(client, TOKEN, "192.0.2.8").status_code == 200
    later(monkeypatch, 62)
    assert ask(client, TOKEN).status_code == 200


def test_failed_logins_are_counted_as_wrong_tokens_are(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    answers = [log_in(client, f"wrong-{number}") for number in range(20)]
    assert Counter(answer.status_code for answer in answers) == {
        401: WRONG_TOKENS_PER_MINUTE,
        429: 20 - WRONG_TOKENS_PER_MINUTE,
    }
    assert "Retry-After" in answers[-1].headers
    assert log_in(client, TOKEN).status_code == 429
    assert log_in(client, TOKEN, "192.0.2.8").status_code == 303
    later(monkeypatch, 62)
    assert log_in(client, TOKEN).status_code == 303


def test_who_guesses_from_many_addresses_keeps_no_person_out(make_client: MakeClient) -> None:
    client = make_client()
    for number in range(50):
        assert guess(client, f"198.51.100.{number}")[401] == WRONG_TOKENS_PER_MINUTE
    assert log_in(client, TOKEN).status_code == 303
    assert ask(client, TOKEN).status_code == 200


def test_threads_that_count_a_new_client_at_once_lose_no_guess(settings: Settings) -> None:
    limits = Limits(settings._replace(web_workers=1), None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for number in range(100):
                taken = threads.map(
                    lambda _, client=f"client {number}": is_taken(limits, client), range(2 * WRONG_TOKENS_PER_MINUTE)
                )
                assert sum(taken) == WRONG_TOKENS_PER_MINUTE
    finally:
        sys.setswitchinterval(interval)


def is_taken(limits: Limits, client: str) -> bool:
    try:
        limits.count_wrong_token(client)
    except TooManyRequests:
        return False
    return True


def guesses_at_once(server: Server) -> Counter[int]:
    def one(number: int) -> int:
        return server.request("GET", "/api/emails", headers={"Authorization": f"Bearer wrong-{number}"}).status

    with ThreadPoolExecutor(8) as clients:
        return Counter(clients.map(one, range(GUESSES)))


def test_all_workers_together_let_no_more_guesses_through(tmp_path: Path, free_port: int) -> None:
    with serve(tmp_path, free_port, API_TOKEN=TOKEN, WEB_WORKERS="2") as server:
        answers = guesses_at_once(server)
    assert set(answers) == {401, 429} and answers[401] <= WRONG_TOKENS_PER_MINUTE


def test_with_redis_all_workers_count_together(tmp_path: Path, free_port: int) -> None:
    with closing(RedisServer(tmp_path, free_port)) as redis:
        where = {"SCHEDULER": "rq-scheduler", "REDIS_URL": redis.url}
        with serve(tmp_path, unused_port(), API_TOKEN=TOKEN, WEB_WORKERS="2", **where) as server:
            assert guesses_at_once(server) == {401: WRONG_TOKENS_PER_MINUTE, 429: GUESSES - WRONG_TOKENS_PER_MINUTE}


def test_without_its_redis_each_process_counts_for_itself(tmp_path: Path, free_port: int) -> None:
    with closing(RedisServer(tmp_path, free_port)) as redis:
        where = {"SCHEDULER": "rq-scheduler", "REDIS_URL": redis.url}
        with serve(tmp_path, unused_port(), API_TOKEN=TOKEN, **where) as server:
            redis.kill()
            assert guesses_at_once(server) == {401: WRONG_TOKENS_PER_MINUTE, 429: GUESSES - WRONG_TOKENS_PER_MINUTE}


@pytest.mark.parametrize("proxies", [0, 1])
def test_what_a_client_says_of_its_address_gives_it_no_more_guesses(make_client: MakeClient, proxies: int) -> None:
    client = make_client(TRUSTED_PROXIES=str(proxies))
    seen: Counter[int] = Counter()
    for number in range(GUESSES):
        claimed = f"203.0.113.{number}" + (", 192.0.2.7" if proxies else "")  # the proxy adds whom it sees
        seen[ask(client, "wrong-token", "127.0.0.1", X_Forwarded_For=claimed).status_code] += 1
    assert seen == {401: WRONG_TOKENS_PER_MINUTE, 429: GUESSES - WRONG_TOKENS_PER_MINUTE}


def test_behind_a_proxy_each_client_is_counted_for_itself(make_client: MakeClient) -> None:
    client = make_client(TRUSTED_PROXIES="1")
    assert guess(client, "127.0.0.1", X_Forwarded_For="192.0.2.7")[401] == WRONG_TOKENS_PER_MINUTE
    assert ask(client, TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.7").status_code == 429
    assert ask(client, TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.8").status_code == 200


def test_of_all_requests_each_client_has_its_number_a_minute(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(RATE_LIMIT="5")
    answers = [ask(client, TOKEN) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert "RATE_LIMIT" in answers[-1].text and 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert ask(client, TOKEN, "192.0.2.8").status_code == 200
    later(monkeypatch, 62)
    assert ask(client, TOKEN).status_code == 200


def test_unless_it_is_set_nobody_is_kept_from_asking(make_client: MakeClient) -> None:
    client = make_client()
    assert {ask(client, TOKEN, path="/healthz").status_code for _ in range(300)} == {200}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
    ],
)
def test_a_network_of_ipv6_is_one_client(one: str, other: str, same: bool) -> None:
    assert (client_of(one) == client_of(other)) == same
