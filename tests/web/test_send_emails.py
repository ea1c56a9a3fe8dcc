"""POST /send-emails over real HTTP: every row of its contract. Nothing is lost or half-stored."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest

from database import Email, open_database
from settings import load_settings
from tests.support import new_database
from tests.support.ports import unused_port
from tests.support.samples.invalid_values import EVENT_IDS, SUBJECTS, TIMESTAMPS, short
from tests.support.servers.web_server import FORM, Answer, Server, serve

GOOD = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}
POST = b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
URLENCODED = POST + b"Content-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MAX_BODY = 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    new_database.create(load_settings({}, folder), datetime.now(UTC))
    with serve(folder, unused_port(), MAX_BODY=str(MAX_BODY)) as running:
        yield running


def saved(server: Server, event_id: int) -> Email | None:
    with open_database(load_settings({}, server.log.parent)) as database:
        return database.emails.get(event_id)


def is_plain(answer: Answer) -> bool:
    return answer.headers["content-type"] == "text/plain; charset=utf-8"


def is_error(answer: Answer, status: int, word: str) -> bool:
    return answer.status == status and answer.body.startswith("Error: ") and word in answer.body and is_plain(answer)


def test_an_email_is_saved_as_it_was_sent(server: Server) -> None:
    text = "Größe 😀 日本語 a+b&c=d% %41\r\n.\r\nend\u2028\x01"
    answer = server.post(GOOD | {"event_id": "-9223372036854775808", "email_content": text, "more": "ignored"})
    assert (answer.status, answer.body) == (200, "Successful") and is_plain(answer)
    email = saved(server, -(2**63))
    assert email is not None and email.content == text and email.due_at.isoformat() == "2030-01-02T00:00:00+00:00"


def test_a_time_in_the_past_is_taken(server: Server) -> None:
    assert server.post(GOOD | {"event_id": "2", "timestamp": "1999-01-01 00:00:00"}).body == "Successful"


def test_missing_fields_are_named(server: Server) -> None:
    answer = server.post({"email_subject": "S", "event_id": "", "email_content": "C"})
    assert (answer.status, answer.body) == (400, "Missing fields: event_id, timestamp") and is_plain(answer)
    everything = "Missing fields: event_id, email_subject, email_content, timestamp"
    assert server.request("POST", "/send-emails").body == everything
    assert server.request("POST", "/send-emails", b"", FORM).body == everything


@pytest.mark.parametrize("text", EVENT_IDS, ids=short)
def test_a_bad_event_id_is_refused(server: Server, text: str) -> None:
    answer = server.post(GOOD | {"event_id": text})
    assert (answer.status, answer.body) == (400, "Bad event_id") and is_plain(answer)


@pytest.mark.parametrize("text", TIMESTAMPS, ids=short)
def test_a_bad_timestamp_is_refused(server: Server, text: str) -> None:
    answer = server.post(GOOD | {"event_id": "3", "timestamp": text})
    assert (answer.status, answer.body) == (400, "Bad timestamp") and is_plain(answer)
    assert saved(server, 3) is None


@pytest.mark.parametrize("text", [text for text in SUBJECTS if text.isprintable() or text.isascii()], ids=short)
def test_an_unfit_subject_is_refused(server: Server, text: str) -> None:
    assert is_error(server.post(GOOD | {"event_id": "4", "email_subject": text}), 400, "email_subject")
    assert saved(server, 4) is None


def test_unfit_content_is_refused(server: Server) -> None:
    assert is_error(server.post(GOOD | {"event_id": "5", "email_content": "a\0"}), 400, "email_content")
    assert saved(server, 5) is None


@pytest.mark.parametrize("octets", [b"%ff", b"\xff", b"%c3", b"%ed%a0%80", b"%c0%80", b"\xfc"])
def test_what_is_not_utf8_is_refused_and_never_replaced(server: Server, octets: bytes) -> None:
    body = urlencode(GOOD | {"event_id": "6", "email_content": ""}).encode().replace(b"content=", b"content=" + octets)
    assert is_error(server.request("POST", "/send-emails", body, FORM), 400, "email_content is not UTF-8")
    assert saved(server, 6) is None


def test_a_field_that_is_given_twice_is_refused(server: Server) -> None:
    body = urlencode([*(GOOD | {"event_id": "7"}).items(), ("event_id", "8")]).encode()
    assert is_error(server.request("POST", "/send-emails", body, FORM), 400, "event_id appears more than once")


def test_a_used_event_id_is_refused_and_told_whether_by_the_same_email(server: Server) -> None:
    email = GOOD | {"event_id": "9"}
    assert server.post(email).status == 200
    same, other = server.post(email), server.post(email | {"timestamp": "2030-01-02 08:00:01"})
    assert is_error(same, 400, "UNIQUE constraint") and "identical" in same.body
    assert is_error(other, 400, "UNIQUE constraint") and "different" in other.body


def test_of_many_that_post_one_event_id_at_once_one_succeeds(server: Server) -> None:
    with ThreadPoolExecutor(50) as clients:
        emails = [GOOD | {"event_id": "10", "email_content": str(number)} for number in range(50)]
        answers = list(clients.map(server.post, emails))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 49
    [winner] = [number for number, answer in enumerate(answers) if answer.status == 200]
    email = saved(server, 10)
    assert email is not None and email.content == str(winner)


def multipart(fields: dict[str, str]) -> bytes:
    part = '--X\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return ("".join(part.format(*field) for field in fields.items()) + "--X--\r\n").encode()


def test_multipart_forms_are_taken(server: Server) -> None:
    body = multipart(GOOD | {"event_id": "11", "email_content": "Größe\r\n-- X"})
    answer = server.request("POST", "/send-emails", body, {"Content-Type": "multipart/form-data; boundary=X"})
    assert answer.body == "Successful"
    email = saved(server, 11)
    assert email is not None and email.content == "Größe\r\n-- X"


@pytest.mark.parametrize("length", range(0, len(multipart(GOOD)) - 2, 9))
def test_a_multipart_form_that_was_cut_off_saves_nothing(server: Server, length: int) -> None:
    body = multipart(GOOD | {"event_id": "12"})[:length]
    answer = server.request("POST", "/send-emails", body, {"Content-Type": "multipart/form-data; boundary=X"})
    assert is_error(answer, 400, "form") and saved(server, 12) is None


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/mixed", "", "nonsense"])
def test_another_content_type_is_refused(server: Server, kind: str) -> None:
    answer = server.request("POST", "/send-emails", urlencode(GOOD).encode(), {"Content-Type": kind})
    assert is_error(answer, 415, "x-www-form-urlencoded")


def test_a_compressed_body_is_refused(server: Server) -> None:
    assert is_error(server.post(GOOD, **{"Content-Encoding": "gzip"}), 415, "Content-Encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_refused(server: Server, method: str) -> None:
    answer = server.request(method, "/send-emails")
    assert answer.status == 405 and answer.headers["allow"] == "POST" and is_plain(answer)


def test_the_largest_body_is_taken_and_one_byte_more_is_not(server: Server) -> None:
    size = MAX_BODY - len(urlencode(GOOD | {"event_id": "13", "email_content": ""}))
    assert is_error(
        server.post(GOOD | {"event_id": "13", "email_content": "x" * (size + 1)}), 413, "exceeds 100 kB (MAX_BODY)"
    )
    assert server.post(GOOD | {"event_id": "13", "email_content": "x" * size}).status == 200


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    answer = server.raw(URLENCODED + b"Content-Length: 20000000\r\n\r\n")
    assert b" 413 " in answer and b"Error: " in answer


def test_a_chunked_body_is_bounded_too(server: Server) -> None:
    chunk = b"%x\r\n" % MAX_BODY + b"x" * MAX_BODY + b"\r\n"
    answer = server.raw(URLENCODED + CHUNKED + chunk + b"1\r\nx\r\n0\r\n\r\n")
    assert b" 413 " in answer and b"Error: " in answer


def test_a_chunked_body_has_to_be_multipart_so_that_its_end_is_known(server: Server) -> None:
    body = urlencode(GOOD | {"event_id": "14"}).encode()
    assert b" 411 " in server.raw(URLENCODED + CHUNKED + b"%x\r\n%b\r\n" % (len(body), body), close=True)
    body = multipart(GOOD | {"event_id": "15"})
    head = POST + b"Content-Type: multipart/form-data; boundary=X\r\n" + CHUNKED
    assert b"Successful" in server.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert saved(server, 14) is None and saved(server, 15) is not None


def test_a_body_shorter_than_it_says_saves_nothing(server: Server) -> None:
    body = urlencode(GOOD | {"event_id": "16"}).encode()
    answer = server.raw(URLENCODED + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body, close=True)
    assert b" 400 " in answer and saved(server, 16) is None


def test_thousands_of_fields_are_refused(server: Server) -> None:
    assert is_error(server.request("POST", "/send-emails", b"&" * 5000, FORM), 400, "1000 fields")


def test_what_was_answered_is_saved_though_the_server_is_killed(tmp_path: Path, free_port: int) -> None:
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    successful: list[int] = []
    with serve(tmp_path, free_port) as server:
        timer = threading.Timer(1, server.kill)
        timer.start()
        for number in range(100_000):
            try:
                answer = server.post(GOOD | {"event_id": str(number)})
            except (OSError, HTTPException):  # the connection broke, before or within the answer
                break
            assert answer.status == 200
            successful.append(number)
        timer.join()
    assert successful
    assert all(saved(server, number) for number in successful)


def test_a_database_that_is_locked_missing_or_replaced_is_answered_with_503(tmp_path: Path, free_port: int) -> None:
    settings = load_settings({}, tmp_path)
    with serve(tmp_path, free_port) as server:
        assert is_error(server.post(GOOD), 503, "flask init-db")
        new_database.create(settings, datetime.now(UTC))
        assert server.post(GOOD).status == 200
        with sqlite3.connect(tmp_path / "email.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            start = time.monotonic()
            locked = server.post(GOOD | {"event_id": "2"})
            assert is_error(locked, 503, "locked") and locked.headers["retry-after"] == "5"
            assert 4 < time.monotonic() - start < 10
            other.execute("ROLLBACK")
        other.close()
        assert server.post(GOOD | {"event_id": "2"}).status == 200
        for file in tmp_path.glob("email.db*"):
            file.unlink()
        assert is_error(server.post(GOOD | {"event_id": "3"}), 503, "flask init-db")
        new_database.create(settings, datetime.now(UTC))
        assert server.post(GOOD | {"event_id": "3"}).status == 200
        assert saved(server, 3) is not None and saved(server, 2) is None
