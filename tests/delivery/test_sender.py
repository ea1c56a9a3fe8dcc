"""The sender's policy, against a scripted server on real sockets and Debian's smtp-sink."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from delivery.outcome import Envelope, Kind, Outcome, SessionError
from delivery.pace import LATE, Pace
from delivery.sender import SMTPServer
from delivery.smtp import transport
from delivery.smtp.command import LIMITS, Step
from delivery.smtp.transport import Address
from tests.support.sender import deliver, sender
from tests.support.smtp_server import Call, Close, Reset, ScriptedServer, Wait
from tests.support.smtp_work import KeptWork, envelope, envelopes, message

SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_sink = pytest.mark.skipif(SINK is None, reason="smtp-sink is not installed")


def refusal(server: ScriptedServer, work: KeptWork, **how: Any) -> str:
    with pytest.raises(SessionError) as caught:
        sender(server.port, **how).deliver(work)
    assert not work.unaccounted
    return caught.value.reason


def only(number: int, action: Any) -> Any:
    return lambda line, n: action if n == number else None


# What becomes of messages


def test_each_recipient_gets_the_message_once() -> None:
    with ScriptedServer() as server:
        work = deliver(server, KeptWork(envelopes(500), connections=4))
    assert Counter(server.recipients) == Counter(f"user{n}@example.com" for n in range(500))
    assert work.of_kind(Kind.SENT) == sorted(server.recipients)
    assert server.most_at_once <= 4


def test_nothing_to_do_opens_no_connection() -> None:
    with ScriptedServer() as server:
        deliver(server, KeptWork([]))
        assert server.peers == []


def test_no_more_connections_are_opened_than_there_is_work_for() -> None:
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.1), "250 ok")}) as server:
        deliver(server, KeptWork(envelopes(2)), connections=30)
        assert len(server.peers) <= 2


def test_a_connection_is_closed_after_its_number_of_messages() -> None:
    with ScriptedServer() as server:
        work = deliver(server, KeptWork(envelopes(50), connections=3), connections=3, messages_per_connection=10)
    assert len(work.of_kind(Kind.SENT)) == 50
    used = [peer.raw for peer in server.peers if b"MAIL FROM" in peer.raw]
    assert len(used) >= 5
    assert all(raw.count(b"MAIL FROM") <= 10 and raw.endswith(b"QUIT\r\n") for raw in used)
    assert server.most_at_once <= 3


def test_each_answer_becomes_its_own_outcome() -> None:
    answers = {b"user3@": "450 4.2.1 later", b"user5@": "550 5.1.1 no such user", b"user7@": "552 too many"}
    on = {"RCPT": lambda line, n: next((reply for part, reply in answers.items() if part in line), None)}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(10)))
    assert work.of_kind(Kind.FAILED) == ["user5@example.com"]
    assert work.of_kind(Kind.DEFERRED) == ["user3@example.com", "user7@example.com"]
    assert len(work.of_kind(Kind.SENT)) == len(server.accepted) == 7
    assert all(abs(outcome.at - time.time()) < 60 for outcome in work.outcomes)


def test_what_cannot_be_sent_fails_alone() -> None:
    odd = [
        envelope("jörg@example.com", 100),
        envelope("a" * 65 + "@example.com", 101),
        envelope("a\r\nDATA@example.com", 102),
        envelope("big@example.com", 103, message("x\n" * 3000)),
    ]
    with ScriptedServer(offers=("PIPELINING", "SIZE 2000")) as server:
        work = deliver(server, KeptWork([*odd, *envelopes(10), *[odd[0]._replace(recipient_id=104)]]))
    assert len(work.of_kind(Kind.SENT)) == 10
    assert len(work.of_kind(Kind.FAILED)) == 5
    assert any("SMTPUTF8" in reply for reply in work.replies())
    assert any("the server takes 2000" in reply for reply in work.replies())


def test_non_ascii_addresses_and_content_go_as_the_server_offers() -> None:
    german = message("Grüße aus München\n", subject="Grüße")
    todo = [envelope("jörg@münchen.example", 1, german), envelope("a@münchen.example", 2, german)]
    with ScriptedServer(offers=("PIPELINING", "8BITMIME", "SMTPUTF8")) as server:
        deliver(server, KeptWork(todo))
    assert sorted(server.recipients) == ["a@xn--mnchen-3ya.example", "jörg@xn--mnchen-3ya.example"]
    assert all("Grüße aus".encode() in one.content for one in server.accepted)
    with ScriptedServer(offers=("PIPELINING",)) as server:
        work = deliver(server, KeptWork(todo))
    assert work.of_kind(Kind.FAILED) == ["jörg@münchen.example"]
    assert all(one.content.isascii() for one in server.accepted)


def test_dots_arrive_as_they_were_written() -> None:
    text = ".\n..\n.x\nMAIL FROM:<x>\n\r.\r\nlast."
    with ScriptedServer() as server:
        deliver(server, KeptWork([envelope("a@example.com", 100, message(text)), *envelopes(3)]))
    raw = next(one.content for one in server.accepted if one.recipient == b"a@example.com")
    lines = raw.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert [line.removeprefix(b".") for line in lines] == [b".", b"..", b".x", b"MAIL FROM:<x>", b"", b".", b"last."]
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")


# Pipelining


@pytest.mark.parametrize("how", [{"follows": False}, {"groups": False}, {"offers": ()}])
def test_a_server_that_trips_over_pipelining_gets_every_message_once(how: dict[str, Any]) -> None:
    with ScriptedServer(**how) as server:
        work = deliver(server, KeptWork(envelopes(60)), connections=3)
    assert len(work.of_kind(Kind.SENT)) == 60
    assert Counter(server.recipients) == Counter(work.of_kind(Kind.SENT))
    assert sum(b"503" in reply.encode() for reply in work.replies()) == 0


def test_a_server_that_hangs_up_on_what_follows_a_dot_does_so_once() -> None:
    def hang_up(line: bytes, n: int) -> Any:
        peer = server.peers[-1]
        return Close() if peer.raw.rpartition(b"\r\n.\r\n")[2].startswith(b"MAIL") else None

    with ScriptedServer(on={"CONTENT": hang_up}) as server:
        work = deliver(server, KeptWork(envelopes(20)), connections=1)
    assert len(work.of_kind(Kind.IN_DOUBT)) == 1
    assert len(work.of_kind(Kind.SENT)) == 19


def test_a_503_is_judged_once_commands_go_one_by_one() -> None:
    with ScriptedServer(offers=(), on={"RCPT": only(1, "503 5.5.1 no")}) as server:
        work = deliver(server, KeptWork(envelopes(3)), connections=1)
    assert len(work.of_kind(Kind.FAILED)) == 1


# Connections that break


def test_an_idle_connection_that_was_closed_costs_no_attempt() -> None:
    for end in (Close(), Reset(), ("421 4.4.2 idle too long", Close())):
        with ScriptedServer(on={"MAIL": lambda line, n, end=end: end if n in (3, 7) else None}) as server:
            work = deliver(server, KeptWork(envelopes(10)), connections=1)
        assert len(work.of_kind(Kind.SENT)) == len(server.accepted) == 10


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "CONTENT"])
def test_421_closes_the_connection_and_defers_that_message_alone(verb: str) -> None:
    with ScriptedServer(on={verb: only(4, ("421 4.3.2 closing", Wait(5)))}) as server:
        began = time.monotonic()
        work = deliver(server, KeptWork(envelopes(20)), connections=2)
    assert len(work.of_kind(Kind.DEFERRED)) == 1
    assert len(work.of_kind(Kind.SENT)) == len(server.accepted) == 19
    assert time.monotonic() - began < 4, "the connection was not kept"


def test_connections_that_break_do_not_end_a_sweep_that_makes_progress() -> None:
    with ScriptedServer(on={"DATA": lambda line, n: Reset() if n % 3 == 2 else None}) as server:
        work = deliver(server, KeptWork(envelopes(200)))
    assert len(work.outcomes) == 200
    assert len(work.of_kind(Kind.SENT)) == len(server.accepted) > 100


def test_a_server_that_breaks_every_connection_ends_the_sweep() -> None:
    with ScriptedServer(on={"DATA": lambda line, n: Close()}) as server:
        work = KeptWork(envelopes(500))
        reason = refusal(server, work)
    assert "connections in a row broke" in reason
    assert len(work.of_kind(Kind.DEFERRED)) < 40
    assert len(work.returned) + len(work.outcomes) + len(work.todo) == 500


def test_an_error_at_quit_changes_nothing() -> None:
    for answer in ("500 5.5.1 no", Close(), Reset(), "what"):
        with ScriptedServer(on={"QUIT": lambda line, n, answer=answer: answer}) as server:
            work = deliver(server, KeptWork(envelopes(3)))
        assert len(work.of_kind(Kind.SENT)) == len(server.accepted) == 3


def test_a_server_silent_at_quit_is_not_waited_for_long() -> None:
    began = time.monotonic()
    with ScriptedServer(on={"QUIT": lambda line, n: Wait(8)}) as server:
        deliver(server, KeptWork(envelopes(3)), limits={**LIMITS, Step.QUIT: 0.3})
    assert time.monotonic() - began < 3


# Servers that want none of it


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ({"CONNECT": lambda line, n: "554 5.7.1 go away"}, "554 5.7.1 go away"),
        ({"CONNECT": lambda line, n: ("421 4.3.2 busy", Close())}, "421 4.3.2 busy"),
        ({"CONNECT": lambda line, n: Close()}, "closed the connection"),
        ({"EHLO": lambda line, n: "502 what"}, "502 what"),
        ({"MAIL": lambda line, n: "550 5.7.1 not as this sender"}, "550 5.7.1 not as this sender"),
        ({"MAIL": only(5, "530 5.7.0 log in first")}, "530 5.7.0 log in first"),
    ],
)
def test_a_server_that_refuses_the_session_gets_one_error_and_all_is_given_back(on: Any, said: str) -> None:
    with ScriptedServer(on=on) as server:
        work = KeptWork(envelopes(300))
        reason = refusal(server, work)
    assert said in reason
    assert reason.startswith(f"127.0.0.1:{server.port}: ")
    assert {outcome.kind for outcome in work.outcomes} <= {Kind.SENT}
    assert len(server.accepted) == len(work.outcomes)


def test_a_wrong_password_is_tried_once() -> None:
    with ScriptedServer(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "535 5.7.8 wrong"}) as server:
        work = KeptWork(envelopes(300))
        reason = refusal(server, work, user="user", password="secret", connections=20)
    assert "535 5.7.8 wrong" in reason
    assert "secret" not in reason
    assert server.script.counts["AUTH"] == 1
    assert "secret" not in repr(SMTPServer("h", 25, "tls", "user", "secret"))


def test_a_server_that_is_not_there_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    work = KeptWork(envelopes(300))
    with pytest.raises(SessionError, match="refused"):
        sender(port).deliver(work)
    assert len(work.returned) + len(work.todo) == 300
    for host in ("no-such-host.invalid", "a..b", "x" * 300):
        with pytest.raises(SessionError, match=host[:20]):
            sender(25, host=host).deliver(KeptWork(envelopes(1)))


def test_twenty_equal_refusals_in_a_row_stop_the_sweep() -> None:
    on = {"RCPT": lambda line, n: f"554 5.7.1 {line[8:].decode()}: Relay access denied"}
    with ScriptedServer(on=on) as server:
        work = KeptWork(envelopes(500))
        reason = refusal(server, work, connections=30)
    assert "20 recipients in a row were refused: 554 5.7.1" in reason
    assert "Relay access denied" in reason
    assert len(work.of_kind(Kind.FAILED)) == 20
    assert len(work.returned) + len(work.outcomes) + len(work.todo) == 500


def test_refusals_that_differ_or_have_a_success_between_stop_nothing() -> None:
    on = {"RCPT": lambda line, n: f"550 5.7.1 no {n}" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(80)))
    assert len(work.of_kind(Kind.FAILED)) == 60
    on = {"RCPT": lambda line, n: None if n % 15 == 14 else "550 5.7.1 no"}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(90)), connections=1)
    assert len(work.of_kind(Kind.FAILED)) == 84


def test_dead_addresses_in_a_row_stop_nothing() -> None:
    on = {"RCPT": lambda line, n: "550 5.1.1 User unknown" if n < 60 else None}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(80)))
    assert (len(work.of_kind(Kind.FAILED)), len(work.of_kind(Kind.SENT))) == (60, 20)


def test_a_server_that_allows_fewer_connections_gets_fewer() -> None:
    def greet(line: bytes, n: int) -> Any:
        return ("421 4.7.0 too many connections", Close()) if server._at_once > 2 else None

    on = {"CONNECT": greet, "CONTENT": lambda line, n: (Wait(0.01), "250 ok")}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(100)), connections=10)
    assert len(work.of_kind(Kind.SENT)) == 100
    assert len(server.peers) < 30


def test_without_descriptors_for_more_connections_the_sweep_goes_on_with_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.005), "250 ok")}) as server:
        code = (
            "import sys, resource; sys.path.insert(0, '.')\n"
            "from tests.support.smtp_work import *; from delivery.sender import *\n"
            "work = KeptWork(envelopes(100))\n"
            "one = SMTPSender(SMTPServer('127.0.0.1', int(sys.argv[1])), connections=50)\n"
            "one._addresses()\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))\n"
            "one.deliver(work); print(len(work.of_kind(Kind.SENT)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(server.port)], capture_output=True, text=True, check=False
        )
    assert done.stdout.strip() == "100", done.stderr
    assert soft <= hard


# Addresses


def with_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[Any, ...]]) -> None:
    monkeypatch.setattr(transport, "resolve", lambda host, port: [Address(*address) for address in addresses])


def test_the_addresses_of_a_host_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()[1]
    with ScriptedServer() as server:
        v6 = (socket.AF_INET6, ("::1", dead, 0, 0))
        v4 = (socket.AF_INET, ("127.0.0.1", server.port))
        with_addresses(monkeypatch, v6, (socket.AF_INET, ("127.0.0.1", dead)), v4)
        work = deliver(server, KeptWork(envelopes(30)), messages_per_connection=5)
    assert len(work.of_kind(Kind.SENT)) == 30
    with_addresses(monkeypatch, v6, (socket.AF_INET, ("127.0.0.1", dead)))
    with pytest.raises(SessionError) as caught:
        sender(25).deliver(KeptWork(envelopes(1)))
    assert caught.value.reason.count("refused") + caught.value.reason.count("unreachable") >= 1
    assert f"[127.0.0.1]:{dead}" in caught.value.reason


def test_an_address_that_swallows_everything_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with ScriptedServer() as server:
            black_hole = (socket.AF_INET, full.getsockname())
            with_addresses(monkeypatch, black_hole, (socket.AF_INET, ("127.0.0.1", server.port)))
            work = deliver(server, KeptWork(envelopes(5)), limits={**LIMITS, Step.CONNECT: 0.3})
        assert len(work.of_kind(Kind.SENT)) == 5
    finally:
        for one in (full, *fillers):
            one.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_works() -> None:
    try:
        server = ScriptedServer(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with server:
        sender(server.port, host="::1").deliver(work := KeptWork(envelopes(5)))
    assert len(work.of_kind(Kind.SENT)) == 5


# The two-phase record


def test_nothing_ends_before_it_is_recorded() -> None:
    early: list[int] = []

    def on_record(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        before = sum(peer.raw.count(b"\r\n.\r\n") for peer in server.peers)
        early.append(before - len(started))
        started.update(envelope.recipient_id for envelope in ending)

    started: set[int] = set()
    with ScriptedServer() as server:
        work = KeptWork(envelopes(100), connections=4)
        work.on_record = on_record
        deliver(server, work)
    assert max(early) <= 0, "a dot left before it was recorded that it would"
    assert work.most_in_doubt <= 4


def test_a_record_that_fails_lets_nothing_more_end() -> None:
    def fail(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        if work.records == 5:
            raise OSError("disk full")

    with ScriptedServer() as server:
        work = KeptWork(envelopes(100))
        work.on_record = fail
        with pytest.raises(OSError, match="disk full"):
            sender(server.port).deliver(work)
        time.sleep(0.1)
        accepted = len(server.accepted)
    assert work.records == 5
    assert accepted <= len(work.of_kind(Kind.SENT)) + len(work.ending)


def test_an_envelope_that_is_no_longer_ours_is_not_ended() -> None:
    with ScriptedServer() as server:
        work = KeptWork(envelopes(20))
        work.lost = {3, 11}
        deliver(server, work)
    assert len(server.accepted) == len(work.of_kind(Kind.SENT)) == 18
    assert not {"user3@example.com", "user11@example.com"} & {*server.recipients, *work.kinds}
    assert all(one.content for one in server.accepted), "no empty mail instead"


def test_without_a_lease_nothing_more_ends() -> None:
    def lose(outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        work.lease_holds = work.records < 4

    with ScriptedServer() as server:
        work = KeptWork(envelopes(100))
        work.on_record = lose
        sender(server.port).deliver(work)
        time.sleep(0.1)
    assert not work.unaccounted
    assert len(server.accepted) == len(work.of_kind(Kind.SENT)) < 100


def test_a_known_answer_is_recorded_even_when_nothing_else_goes_on() -> None:
    with ScriptedServer() as server:
        work = deliver(server, KeptWork(envelopes(1)))
    assert work.replies() == ["250 2.0.0 Ok: queued"]


# Stopping


def test_stopping_finishes_what_is_in_flight_and_gives_back_the_rest() -> None:
    on = {"CONTENT": lambda line, n: (Call(lambda: setattr(work, "stopping", n >= 20)), Wait(0.05), "250 ok")}
    with ScriptedServer(on=on) as server:
        work = KeptWork(envelopes(400))
        sender(server.port).deliver(work)
    assert not work.unaccounted
    assert set(work.kinds.values()) == {Kind.SENT}
    assert len(server.accepted) == len(work.outcomes) < 40
    assert len(work.returned) + len(work.outcomes) + len(work.todo) == 400


def test_what_has_no_answer_when_the_time_to_stop_is_over_is_in_doubt() -> None:
    on = {
        "CONTENT": lambda line, n: (Call(lambda: setattr(work, "stopping", True)), Wait(20)) if n == 5 else None,
        "DATA": lambda line, n: Wait(20) if n > 8 else None,
    }
    began = time.monotonic()
    with ScriptedServer(on=on) as server:
        work = KeptWork(envelopes(50), connections=2)
        sender(server.port, connections=2, time_to_stop=0.5).deliver(work)
    assert time.monotonic() - began < 5
    assert not work.unaccounted
    assert len(work.of_kind(Kind.IN_DOUBT)) == 1
    assert len(work.of_kind(Kind.DEFERRED)) == 0
    assert len(work.of_kind(Kind.SENT)) == len(server.accepted)


def test_a_sender_told_to_stop_at_once_sends_nothing() -> None:
    with ScriptedServer() as server:
        work = KeptWork(envelopes(5))
        work.stopping = True
        sender(server.port).deliver(work)
        assert server.peers == []
    assert len(work.todo) == 5


def test_work_that_comes_while_the_last_message_is_under_way_is_not_left() -> None:
    def more(line: bytes, n: int) -> Any:
        if n:
            return None
        return (Call(lambda: work.todo.extend(envelopes(9)[5:])), Wait(2), "250 ok")

    with ScriptedServer(on={"CONTENT": more}) as server:
        work = KeptWork(envelopes(1))
        deliver(server, work)
        assert len(server.accepted) == 5
        assert server.recipients[-1] == "user0@example.com", "the slow one was not waited for"


# Pace


def test_messages_are_spread_evenly_at_the_highest_rate() -> None:
    times: list[float] = []
    on = {"MAIL": lambda line, n: (Call(lambda: times.append(time.monotonic())), "250 ok")}
    with ScriptedServer(on=on) as server:
        work = deliver(server, KeptWork(envelopes(41)), max_rate=40, connections=8)
    assert len(work.of_kind(Kind.SENT)) == 41
    times.sort()
    assert 0.95 <= times[-1] - times[0] <= 2.5
    for first, last in zip(times, times[20:], strict=False):
        assert last - first > 0.35, "a burst"
    assert len(server.peers) <= 3, "a slow pace needs few connections"


def test_a_slow_pace_claims_little_ahead() -> None:
    with ScriptedServer() as server:
        work = KeptWork(envelopes(100))
        work.on_record = lambda outcomes, ending: setattr(work, "stopping", True)
        sender(server.port, max_rate=5, connections=50).deliver(work)
    assert len(work.returned) + len(work.outcomes) <= 10
    assert not work.unaccounted


def test_the_pace_catches_up_with_its_own_lateness_but_never_with_a_pause() -> None:
    pace = Pace(10, 0.0)
    assert [pace.start(now) for now in (0.0, 0.05, 0.101, 0.201, 0.301)] == [True, False, True, True, True]
    assert pace.start(100.0)
    assert not pace.start(100.0 + 0.1 - LATE - 0.001)
    assert pace.start(100.0 + 0.1 - LATE)
    assert all(Pace(0, 0.0).start(0.0) for _ in range(10))


# Kills


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    processes[0].kill()


def test_a_killed_sender_leaves_at_most_one_message_in_doubt_on_each_connection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.support.smtp_work import *; from delivery.sender import *\n"
        "log = open(sys.argv[2], 'a', buffering=1)\n"
        "def write(outcomes, ending):\n"
        "    for o in outcomes: log.write(f'done {o.envelope.recipient_id} {o.kind.value}\\n')\n"
        "    for e in ending: log.write(f'ending {e.recipient_id}\\n')\n"
        "work = KeptWork(envelopes(60)); work.on_record = write\n"
        "SMTPSender(SMTPServer('127.0.0.1', int(sys.argv[1])), connections=3).deliver(work)\n"
    )
    for verb, number in (("CONTENT", 10), ("DATA", 10), ("RCPT", 10), ("MAIL", 10), ("CONTENT", 0)):
        log.write_text("")
        sending: list[subprocess.Popen[bytes]] = []
        kill = Call(partial(_kill, sending))
        answer = {"DATA": "354 go"}.get(verb, "250 ok")
        with ScriptedServer(on={verb: only(number, (kill, Wait(0.05), answer))}) as server:
            sending.append(subprocess.Popen([sys.executable, "-c", code, str(server.port), str(log)]))
            assert sending[0].wait(30) == -signal.SIGKILL
            time.sleep(0.1)
        lines = [line.split() for line in log.read_text().splitlines()]
        done = {int(line[1]) for line in lines if line[0] == "done"}
        in_doubt = {int(line[1]) for line in lines if line[0] == "ending"} - done
        accepted = {int(address.removeprefix("user").partition("@")[0]) for address in server.recipients}
        assert len(in_doubt) <= 3
        assert done <= accepted <= done | in_doubt
        assert len(server.recipients) == len(accepted)


# Anything at any time

FAULTS: list[Any] = [
    ("450 4.0.0 later",),
    ("550 5.1.1 no",),
    ("421 4.3.2 closing", Close()),
    (Close(),),
    (Reset(),),
    ("what",),
    ("250 odd",),
    ("503 5.5.1 odd",),
    ("250 usual", "250 stray"),
    (Wait(0.01), "250 slow"),
]


@pytest.mark.parametrize("offers", [("PIPELINING", "SIZE"), ()])
def test_random_faults_lose_nothing_and_double_nothing(offers: tuple[str, ...]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for number in range(25):
        source = random.Random(seed + number)

        def sometimes(line: bytes, n: int, source: random.Random = source) -> Any:
            return source.choice(FAULTS) if source.random() < 0.05 else None

        verbs = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "RSET", "QUIT")
        with ScriptedServer(offers=offers, on=dict.fromkeys(verbs, sometimes)) as server:
            work = KeptWork(envelopes(60), connections=3)
            with suppress(SessionError):
                sender(server.port, connections=3, messages_per_connection=7).deliver(work)
            time.sleep(0.02)
        assert not work.unaccounted
        accepted = Counter(server.recipients)
        assert accepted.total() == len(accepted), "doubled"
        assert set(work.of_kind(Kind.SENT)) <= set(accepted), "lost"
        assert set(accepted) <= set(work.of_kind(Kind.SENT)) | set(work.of_kind(Kind.IN_DOUBT))


# smtp-sink


@contextmanager
def sink(*options: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([SINK or "", *as_user, *options, f"127.0.0.1:{port}", "200"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


@needs_sink
@pytest.mark.parametrize("options", [[], ["-p"], ["-e"], ["-w", "1"], ["-8"]])
def test_smtp_sink_takes_everything_whatever_it_offers(options: list[str]) -> None:
    with sink(*options) as port:
        work = KeptWork(envelopes(12 if "-w" in options else 300))
        if "-e" in options:  # no ESMTP: EHLO is refused
            with pytest.raises(SessionError):
                sender(port).deliver(work)
            return
        sender(port, connections=8).deliver(work)
    assert len(work.of_kind(Kind.SENT)) == len(work.outcomes)


@needs_sink
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-r", "rcpt"], Kind.DEFERRED),
        (["-r", "data"], Kind.DEFERRED),
        (["-r", "."], Kind.DEFERRED),
        (["-f", "data"], Kind.FAILED),
        (["-f", "."], Kind.FAILED),
        (["-r", "mail"], Kind.DEFERRED),
    ],
)
def test_refusals_of_smtp_sink_are_told_apart(options: list[str], kind: Kind) -> None:
    with sink(*options) as port:
        work = KeptWork(envelopes(15))
        sender(port).deliver(work)
    assert Counter(work.kinds.values()) == {kind: 15}


@needs_sink
@pytest.mark.parametrize("command", ["connect", "ehlo", "mail"])
def test_hard_refusals_of_the_session_by_smtp_sink_are_one_error(command: str) -> None:
    with sink("-f", command) as port:
        work = KeptWork(envelopes(50))
        with pytest.raises(SessionError):
            sender(port).deliver(work)
    assert work.outcomes == []
    assert not work.unaccounted


@needs_sink
@pytest.mark.parametrize("command", ["rcpt", "data", "."])
def test_disconnects_of_smtp_sink_end_the_sweep_and_lose_nothing(command: str) -> None:
    with sink("-q", command) as port:
        work = KeptWork(envelopes(200))
        with pytest.raises(SessionError, match="in a row broke"):
            sender(port).deliver(work)
    assert not work.unaccounted
    assert set(work.kinds.values()) == {Kind.IN_DOUBT if command == "." else Kind.DEFERRED}


@needs_sink
def test_a_thousand_messages_over_sixteen_connections() -> None:
    with sink() as port:
        work = KeptWork(envelopes(3000), connections=16)
        sender(port, connections=16, messages_per_connection=50).deliver(work)
    assert len(work.of_kind(Kind.SENT)) == 3000
    assert work.records < 3000, "commits are shared"


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with ScriptedServer() as server:
        deliver(server, KeptWork(envelopes(3)))
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before
