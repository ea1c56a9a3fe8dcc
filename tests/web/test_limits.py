"""Limits on requests and wrong tokens: 429 for a while, only for that client."""

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
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.web_server import Server, serve
from tests.support.web.forms import csrf_token
from web.auth.client_address import NO_ADDRESS, address_of, client_of, forwarded_nodes
from web.auth.rate_limits import WRONG_TOKENS_PER_MINUTE, Limits

TOKEN = "a-token-of-the-tests"
GUESSES = 4 * WRONG_TOKENS_PER_MINUTE
MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client(tmp_path: Path) -> MakeClient:
    """Return a client of an application with these settings and a token."""

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
    """Send wrong tokens, and return how often each status was the response."""
    return Counter(ask(client, f"wrong-token-{number}", address, **headers).status_code for number in range(GUESSES))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock."""
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
    refused = ask(client, TOKEN)  # not even the right token is checked, so that a correct guess goes unnoticed
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
        claimed = f"203.0.113.{number}" + (", 192.0.2.7" if proxies else "")  # the proxy adds its client
        seen[ask(client, "wrong-token", "127.0.0.1", X_Forwarded_For=claimed).status_code] += 1
    assert seen == {401: WRONG_TOKENS_PER_MINUTE, 429: GUESSES - WRONG_TOKENS_PER_MINUTE}


def test_behind_a_proxy_each_client_is_counted_for_itself(make_client: MakeClient) -> None:
    client = make_client(TRUSTED_PROXIES="1")
    assert guess(client, "127.0.0.1", X_Forwarded_For="192.0.2.7")[401] == WRONG_TOKENS_PER_MINUTE
    assert ask(client, TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.7").status_code == 429
    assert ask(client, TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.8").status_code == 200


NODES = {
    "192.0.2.8": (
        *("192.0.2.8", "192.0.2.8:40001", "192.0.2.8:_port", '"192.0.2.8:40002"', " 192.0.2.8 ", "192.000.002.008"),
        *("::ffff:192.0.2.8", "[::ffff:192.0.2.8]:40003", "::FFFF:C000:0208", "::ffff:192.0.2.8:40004"),
        *("64:ff9b::192.0.2.8", "[192.0.2.8]:40005", "'192.0.2.8'", "192.0.2.8:", r"\"192.0.2.8:40006\""),
    ),
    "2001:db8::7": (
        *("2001:db8::7", "2001:DB8:0:0::7", "2001:0db8:0000:0000:0000:0000:0000:0007", "[2001:db8::7]"),
        *("[2001:db8::7]:40001", '"[2001:db8::7]:_x"', "2001:db8::7:40002", "2001:db8::7%eth0"),
        *("[2001:db8::7%25eth0]:40003", "2001:db8:0:0:0:0:0:7:443"),
    ),
    NO_ADDRESS: (
        "unknown",
        "UNKNOWN:80",
        "_hidden",
        "_hidden:_port",
        "",
        "-",
        "a.example",
        "1.2.3",
        "1.2.3.400",
        "[x]",
        "x" * 9999,
    ),
}
WRITTEN = [(node, address) for address, nodes in NODES.items() for node in nodes]


@pytest.mark.parametrize("address", NODES)
def test_a_client_is_one_client_however_a_proxy_writes_its_address(make_client: MakeClient, address: str) -> None:
    client = make_client(TRUSTED_PROXIES="1")
    seen: Counter[int] = Counter()
    for number in range(2 * WRONG_TOKENS_PER_MINUTE):
        node = NODES[address][number % len(NODES[address])]
        seen[ask(client, "wrong-token", "127.0.0.1", X_Forwarded_For=f"203.0.113.{number}, {node}").status_code] += 1
    assert seen == {401: WRONG_TOKENS_PER_MINUTE, 429: WRONG_TOKENS_PER_MINUTE}
    for other in NODES:
        status = ask(client, TOKEN, "127.0.0.1", X_Forwarded_For=f"{NODES[other][-1]}").status_code
        assert status == (429 if other == address else 200)


@pytest.mark.parametrize(("node", "address"), WRITTEN)
def test_a_node_that_a_proxy_wrote_is_read_as_the_address_in_it(node: str, address: str) -> None:
    assert address_of(node) == address


def test_the_log_has_the_address_of_a_client_without_its_port(
    make_client: MakeClient, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(make_client(TRUSTED_PROXIES="1"), TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.8:40001")
    assert " 192.0.2.8 GET " in capfd.readouterr().err


@pytest.mark.parametrize("quoted", ['"', '"x', '"x" "', "\\", 'x\\"', "'"])
def test_a_quotation_mark_of_a_client_does_not_hide_what_the_proxy_added(make_client: MakeClient, quoted: str) -> None:
    client = make_client(TRUSTED_PROXIES="1")
    assert guess(client, "127.0.0.1", X_Forwarded_For=f"{quoted}, 192.0.2.7")[401] == WRONG_TOKENS_PER_MINUTE
    assert ask(client, TOKEN, "127.0.0.1", X_Forwarded_For="192.0.2.7").status_code == 429


@pytest.mark.parametrize(
    ("header", "nodes"),
    [
        ("for=192.0.2.8", ["192.0.2.8"]),
        ('For="[2001:db8::7]:4711"', ['"[2001:db8::7]:4711"']),
        ("for=192.0.2.8;proto=https;by=203.0.113.43", ["192.0.2.8"]),
        ("for=192.0.2.43, proto=http ; for=198.51.100.17", ["192.0.2.43", "198.51.100.17"]),
        ("for=192.0.2.8:40001", ["192.0.2.8:40001"]),  # not valid in RFC 7239, but in use
        ('for=192.0.2.8;host="a, for=203.0.113.9"', ["192.0.2.8"]),
        ("proto=https", [NO_ADDRESS]),
        ("for=unknown,,for=_hidden", ["unknown", "_hidden"]),
        ('for="x, for=192.0.2.8', []),
        ('for="x, for="[2001:db8::7]"', []),
        ("for", []),
        ("", []),
    ],
)
def test_a_forwarded_header_is_read_by_its_grammar(header: str, nodes: list[str]) -> None:
    assert forwarded_nodes(header) == nodes


def test_a_proxy_may_write_only_the_header_forwarded(make_client: MakeClient) -> None:
    client = make_client(TRUSTED_PROXIES="1")
    assert guess(client, "127.0.0.1", Forwarded='for="192.0.2.8:40001"')[401] == WRONG_TOKENS_PER_MINUTE
    assert ask(client, TOKEN, "127.0.0.1", Forwarded="for=192.0.2.8").status_code == 429
    assert ask(client, TOKEN, "127.0.0.1", Forwarded="for=192.0.2.9").status_code == 200
    both = {"Forwarded": "for=192.0.2.8", "X_Forwarded_For": "192.0.2.9"}
    assert ask(client, TOKEN, "127.0.0.1", **both).status_code == 200


@pytest.mark.parametrize("filler", [" ", "for=a;", "for=a ", ", ", '"\\a', "for=a ;"])
def test_a_long_forwarded_header_is_read_in_linear_time(filler: str) -> None:
    def seconds(size: int) -> float:
        header = filler * size + '"'
        times = []
        for _ in range(3):
            began = time.thread_time()
            forwarded_nodes(header)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(20_000) < 8 * seconds(5_000) + 0.01


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
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("64:ff9b::192.0.2.7", "64:ff9b::192.0.2.8", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
    ],
)
def test_a_network_of_ipv6_is_one_client(one: str, other: str, same: bool) -> None:
    assert (client_of(one) == client_of(other)) == same
