"""Real sockets: fragmented data, TLS, deadlines, and servers that hang up."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from delivery.interface import Kind, SessionError
from delivery.smtp.command import STEP_TIMEOUTS, Step
from delivery.smtp.sender import SMTPSender, SMTPServer
from delivery.smtp.transport import SelectorPoller, Tls, ehlo_name, resolve, tls_context
from tests.support.faults.killer import wait_until
from tests.support.servers.fake_queue import FakeQueue, envelope, envelopes, message
from tests.support.servers.smtp_server import Call, Close, Handler, Pieces, Reset, ScriptedServer, StartTLS, Wait


def scaled(**seconds: float) -> Mapping[Step, float]:
    """Return the usual deadlines, except for these."""
    return {**STEP_TIMEOUTS, **{Step[name]: value for name, value in seconds.items()}}


def sender(server: ScriptedServer, host: str = "127.0.0.1", **how: Any) -> SMTPSender:
    to_server = {name: how.pop(name) for name in ("security", "user", "password", "ca_file") if name in how}
    how.setdefault("connections", 2)
    return SMTPSender(SMTPServer(host, server.port, **to_server), hostname="client.example", **how)


def deliver(server: ScriptedServer, queue: FakeQueue, **how: Any) -> FakeQueue:
    sender(server, **how).deliver(queue)
    assert not queue.unaccounted
    return queue


@pytest.mark.parametrize("new_poller", [None, SelectorPoller])
def test_messages_arrive_whatever_waits_for_the_sockets(new_poller: Any) -> None:
    how = {"new_poller": new_poller} if new_poller else {}
    with ScriptedServer() as server:
        queue = deliver(server, FakeQueue(envelopes(50), connections=4), connections=4, **how)
    assert sorted(server.recipients) == queue.of_kind(Kind.SENT)
    assert len(queue.outcomes) == 50


def test_replies_in_pieces_make_no_difference() -> None:
    def in_pieces(reply: str) -> Handler:
        return lambda line, n: Pieces(reply, 1 + n % 3)

    replies = {"CONNECT": "220 hi", "MAIL": "250 ok", "RCPT": "250 ok", "CONTENT": "250 2.0.0 taken"}
    on = {verb: in_pieces(reply) for verb, reply in replies.items()}
    with ScriptedServer(on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(20)))
    assert len(queue.of_kind(Kind.SENT)) == 20


def test_a_large_message_goes_out_in_as_many_pieces_as_it_takes() -> None:
    large = message("".join(f"line {n} of a long text\n" for n in range(40_000)))
    todo = [envelope("a@example.com", 1, large), envelope("b@example.com", 2, large)]
    with ScriptedServer(receive_buffer=4096, on={"DATA": lambda line, n: ("354 go", Wait(0.2))}) as server:
        queue = deliver(server, FakeQueue(todo), connections=1)
    assert queue.of_kind(Kind.SENT) == ["a@example.com", "b@example.com"]
    assert [
        len(one.content) > 800_000 and one.content.endswith(b"line 39999 of a long text") for one in server.accepted
    ] == [True, True]


def test_a_refusal_in_the_middle_of_a_large_message_counts() -> None:
    large = message("x" * 70 + "\n" + ("y" * 70 + "\n") * 100_000)
    with ScriptedServer(at_octet={1_000_000: ("552 5.3.4 too big", Close())}) as server:
        queue = deliver(server, FakeQueue([envelope("a@example.com", 1, large)]))
    assert queue.replies() == ["552 5.3.4 too big"]
    assert queue.kinds == {"a@example.com": Kind.FAILED}


@pytest.mark.parametrize("end", [Close(), Reset()])
def test_a_connection_lost_in_the_middle_of_a_message_defers_it(end: Any) -> None:
    large = message("x" * 70 + "\n" + ("y" * 70 + "\n") * 100_000)
    with ScriptedServer(at_octet={1_000_000: end}) as server:
        queue = deliver(server, FakeQueue([envelope("a@example.com", 1, large)]))
    assert queue.kinds == {"a@example.com": Kind.DEFERRED}


@pytest.mark.parametrize("end", [Close(), Reset()])
def test_a_connection_lost_after_the_dot_leaves_that_message_in_doubt(end: Any) -> None:
    with ScriptedServer(on={"CONTENT": lambda content, n: end if n == 1 else None}) as server:
        queue = deliver(server, FakeQueue(envelopes(6), connections=1), connections=1)
    assert sorted(queue.kinds.values(), key=str) == [Kind.IN_DOUBT] + [Kind.SENT] * 5
    assert "after the final dot" in "".join(queue.replies())


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_messages_arrive_under_tls(security: str, certificate: str) -> None:
    on = {"CONTENT": lambda content, n: Pieces("250 2.0.0 taken", 1) if n % 7 == 0 else None}
    offers = ("STARTTLS",) if security == "starttls" else ("PIPELINING", "AUTH PLAIN LOGIN")
    how: Any = {"offers": offers, "offers_in_tls": ("PIPELINING", "AUTH PLAIN LOGIN", "SIZE")}
    with ScriptedServer(certificate=certificate, tls_at_once=security == "tls", on=on, **how) as server:
        login = {"user": "user", "password": "secret", "ca_file": certificate, "security": security}
        queue = deliver(server, FakeQueue(envelopes(40)), **login)
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted) == 40
    assert b"AUTH PLAIN AHVzZXIAc2VjcmV0" in server.script.lines


def test_the_final_dot_of_a_host_name_counts_for_its_look_up_alone(
    certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, asked = socket.getaddrinfo, []

    def look_up_without_dot(host: str, *how: Any, **named: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1", *how, **named)

    monkeypatch.setattr("socket.getaddrinfo", look_up_without_dot)
    for security in ("starttls", "tls"):
        with ScriptedServer(certificate=certificate, tls_at_once=security == "tls", offers=("STARTTLS",)) as server:
            how: Any = {"security": security, "ca_file": certificate, "host": "localhost."}
            queue = deliver(server, FakeQueue(envelopes(2)), **how)
        assert len(queue.of_kind(Kind.SENT)) == 2
    assert set(asked) == {"localhost."}


def test_tls_from_the_start_where_the_server_wants_starttls_is_noticed(certificate: str) -> None:
    with ScriptedServer(certificate=certificate, offers=("STARTTLS",)) as server:
        began = time.monotonic()
        reason = refused(server, security="tls", ca_file=certificate)
    assert "220 scripted.example ESMTP" in reason and "use smtp+tls://" in reason
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("security", ["starttls", "none"])
def test_a_server_that_waits_for_tls_is_noticed_within_seconds(
    certificate: str, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.smtp.connection.TLS_PROBE_SECONDS", 0.1)
    with ScriptedServer(certificate=certificate, tls_at_once=True) as server:
        began = time.monotonic()
        reason = refused(server, security=security)
    assert "use smtp+ssl://" in reason
    assert time.monotonic() - began < 60, "it took as long as a greeting may"


def test_a_slow_server_is_not_taken_for_one_that_waits_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.smtp.connection.TLS_PROBE_SECONDS", 0.1)
    probed = threading.Event()

    def greet(line: bytes, n: int) -> Any:
        if n > 0:
            probed.set()
            return Close()
        return Call(lambda: probed.wait(30)), "220 at last"

    with ScriptedServer(on={"CONNECT": greet}) as server:
        queue = deliver(server, FakeQueue(envelopes(1)), connections=1)
    assert probed.is_set() and queue.kinds == {"user0@example.com": Kind.SENT}


def test_a_large_message_goes_through_tls(certificate: str) -> None:
    large = message("".join(f"line {n} of a long text\n" for n in range(50_000)))
    with ScriptedServer(certificate=certificate, tls_at_once=True, receive_buffer=4096) as server:
        queue = deliver(server, FakeQueue([envelope("a@example.com", 1, large)]), security="tls", ca_file=certificate)
    assert queue.kinds == {"a@example.com": Kind.SENT}
    assert server.accepted[0].content.endswith(b"line 49999 of a long text")


def refused(server: ScriptedServer, **how: Any) -> str:
    queue = FakeQueue(envelopes(30))
    with pytest.raises(SessionError) as caught:
        sender(server, **how).deliver(queue)
    assert queue.outcomes == []
    assert not queue.unaccounted
    assert not server.accepted
    return caught.value.reason


def test_a_server_with_an_unknown_certificate_gets_nothing(certificate: str) -> None:
    for security in ("starttls", "tls"):
        with ScriptedServer(certificate=certificate, tls_at_once=security == "tls", offers=("STARTTLS",)) as server:
            reason = refused(server, security=security, user="user", password="secret")
        assert "TLS: self-signed certificate" in reason
        assert not any(b"AUTH" in peer.raw or b"MAIL" in peer.raw for peer in server.peers)


def test_a_server_with_a_certificate_for_another_name_gets_nothing(
    certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(certificate=certificate, tls_at_once=True, host="127.0.0.2") as server:
        reason = refused(server, host="127.0.0.2", security="tls", ca_file=certificate)
    assert "IP address mismatch" in reason


def test_without_starttls_no_password_and_no_mail_goes_out() -> None:
    with ScriptedServer(offers=("AUTH PLAIN",)) as server:
        reason = refused(server, security="starttls", user="user", password="secret")
    assert "does not offer STARTTLS" in reason
    assert server.script.lines == [b"EHLO client.example"]


@pytest.mark.parametrize(
    "injected", [("220 go\r\n250 injected",), ("220 go", b"25"), (b"220 go\r\n250 in", b"jected\r\n")]
)
def test_what_was_slipped_in_before_tls_is_never_used(injected: tuple[Any, ...], certificate: str) -> None:
    on = {"STARTTLS": lambda line, n: (*injected, StartTLS())}
    with ScriptedServer(certificate=certificate, offers=("STARTTLS",), on=on) as server:
        reason = refused(server, security="starttls", ca_file=certificate)
    assert "TLS" in reason
    assert not any(b"MAIL" in peer.raw for peer in server.peers)


def test_a_tls_handshake_that_stalls_has_a_deadline(certificate: str) -> None:
    with ScriptedServer(offers=("STARTTLS",), on={"STARTTLS": lambda line, n: ("220 go", Wait(100))}) as server:
        reason = refused(server, security="starttls", ca_file=certificate, timeouts=scaled(TLS=0.2))
    assert "timed out at TLS" in reason


def test_tls_that_ends_without_a_goodbye_is_a_broken_connection(certificate: str) -> None:
    on = {"CONTENT": lambda content, n: Close() if n == 0 else None}
    with ScriptedServer(certificate=certificate, tls_at_once=True, on=on) as server:
        queue = deliver(server, FakeQueue(envelopes(3)), security="tls", ca_file=certificate, connections=1)
    assert sorted(queue.kinds.values(), key=str) == [Kind.IN_DOUBT, Kind.SENT, Kind.SENT]


@pytest.mark.parametrize(
    ("verb", "step", "kind"),
    [
        ("MAIL", "MAIL", Kind.DEFERRED),
        ("RCPT", "RCPT", Kind.DEFERRED),
        ("DATA", "DATA", Kind.DEFERRED),
        ("CONTENT", "CONTENT", Kind.IN_DOUBT),
    ],
)
def test_each_answer_has_a_deadline(verb: str, step: str, kind: Kind) -> None:
    with ScriptedServer(on={verb: lambda line, n: Wait(100) if n == 1 else None}) as server:
        queue = deliver(server, FakeQueue(envelopes(3)), connections=1, timeouts=scaled(**{step: 0.5}))
    assert sorted(queue.kinds.values(), key=str) == sorted([kind, Kind.SENT, Kind.SENT], key=str)
    assert any(f"timed out at {step}" in reply for reply in queue.replies())


def test_an_answer_just_within_its_deadline_counts() -> None:
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.4), "250 2.0.0 at last")}) as server:
        queue = deliver(server, FakeQueue(envelopes(4)), connections=1, timeouts=scaled(CONTENT=1.4))
    assert queue.replies() == ["250 2.0.0 at last"] * 4


def test_a_deadline_is_not_moved_by_an_answer_that_trickles_in() -> None:
    trickle = tuple(action for _ in range(2000) for action in (b"2", Wait(0.05)))
    began = time.monotonic()
    with ScriptedServer(on={"CONTENT": lambda line, n: (b"250-", *trickle)}) as server:
        queue = deliver(server, FakeQueue(envelopes(1)), timeouts=scaled(CONTENT=0.3))
    assert queue.kinds == {"user0@example.com": Kind.IN_DOUBT}
    assert time.monotonic() - began < 50


def test_a_server_that_stops_reading_a_message_has_a_deadline() -> None:
    large = message("x" * 70 + "\n" + ("y" * 70 + "\n") * 100_000)
    with ScriptedServer(receive_buffer=4096, at_octet={100_000: Wait(100)}) as server:
        queue = deliver(server, FakeQueue([envelope("a@example.com", 1, large)]), timeouts=scaled(BLOCK=0.3))
    assert queue.kinds == {"a@example.com": Kind.DEFERRED}


@pytest.mark.parametrize("end", ["EHLO of a million lines", "a line without an end"])
def test_a_reply_without_end_costs_little(end: str) -> None:
    piece = b"250-x\r\n" * 1000 if end.startswith("EHLO") else b"x" * 7000
    start = b"" if end.startswith("EHLO") else b"250 "
    with ScriptedServer(on={"EHLO": lambda line, n: (start, *[piece] * 1000)}) as server:
        reason = refused(server)
    assert "longer than 65536 bytes" in reason


def test_descriptors_are_closed_after_use() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with ScriptedServer(on={"MAIL": lambda line, n: Close() if n % 5 == 4 else None}) as server:
        before = count()
        deliver(server, FakeQueue(envelopes(60)), connections=4, messages_per_connection=3)
        for _ in range(100):
            if count() <= before:
                break
            time.sleep(0.02)
        assert count() <= before


def test_a_host_has_its_addresses_in_the_systems_order() -> None:
    assert all(address.is_loopback for address in resolve("localhost", 25))
    assert str(resolve("127.0.0.1", 25)[0]) == "[127.0.0.1]:25"
    assert not resolve("192.0.2.1", 25)[0].is_loopback


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mail.example.org", "mail.example.org"), ("laptop", "[127.0.0.1]"), ("my_host.example.com", "[127.0.0.1]")],
)
def test_the_name_for_ehlo_is_a_full_name_or_an_address(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    ehlo_name.cache_clear()
    assert ehlo_name(resolve("127.0.0.1", 25)[0]) == expected
    ehlo_name.cache_clear()


def test_a_sender_asks_the_work_to_stay_alive_while_it_waits() -> None:
    def wait_for_two_more() -> None:
        before = queue.lease_renewals
        wait_until(lambda: queue.lease_renewals >= before + 2)

    queue = FakeQueue(envelopes(1))
    with ScriptedServer(on={"CONTENT": lambda line, n: (Call(wait_for_two_more), "250 ok")}) as server:
        deliver(server, queue)
    assert len(queue.of_kind(Kind.SENT)) == 1


def test_a_reply_before_a_broken_record_in_the_same_read_counts(certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    tls = Tls(tls_context(certificate), "localhost")
    tls.handshake()
    while not tls.ready:
        incoming.write(tls.encrypt(b""))
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        tls.feed(outgoing.read())
    incoming.write(tls.encrypt(b""))
    server.do_handshake()
    server.write(b"250 ok\r\n")
    broken = b"\x17\x03\x03\x00\x20" + bytes(32)
    assert tls.feed(outgoing.read() + broken) == b"250 ok\r\n"
    with pytest.raises(OSError, match="BAD_RECORD_MAC"):
        tls.feed(b"")
