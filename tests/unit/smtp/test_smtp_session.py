"""The SMTP state machine against a scripted peer, without sockets or clocks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from delivery.interface import Envelope, Kind
from delivery.smtp.command import Step
from delivery.smtp.errors import LocalError, ProtocolError, UnsendableValueError
from delivery.smtp.handshake import Handshake, Login
from delivery.smtp.session import LARGE_CONTENT_BYTES, Session
from delivery.smtp.state import TRANSITIONS, PipeliningMode, State
from tests.support.samples.smtp_conversations import (
    AT,
    CONVERSATIONS,
    D,
    F,
    Owner,
    Q,
    Result,
    S,
    at_once,
    content_of,
    cut_at,
    new_session,
    nth,
    one_by_one,
    script,
    to,
)
from tests.support.servers.fake_queue import envelope, envelopes, message
from tests.support.servers.smtp_server import Close, Script, StartTLS


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_outcomes_are_the_same_however_the_replies_are_cut(name: str, pipelining: bool) -> None:
    on, addresses, expected = CONVERSATIONS[name]
    todo = to(*addresses)

    def talk(cuts: Callable[[int], int]) -> Result:
        return Owner(new_session(), script(pipelining, on=on), todo).run(cuts)

    whole = talk(at_once)
    assert {address.split("@")[0]: kind for address, kind in whole.kinds} == expected
    accounted = [address for address, _ in whole.kinds] + whole.returned
    assert len(set(accounted)) == len(accounted)
    for cuts in (one_by_one, *(cut_at(position) for position in range(1, whole.read))):
        other = talk(cuts)
        assert (other.kinds, other.replies, other.returned) == (whole.kinds, whole.replies, whole.returned)
        assert other.peer.script.accepted == whole.peer.script.accepted


@pytest.mark.parametrize("mode", list(PipeliningMode))
def test_each_pipelining_mode_sends_the_same_messages(mode: PipeliningMode) -> None:
    result = Owner(new_session(mode), script(), envelopes(5)).run(at_once)
    assert [kind for _, kind in result.kinds] == [S] * 5
    accepted = result.peer.script.accepted
    assert [one.recipient for one in accepted] == [f"user{n}@example.com".encode() for n in range(5)]
    assert all(one.content.startswith(b"Date: ") and one.content.endswith(b"Hello.") for one in accepted)


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_connection_that_breaks_anywhere_gives_each_envelope_its_one_outcome(pipelining: bool) -> None:
    todo = envelopes(3)
    whole = Owner(new_session(), script(pipelining), todo).run(at_once)
    for position in range(1, whole.read):
        owner = Owner(new_session(), script(pipelining), todo)
        result = owner.run(one_by_one, stop_after=position)
        begun = result.session.message_count
        kinds = [kind for _, kind in result.kinds]
        assert len(kinds) + len(result.returned) == begun
        assert kinds.count(Q) <= 1, "one message in doubt on a connection, at most"
        assert kinds == sorted(kinds, key=[S, Q, D].index)
        accepted = {one.recipient.decode() for one in owner.peer.script.accepted}
        assert {address for address, kind in result.kinds if kind is S} <= accepted
        assert accepted <= {address for address, kind in result.kinds if kind in (S, Q)}


def test_one_round_trip_for_each_message_with_pipelining() -> None:
    session = new_session()
    owner = Owner(session, script(), envelopes(3))
    owner.run(at_once)
    assert session.message_count == 3
    trips = owner.peer.raw.count(b"\r\n.\r\nMAIL FROM")
    assert trips == 2
    assert owner.peer.raw.endswith(b"\r\n.\r\nQUIT\r\n")


def test_a_content_goes_out_only_after_its_own_354() -> None:
    session = new_session()
    Owner(session, script(on={"DATA": nth(0, Close())}), envelopes(2)).run(at_once)
    assert b"Date:" not in b"".join([session.data_to_send()])
    with pytest.raises(LocalError):
        new_session().end()


def test_a_recipient_refused_gets_a_lone_dot_and_never_an_empty_mail() -> None:
    on = {"RCPT": nth(1, "550 5.1.1 no"), "DATA": nth(1, "354 go on")}
    result = Owner(new_session(), script(on=on), to("a", "b", "c")).run(at_once)
    assert b"\r\nDATA\r\n.\r\n" in result.peer.raw
    assert [one.recipient for one in result.peer.script.accepted] == [b"a@example.com", b"c@example.com"]
    assert all(len(one.content) > 100 for one in result.peer.script.accepted)


def test_without_a_sender_an_accepted_recipient_gets_no_empty_mail() -> None:
    on = {"MAIL": nth(0, "451 4.3.0 later"), "RCPT": nth(0, "250 odd"), "DATA": nth(0, "354 odd")}
    result = Owner(new_session(), script(on=on), to("a", "b")).run(at_once)
    assert result.kinds == [("a@example.com", D)]
    assert result.peer.script.accepted == []
    assert result.session.state is State.CLOSED


def test_after_a_refused_recipient_the_transaction_is_reset() -> None:
    on = {"RCPT": nth(0, "550 5.1.1 no")}
    result = Owner(new_session(), script(on=on), to("a", "b")).run(at_once)
    assert result.kinds == [("a@example.com", F), ("b@example.com", S)]
    assert result.session.refused == []
    assert result.peer.script.lines[4:6] == [b"RSET", b"MAIL FROM:<news@example.org> SIZE=" + _size(result)]


def _size(result: Result) -> bytes:
    return result.peer.script.lines[1].rpartition(b"=")[2]


def test_a_stray_line_after_an_answer_is_never_counted_for_the_next_message() -> None:
    on = {"CONTENT": nth(0, ("250 2.0.0 Ok", "250 stray"))}
    result = Owner(new_session(), script(on=on), to("a", "b", "c")).run(at_once)
    sent = {address for address, kind in result.kinds if kind is S}
    assert sent <= {one.recipient.decode() for one in result.peer.script.accepted}
    assert result.session.state is State.CLOSED


@pytest.mark.parametrize("early", ["what", "25"])
def test_garbage_before_the_answer_to_a_dot_hides_no_later_answer(early: str) -> None:
    on = {"CONTENT": nth(0, (early, "250 2.0.0 Ok"))}
    result = Owner(new_session(), script(on=on), to("a", "b")).run(at_once)
    assert result.kinds == [("a@example.com", Q)]
    assert result.returned == ["b@example.com"]


@pytest.mark.parametrize(("how", "mode"), [("follows", PipeliningMode.ENVELOPE), ("groups", PipeliningMode.NONE)])
def test_a_server_that_cannot_follow_is_not_believed_and_gets_the_next_mode(how: str, mode: PipeliningMode) -> None:
    todo = to("a", "b", "c")
    kinds: list[tuple[str, Kind]] = []
    current, sessions = PipeliningMode.ACROSS_MESSAGES, 0
    while todo and sessions < 5:
        result = Owner(new_session(current), script(**{how: False}), todo).run(at_once)
        kinds += result.kinds
        done = {address for address, _ in kinds}
        todo = [item for item in todo if item.address not in done]
        current = current if result.session.downgraded_to is None else result.session.downgraded_to
        sessions += 1
    assert [kind for _, kind in kinds] == [S, S, S]
    assert current is mode


@pytest.mark.parametrize(
    ("on", "reason"),
    [
        ({"CONNECT": nth(0, "554 5.7.1 go away")}, "554 5.7.1 go away"),
        ({"CONNECT": nth(0, ("421 4.3.2 busy", Close()))}, "421 4.3.2 busy"),
        ({"EHLO": nth(0, "550 5.7.1 who")}, "550 5.7.1 who"),
        ({"AUTH": nth(0, "535 5.7.8 wrong")}, "535 5.7.8 wrong"),
        ({"AUTH": nth(0, "454 4.7.0 later")}, "454 4.7.0 later"),
        ({"MAIL": nth(0, "550 5.7.1 not as this sender")}, "550 5.7.1 not as this sender"),
        ({"MAIL": nth(0, "530 5.7.0 log in first")}, "530 5.7.0 log in first"),
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_refused_session_is_not_counted_against_any_envelope(
    pipelining: bool, on: dict[str, Any], reason: str
) -> None:
    for cuts in (at_once, one_by_one):
        offers = script(pipelining, on=on)
        offers.offers += ("AUTH PLAIN",)
        result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(cuts)
        assert result.kinds == []
        assert str(result.session.refusal) == reason
        assert "secret" not in str(result.session.refusal)


@pytest.mark.parametrize(
    ("mechanisms", "lines"),
    [
        ("AUTH LOGIN PLAIN", [b"AUTH PLAIN AHVzZXIAc2VjcmV0"]),
        ("AUTH=LOGIN", [b"AUTH LOGIN", b"dXNlcg==", b"c2VjcmV0"]),
    ],
)
def test_the_login_is_said_as_the_server_wants_it(mechanisms: str, lines: list[bytes]) -> None:
    def ask(line: bytes, count: int) -> str | None:
        return "334 VXNlcm5hbWU6" if line == b"AUTH LOGIN" else None

    def ask_again(line: bytes, count: int) -> str | None:
        return "334 UGFzc3dvcmQ6" if count == 0 else None

    offers = Script(offers=("PIPELINING", mechanisms), on={"AUTH": ask, "LINE": ask_again})
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert result.kinds == [("a@example.com", S)]
    assert result.peer.script.lines[1 : 1 + len(lines)] == lines


PLAIN, LOGIN = b"AUTH PLAIN AHVzZXIAc2VjcmV0", [b"AUTH LOGIN", b"dXNlcg==", b"c2VjcmV0"]


@pytest.mark.parametrize("refusal", ["504 5.7.4 no", "535 5.7.8 no", "500 what", "538 5.7.11 no", "501 no"])
def test_a_mechanism_that_is_refused_is_followed_by_the_other_one(refusal: str) -> None:
    answers = iter(["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"])
    on = {
        "AUTH": lambda line, n: refusal if n == 0 else next(answers),
        "LINE": lambda line, n: next(answers, None),
    }
    offers = Script(offers=("AUTH LOGIN PLAIN XOAUTH2",), on=on)
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert result.kinds == [("a@example.com", S)]
    assert offers.lines[1:5] == [PLAIN, *LOGIN]


@pytest.mark.parametrize("second", ["535 5.7.8 second", "454 4.7.0 second", Close(), ("421 4.7.0 bye", Close())])
def test_if_every_mechanism_is_refused_the_first_refusal_is_reported(second: Any) -> None:
    on = {"AUTH": lambda line, n: "535 5.7.8 first" if n == 0 else second}
    offers = Script(offers=("AUTH LOGIN PLAIN",), on=on)
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert result.session.refusal is not None
    assert (str(result.session.refusal), result.session.refusal.final) == ("535 5.7.8 first", True)
    assert result.session.reason == "535 5.7.8 first"
    assert offers.counts["AUTH"] == 2
    assert result.kinds == []


def test_a_temporary_refusal_of_a_mechanism_is_followed_by_no_other() -> None:
    offers = Script(offers=("AUTH LOGIN PLAIN",), on={"AUTH": lambda line, n: "454 4.7.0 later"})
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert str(result.session.refusal) == "454 4.7.0 later"
    assert offers.counts["AUTH"] == 1


def test_a_server_that_asks_after_an_initial_response_is_answered() -> None:
    on = {"AUTH": lambda line, n: "334 "}
    offers = Script(offers=("AUTH PLAIN",), on=on)
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert result.kinds == [("a@example.com", S)]
    assert offers.lines[1:3] == [PLAIN, PLAIN.split()[2]]


def test_a_long_password_is_sent_in_a_second_step() -> None:
    on = {"AUTH": lambda line, n: "334 " if line == b"AUTH PLAIN" else "500 5.5.2 Line too long"}
    offers = Script(offers=("AUTH PLAIN",), on=on)
    result = Owner(new_session(login=Login("user", "x" * 400)), offers, to("a")).run(at_once)
    assert result.kinds == [("a@example.com", S)]


@pytest.mark.parametrize("unknown", ["500 Command unrecognized", "502 5.5.1 not implemented", "504 no", "501 no"])
def test_a_server_that_does_not_know_ehlo_gets_helo_and_no_extension(unknown: str) -> None:
    offers = Script(on={"EHLO": lambda line, n: unknown})
    result = Owner(new_session(), offers, to("a", "b")).run(at_once)
    assert result.kinds == [("a@example.com", S), ("b@example.com", S)]
    assert offers.lines[:3] == [b"EHLO client.example", b"HELO client.example", b"MAIL FROM:<news@example.org>"]


@pytest.mark.parametrize("code", [421, 450, 451, 550, 554, 521])
def test_other_refusals_of_ehlo_are_final_for_the_session(code: int) -> None:
    offers = Script(on={"EHLO": lambda line, n: f"{code} no"})
    result = Owner(new_session(), offers, to("a")).run(at_once)
    assert str(result.session.refusal) == f"{code} no"
    assert "HELO" not in offers.counts


@pytest.mark.parametrize("how", [{"starttls": True}, {"login": Login("user", "secret")}])
def test_helo_is_no_way_around_tls_or_a_login(how: Any) -> None:
    offers = Script(on={"EHLO": lambda line, n: "500 what"})
    result = Owner(new_session(**how), offers, to("a")).run(at_once)
    assert str(result.session.refusal) == "500 what"
    assert offers.lines == [b"EHLO client.example"]


def test_a_login_that_never_ends_is_a_protocol_error() -> None:
    offers = Script(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "334 ", "LINE": lambda line, n: "334 "})
    result = Owner(new_session(login=Login("user", "secret")), offers, to("a")).run(at_once)
    assert "unexpected reply during login" in result.session.reason


def test_no_password_goes_out_unprotected_or_unasked() -> None:
    for offers, protected, said in (
        (("AUTH PLAIN",), False, "only sent over TLS"),
        ((), True, "neither"),
        (("AUTH GSSAPI",), True, "neither"),
    ):
        handshake = Handshake("client.example", starttls=False, login=Login("user", "secret"), protected=protected)
        result = Owner(Session(handshake), Script(offers=offers), to("a")).run(at_once)
        assert said in str(result.session.refusal)
        assert b"AUTH" not in result.peer.raw
    assert "secret" not in repr(Login("user", "secret"))


def test_starttls_is_demanded_and_everything_before_it_forgotten() -> None:
    offers = Script(offers=("STARTTLS", "SIZE 1"), offers_in_tls=("PIPELINING", "AUTH PLAIN"))
    session = new_session(starttls=True, login=Login("user", "secret"))
    result = Owner(session, offers, to("a")).run(at_once)
    assert result.kinds == [("a@example.com", S)]
    assert [line.split()[0] for line in offers.lines[:4]] == [b"EHLO", b"STARTTLS", b"EHLO", b"AUTH"]
    missing = Owner(new_session(starttls=True, login=Login("user", "secret")), Script(), to("a")).run(at_once)
    assert "does not offer STARTTLS" in str(missing.session.refusal)
    assert missing.peer.script.lines == [b"EHLO client.example"]


@pytest.mark.parametrize("injected", [b"250 injected\r\n", b"2", b"\r\n"])
def test_what_comes_between_starttls_and_tls_ends_the_session(injected: bytes) -> None:
    on = {"STARTTLS": nth(0, ("220 go", injected, StartTLS()))}
    result = Owner(new_session(starttls=True), Script(offers=("STARTTLS",), on=on), to("a")).run(at_once)
    assert "STARTTLS and the TLS handshake" in result.session.reason
    assert result.peer.script.lines == [b"EHLO client.example", b"STARTTLS"]


def opened(offers: tuple[str, ...]) -> Session:
    """Return an open session whose output has not been sent yet."""
    session = new_session()
    owner = Owner(session, Script(offers=offers), [])
    owner._act = lambda: None  # type: ignore[method-assign]
    while session.state is State.HANDSHAKE:
        owner._write()
        owner._receive(1 << 20)
    return session


def test_size_is_honoured_before_mail() -> None:
    session = opened(("SIZE 300", "PIPELINING"))
    item = envelope("a@example.com", of=message("x" * 500))
    with pytest.raises(UnsendableValueError, match="at most 300"):
        session.begin(item, content_of(item, session))
    assert session.state is State.IDLE
    assert not session.has_output
    session = opened(("SIZE", "PIPELINING"))
    session.begin(item, content_of(item, session))
    assert b" SIZE=" in session.data_to_send()


def test_eight_bit_content_and_utf8_addresses_go_as_offered() -> None:
    item = envelope("jörg@example.com", of=message("Grüße\n"))
    session = opened(("8BITMIME", "SMTPUTF8"))
    session.begin(item, content_of(item, session))
    assert session.data_to_send() == b"MAIL FROM:<news@example.org> BODY=8BITMIME SMTPUTF8\r\n"
    session = opened(("8BITMIME",))
    with pytest.raises(UnsendableValueError, match="SMTPUTF8"):
        session.begin(item, content_of(item, session))
    plain = envelope("a@example.com", of=message("Grüße\n"))
    session = opened(())
    session.begin(plain, content_of(plain, session))
    assert session.data_to_send() == b"MAIL FROM:<news@example.org>\r\n"


def test_a_large_content_goes_out_alone() -> None:
    session = opened(("PIPELINING",))
    item = envelope("a@example.com", of=message("x" * 70 + "\n" * 1 + ("y" * 70 + "\n") * (LARGE_CONTENT_BYTES // 70)))
    session.begin(item, content_of(item, session))
    session.bytes_sent += len(session.data_to_send())
    session.receive(b"250 a\r\n250 b\r\n354 c\r\n", AT)
    assert session.state is State.READY_FOR_CONTENT
    assert not session.can_pipeline_next


def ended(unsent: int, follow: list[Envelope] | None = None) -> Session:
    """Return a session that has sent its content, except for this many octets."""
    session = opened(("PIPELINING",))
    item = to("a")[0]
    session.begin(item, content_of(item, session))
    session.bytes_sent += len(session.data_to_send())
    session.receive(b"250 a\r\n250 b\r\n354 c\r\n", AT)
    if follow:
        session.end_and_begin(follow[0], content_of(follow[0], session))
    else:
        session.end()
    session.bytes_sent += len(session.data_to_send()) - unsent
    return session


@pytest.mark.parametrize(("missing", "kind"), [(0, Q), (1, Q), (2, Q), (3, D), (4, D), (100, D)])
def test_a_message_is_in_doubt_once_any_octet_of_its_last_line_was_handed_over(missing: int, kind: Kind) -> None:
    session = ended(missing)
    session.connection_lost("the connection broke", AT)
    assert [outcome.kind for outcome in session.outcomes] == [kind]


@pytest.mark.parametrize(
    ("reply", "kinds"), [(b"554 5.7.1 spam\r\n", [F]), (b"451 4.3.0 later\r\n", [D]), (b"421 4.3.0 bye\r\n", [D])]
)
def test_a_refusal_in_the_middle_of_the_content_counts(reply: bytes, kinds: list[Kind]) -> None:
    session = ended(50)
    assert session.step is Step.BLOCK
    session.receive(reply, AT)
    assert [outcome.kind for outcome in session.outcomes] == kinds
    assert session.state is State.CLOSED


def test_an_acceptance_in_the_middle_of_the_content_is_a_protocol_error() -> None:
    session = ended(50)
    with pytest.raises(ProtocolError):
        session.receive(b"250 ok\r\n", AT)
    session.fail("early", AT)
    assert [outcome.kind for outcome in session.outcomes] == [D]


def test_a_session_stopped_returns_what_it_has_not_ended() -> None:
    session = ended(0)
    session.stop("stopped", AT)
    assert [outcome.kind for outcome in session.outcomes] == [Q]
    session = opened(("PIPELINING",))
    session.begin(to("a")[0], content_of(to("a")[0], session))
    session.stop("stopped", AT)
    assert (session.outcomes, session.returned) == ([], to("a"))


def test_an_answer_too_late_is_charged_to_the_message_it_was_about() -> None:
    session = opened(("PIPELINING",))
    session.begin(to("a")[0], content_of(to("a")[0], session))
    session.fail("no answer in time", AT)
    assert [outcome.kind for outcome in session.outcomes] == [D]
    session = ended(0, follow=to("a", "b")[1:])
    session.fail("no answer in time", AT)
    assert [outcome.kind for outcome in session.outcomes] == [Q]
    assert session.returned == [to("a", "b")[1]]


@pytest.mark.parametrize(("reply", "broken"), [(b"421 4.4.2 idle\r\n", False), (b"250 what\r\n", True)])
def test_an_unexpected_reply_ends_an_idle_session_and_is_counted_against_nobody(reply: bytes, broken: bool) -> None:
    session = opened(("PIPELINING",))
    if broken:
        with pytest.raises(ProtocolError):
            session.receive(reply, AT)
        session.fail("protocol", AT)
    else:
        session.receive(reply, AT)
    assert session.state is State.CLOSED
    assert (session.outcomes, session.returned, session.broken_mid_message) == ([], [], False)


def test_every_move_that_is_not_in_the_table_is_refused() -> None:
    for state in State:
        for step in Step:
            session = new_session()
            session.state = state
            if step in TRANSITIONS[state]:
                session._send(step, b"")
                assert session.state is TRANSITIONS[state][step]
            else:
                with pytest.raises(LocalError):
                    session._send(step, b"")
    together = TRANSITIONS[TRANSITIONS[State.READY_FOR_CONTENT][Step.CONTENT]][Step.MAIL]
    assert (
        together
        is TRANSITIONS[together][Step.RCPT]
        is TRANSITIONS[together][Step.DATA]
        is State.CONTENT_AND_NEXT_ENVELOPE
    )


def test_random_octets_from_the_server_raise_nothing_but_the_protocol_error() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    usual = [b"250 ok\r\n", b"354 go\r\n", b"220 hi\r\n", b"250-PIPELINING\r\n250 8BITMIME\r\n"]
    odd = [b"421 x\r\n", b"450 x\r\n", b"550 5.1.1 x\r\n", b"503 x\r\n", b"250", b"-", b"\n", b"\x00", b"\xff\r\n"]
    for _ in range(5_000):
        session = new_session(source.choice(list(PipeliningMode)))
        todo = envelopes(3)
        while session.state is not State.CLOSED and source.random() < 0.97:
            session.bytes_sent += len(session.data_to_send())
            _random_receive(session, source, usual if source.random() < 0.9 else odd)
            if todo and session.can_pipeline_next:
                session.end_and_begin(todo.pop(0), b"x\r\n.\r\n")
            elif session.state is State.READY_FOR_CONTENT:
                session.end()
            elif todo and session.state is State.IDLE:
                session.begin(todo.pop(0), b"x\r\n.\r\n")
        if session.state is not State.CLOSED:
            session.connection_lost("over", AT)
        assert len(session.outcomes) + len(session.returned) == 3 - len(todo)


def _random_receive(session: Session, source: random.Random, words: list[bytes]) -> None:
    data = b"".join(source.choices(words, k=source.randrange(1, 5)))
    try:
        session.receive(data, AT)
    except ProtocolError as error:
        session.fail(str(error), AT)
