"""Connections: how many, to which addresses, and what happens when they break."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.interface import Kind, SessionError
from delivery.smtp import transport
from delivery.smtp.command import STEP_TIMEOUTS, Step
from delivery.smtp.login_check import try_login
from delivery.smtp.sender import SMTPServer
from delivery.smtp.transport import Address
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, only, refusal, sender
from tests.support.servers.smtp_server import Close, Reset, ScriptedServer, Wait
from tests.support.servers.smtp_sink import needs_sink, sink


def test_no_more_connections_are_opened_than_there_is_work_for() -> None:
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.1), "250 ok")}) as server:
        deliver(server, FakeQueue(envelopes(2)), connections=30)
        assert len(server.peers) <= 2


def test_a_connection_is_closed_after_its_number_of_messages() -> None:
    with ScriptedServer() as server:
        queue = deliver(server, FakeQueue(envelopes(50), connections=3), connections=3, messages_per_connection=10)
    assert len(queue.of_kind(Kind.SENT)) == 50
    used = [peer.raw for peer in server.peers if b"MAIL FROM" in peer.raw]
    assert len(used) >= 5
    assert all(raw.count(b"MAIL FROM") <= 10 and raw.endswith(b"QUIT\r\n") for raw in used)
    assert server.most_at_once <= 3


def test_a_server_that_allows_fewer_connections_gets_fewer() -> None:
    def greet(line: bytes, n: int) -> Any:
        return ("421 4.7.0 too many connections", Close()) if server.at_once > 2 else None

    on = {"CONNECT": greet, "CONTENT": lambda line, n: (Wait(0.01), "250 ok")}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(100)), connections=10)
    assert len(queue.of_kind(Kind.SENT)) == 100
    assert len(server.peers) < 30


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize(
    "answer",
    [
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
        ("421 4.7.0 too many connections", Close()),
    ],
)
def test_a_server_that_notices_too_many_connections_late_gets_fewer(step: str, answer: Any) -> None:
    def refuse(line: bytes, n: int) -> Any:
        return answer if server.at_once > 3 else None

    with ScriptedServer(on={step: refuse}) as server:
        queue = deliver(server, FakeQueue(envelopes(150)), connections=12)
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == len(queue.outcomes) == 150
    assert len(server.peers) < 40


def test_a_server_that_always_has_too_many_connections_ends_the_sweep_and_costs_no_attempt() -> None:
    with ScriptedServer(on={"MAIL": lambda line, n: "432 4.3.2 Concurrent connections limit exceeded"}) as server:
        queue = FakeQueue(envelopes(100))
        assert "432 4.3.2 Concurrent connections limit exceeded" in refusal(server, queue)
    assert queue.outcomes == []


def test_without_descriptors_for_more_connections_the_sweep_goes_on_with_fewer() -> None:
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.005), "250 ok")}) as server:
        code = (
            "import sys, resource; sys.path.insert(0, '.')\n"
            "from tests.support.servers.fake_queue import *; from delivery.smtp.sender import *\n"
            "queue = FakeQueue(envelopes(100))\n"
            "one = SMTPSender(SMTPServer('127.0.0.1', int(sys.argv[1])), connections=50)\n"
            "one._addresses()\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))\n"
            "one.deliver(queue); print(len(queue.of_kind(Kind.SENT)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(server.port)], capture_output=True, text=True, check=False
        )
    assert done.stdout.strip() == "100", done.stderr


@needs_sink
def test_a_thousand_messages_over_sixteen_connections() -> None:
    with sink() as port:
        queue = FakeQueue(envelopes(3000), connections=16)
        sender(port, connections=16, messages_per_connection=50).deliver(queue)
    assert len(queue.of_kind(Kind.SENT)) == 3000
    assert queue.commits < 3000, "commits are shared"


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with ScriptedServer() as server:
        deliver(server, FakeQueue(envelopes(3)))
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before


@pytest.mark.parametrize("end", [Close(), Reset(), ("421 4.4.2 idle too long", Close())], ids=["FIN", "RST", "421"])
def test_an_idle_connection_that_was_closed_costs_no_attempt(end: Any) -> None:
    with ScriptedServer(on={"MAIL": lambda line, n: end if n in (3, 7) else None}) as server:
        queue = deliver(server, FakeQueue(envelopes(10)), connections=1)
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == 10


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "CONTENT"])
def test_421_closes_the_connection_and_defers_that_message_alone(verb: str) -> None:
    with ScriptedServer(on={verb: only(4, ("421 4.3.2 closing", Wait(100)))}) as server:
        began = time.monotonic()
        queue = deliver(server, FakeQueue(envelopes(20)), connections=2)
    assert len(queue.of_kind(Kind.DEFERRED)) == 1
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == 19
    assert time.monotonic() - began < 50, "the connection was not kept"


def test_connections_that_break_do_not_end_a_sweep_that_makes_progress() -> None:
    with ScriptedServer(on={"DATA": lambda line, n: Reset() if n % 3 == 2 else None}) as server:
        queue = deliver(server, FakeQueue(envelopes(200)))
    assert len(queue.outcomes) == 200
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) > 100


def test_a_server_that_breaks_every_connection_ends_the_sweep() -> None:
    with ScriptedServer(on={"DATA": lambda line, n: Close()}) as server:
        queue = FakeQueue(envelopes(500))
        reason = refusal(server, queue)
    assert "connections in a row were lost" in reason
    assert len(queue.of_kind(Kind.DEFERRED)) < 40
    assert len(queue.returned) + len(queue.outcomes) + len(queue.todo) == 500


@needs_sink
@pytest.mark.parametrize("command", ["rcpt", "data", "."])
def test_disconnects_of_smtp_sink_end_the_sweep_and_lose_nothing(command: str) -> None:
    with sink("-q", command) as port:
        queue = FakeQueue(envelopes(200))
        with pytest.raises(SessionError, match="in a row were lost"):
            sender(port).deliver(queue)
    assert not queue.unaccounted
    assert set(queue.kinds.values()) == {Kind.IN_DOUBT if command == "." else Kind.DEFERRED}


@pytest.mark.parametrize("answer", ["500 5.5.1 no", Close(), Reset(), "what"], ids=["500", "FIN", "RST", "what"])
def test_an_error_at_quit_changes_nothing(answer: Any) -> None:
    with ScriptedServer(on={"QUIT": lambda line, n: answer}) as server:
        queue = deliver(server, FakeQueue(envelopes(3)))
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == 3


def test_a_server_silent_at_quit_is_not_waited_for_long() -> None:
    began = time.monotonic()
    with ScriptedServer(on={"QUIT": lambda line, n: Wait(100)}) as server:
        deliver(server, FakeQueue(envelopes(3)), timeouts={**STEP_TIMEOUTS, Step.QUIT: 0.3})
    assert time.monotonic() - began < 50


def with_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[Any, ...]]) -> None:
    monkeypatch.setattr(transport, "resolve", lambda host, port: [Address(*address) for address in addresses])


def test_the_addresses_of_a_host_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = unused_port()
    with ScriptedServer() as server:
        v6 = (socket.AF_INET6, ("::1", dead, 0, 0))
        v4 = (socket.AF_INET, ("127.0.0.1", server.port))
        with_addresses(monkeypatch, v6, (socket.AF_INET, ("127.0.0.1", dead)), v4)
        queue = deliver(server, FakeQueue(envelopes(30)), messages_per_connection=5)
    assert len(queue.of_kind(Kind.SENT)) == 30
    with_addresses(monkeypatch, v6, (socket.AF_INET, ("127.0.0.1", dead)))
    with pytest.raises(SessionError) as caught:
        sender(25).deliver(FakeQueue(envelopes(1)))
    assert caught.value.reason.count("refused") + caught.value.reason.count("unreachable") >= 1
    assert f"[127.0.0.1]:{dead}" in caught.value.reason


@pytest.fixture
def black_hole() -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield an address that never responds to a connection attempt."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    yield socket.AF_INET, full.getsockname()
    for one in (full, *fillers):
        one.close()


def tried(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """Return a list that grows by each address to which a connection is started."""
    addresses, start = [], transport.start_connect

    def start_connect(address: Address) -> socket.socket:
        addresses.append(address)
        return start(address)

    monkeypatch.setattr(transport, "start_connect", start_connect)
    return addresses


def test_an_address_that_swallows_everything_costs_seconds_once_and_is_remembered(
    monkeypatch: pytest.MonkeyPatch, black_hole: tuple[int, tuple[Any, ...]], tmp_path: Path, where: dict[str, str]
) -> None:
    with ScriptedServer() as server:
        installation = Installation(tmp_path, **where, EMAIL_URL=f"smtp://mail.example:{server.port}")
        installation.add_recipients(5)
        with_addresses(monkeypatch, black_hole, (socket.AF_INET, ("127.0.0.1", server.port)))
        addresses = tried(monkeypatch)
        hole = Address(*black_hole)
        installation.save_email(1)
        began = time.monotonic()
        (warning,) = sweep_once(installation)
        assert time.monotonic() - began < 20, "it took the whole timeout"
        assert warning == f"WARNING {hole} does not respond; for a day, other addresses of mail.example are tried first"
        assert addresses[0] == hole and addresses.count(hole) == 1
        assert installation.log() == ["1", warning] or installation.log() == [warning, "1"]
        addresses.clear()
        installation.save_email(2)
        assert sweep_once(installation) == []
        assert addresses and hole not in addresses
    assert len(server.accepted) == 10


def test_a_host_whose_addresses_all_swallow_everything_is_one_error_and_not_remembered(
    monkeypatch: pytest.MonkeyPatch, black_hole: tuple[int, tuple[Any, ...]], tmp_path: Path
) -> None:
    installation = Installation(tmp_path, EMAIL_URL="smtp://mail.example:25")
    installation.add_recipients(1)
    installation.save_email(1)
    monkeypatch.setattr("delivery.smtp.pool.NEVER", 0.2)
    with_addresses(monkeypatch, black_hole, black_hole)
    (error,) = sweep_once(installation)
    assert error.count("timed out at CONNECT") >= 1 and error.startswith("ERROR mail.example:25: ")
    with installation.database() as database:
        assert database.unreachable_addresses.all(0) == {}


def test_a_check_of_the_login_is_not_stopped_by_an_address_that_swallows_everything(
    monkeypatch: pytest.MonkeyPatch, black_hole: tuple[int, tuple[Any, ...]]
) -> None:
    with ScriptedServer() as server:
        with_addresses(monkeypatch, black_hole, (socket.AF_INET, ("127.0.0.1", server.port)))
        assert try_login(SMTPServer("mail.example", server.port)).address == f"[127.0.0.1]:{server.port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_works() -> None:
    try:
        server = ScriptedServer(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with server:
        sender(server.port, host="::1").deliver(queue := FakeQueue(envelopes(5)))
    assert len(queue.of_kind(Kind.SENT)) == 5
