"""The body of a form: size limits, and exact decoding of any bytes."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Request
from flask.testing import FlaskClient
from werkzeug.exceptions import RequestTimeout, UnsupportedMediaType
from werkzeug.test import EnvironBuilder

from email_app import create_app
from intake.errors import ValidationError
from settings import Settings
from tests.support import new_database
from web import form
from web.form import read_form, read_page_form, urlencoded_pairs
from web.services import services_of

MULTIPART = "multipart/form-data; boundary=X"


def request_of(body: bytes, content_type: str = form.URLENCODED) -> Request:
    environ = EnvironBuilder(method="POST", input_stream=io.BytesIO(body), content_type=content_type).get_environ()
    return Request(environ | {"CONTENT_LENGTH": str(len(body))})


@pytest.fixture
def random_bytes() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture
def client(settings: Settings) -> Iterator[FlaskClient]:
    new_database.create(settings, datetime.now(UTC))
    app = create_app(settings)
    yield app.test_client()
    services_of(app).email_writer.close()


def test_urlencoded_bodies_are_read_as_the_standard_library_reads_them(random_bytes: random.Random) -> None:
    for _ in range(10_000):
        body = bytes(random_bytes.choice(b"%%%%&==++0a2F3D\r\n \tz_.;\x00") for _ in range(random_bytes.randrange(20)))
        pairs = [(name, value.decode(errors="replace")) for name, value in urlencoded_pairs(body)]
        expected = parse_qsl(body.decode(), keep_blank_values=True)
        assert [pair for pair in pairs if any(pair)] == [pair for pair in expected if any(pair)], body


def test_text_of_every_plane_comes_through() -> None:
    text = "".join(map(chr, range(1, 0xD800))) + "".join(map(chr, range(0xE000, 0x11000))) + "😀" * 100
    body = urlencode({"a": text}).encode()
    assert read_form(request_of(body), ("a",), 10**7).fields == {"a": text}


def test_what_is_ignored_may_be_anything() -> None:
    body = b"x=%ff&x=%fe&a=1&\xff\xfe=2&&=&a%00=3"
    assert read_form(request_of(body), ("a",), 1000) == ({"a": "1"}, {})


def test_megabytes_of_escapes_are_read_in_a_moment() -> None:
    for piece in (b"%20a", b"%E4%B8%AD", b"%", b"+", b"%z"):
        body = b"a=" + piece * (2_000_000 // len(piece))
        start = time.process_time()
        list(urlencoded_pairs(body))
        assert time.process_time() - start < 3, piece


def test_a_body_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "READ_TIMEOUT", -1)
    with pytest.raises(RequestTimeout):
        read_form(request_of(b"a=1"), ("a",), 1000)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"--X", b"garbage", b"--X\r\n\r\nx\r\n--X--", b"--X\r\nnothing\r\n\r\nx\r\n--X--"),
        b"--X\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--Y--",
    ],
)
def test_multipart_that_is_not_well_formed_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError, match="form"):
        read_form(request_of(body, MULTIPART), ("a",), 1000)


def test_files_and_other_parts_are_passed_over() -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = (
        part % (b"a", b'; filename="f"', b"file") + part % (b"a", b"", b"text") + part % (b"b", b"", b"\xff") + b"--X--"
    )
    request = request_of(body, MULTIPART)
    assert read_form(request, ("a",), 1000) == ({"a": "text"}, {})


@pytest.mark.parametrize("first", [b"", b"\r", b"\n", b"\r\n", b"\r\n--", b"\r\n--X"])
@pytest.mark.parametrize("filler", [b"x", b"\r", b"\n", b"\r\n-", b"-X"])
def test_a_part_of_megabytes_without_an_end_takes_little_time(first: bytes, filler: bytes) -> None:
    head = b'--X\r\nContent-Disposition: form-data; name="b"; filename="f"\r\n\r\n'
    body = head + first + filler * (5_000_000 // len(filler))
    start = time.process_time()
    with pytest.raises(ValidationError):
        read_form(request_of(body, MULTIPART), ("a",), 10**7)
    assert time.process_time() - start < 5  # a second for each megabyte


def test_thousands_of_parts_are_refused() -> None:
    body = b'--X\r\nContent-Disposition: form-data; name="b"\r\n\r\n\r\n' * 1500 + b"--X--"
    with pytest.raises(ValidationError, match="1000 fields"):
        read_form(request_of(body, MULTIPART), ("a",), 10**6)


def test_no_body_whatever_is_answered_with_500(client: FlaskClient, random_bytes: random.Random) -> None:
    good = {"event_id": "1", "email_subject": "Grüße", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}
    part = '--X\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    multipart = "".join(part.format(*item) for item in good.items()) + "--X--\r\n"
    bodies = [(urlencode(good).encode(), form.URLENCODED), (multipart.encode(), MULTIPART)]
    for _ in range(500):
        whole, content_type = random_bytes.choice(bodies)
        body = bytearray(whole)
        for _ in range(random_bytes.randrange(1, 8)):
            position = random_bytes.randrange(len(body))
            body[position : position + random_bytes.randrange(4)] = random_bytes.randbytes(random_bytes.randrange(4))
        answer = client.post("/send-emails", data=bytes(body), content_type=content_type)
        assert answer.status_code in (200, 400), bytes(body)
        assert answer.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize("read_before", [False, True])
def test_the_form_of_a_page_is_read_as_strictly_after_its_token_was_looked_at(read_before: bool) -> None:
    def read(body: bytes, content_type: str = form.URLENCODED) -> dict[str, str]:
        request = request_of(body, content_type)
        if read_before:
            request.get_data()
            assert request.form
        return read_page_form(request, ("a",))

    assert read(b"a=%EF%BF%BD+x%0D%0A&b=2&csrf_token=3") == {"a": "\ufffd x\r\n"}
    for body in (b"a=%FF", b"a=1&a=2"):
        with pytest.raises(ValidationError):
            read(body)
    with pytest.raises(UnsupportedMediaType):
        read(b"--X\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--X--\r\n", MULTIPART)
