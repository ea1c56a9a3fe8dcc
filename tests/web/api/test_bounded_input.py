"""Input designed to be expensive is refused in linear time, before it becomes objects."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from database import Address
from intake.address import clean_address
from intake.fields import InvalidFields
from tests.support.web.api_client import Api, fields_of
from web.api.json_body import MAX_VALUES, parse

JSON = "application/json"
SIZE = 9_000_000  # bytes
MAX_MEMORY = 4 * SIZE


@pytest.fixture
def where() -> dict[str, str]:
    """One engine is enough, because no request reaches the database."""
    return {}


def refused(body: bytes) -> str:
    with pytest.raises(InvalidFields) as error:
        parse(body)
    return str(error.value)


@pytest.mark.parametrize("repeated", [0, 49_999])
def test_a_name_that_comes_again_among_many_is_found_at_once(repeated: int) -> None:
    names = [f'"n{number}":0' for number in range(50_000)]
    began = time.process_time()
    assert f"contains the name 'n{repeated}' twice" in refused(f"{{{','.join(names)},{names[repeated]}}}".encode())
    assert time.process_time() - began < 5  # it took 35 s, or 0.04 s


@pytest.mark.parametrize("piece", [b"{},", b"[],", b"[", b"0,", b'"",', b'{"":', b'"\\"",', b"{'\"',"])
def test_millions_of_values_are_refused_before_objects_are_made(piece: bytes) -> None:
    body = b"[" + piece * (SIZE // len(piece))
    tracemalloc.start()
    try:
        refused(body)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [",", "[", "{", '\\",', "\\\\", "ü,", "\\u002c,"])
def test_the_content_of_an_email_may_hold_any_number_of_those_signs(piece: str) -> None:
    body = f'{{"content": "{piece * 2 * MAX_VALUES}", "more": [1, 2]}}'.encode()
    values = parse(body)
    assert isinstance(values, dict) and values["more"] == [1, 2]


def test_so_many_values_are_taken_and_one_more_is_not() -> None:
    most = b"[" + b"0," * (MAX_VALUES - 1) + b"0"
    assert parse(most[:-2] + b"]") == [0] * (MAX_VALUES - 1)
    assert "more than 100,000 values" in refused(most + b",0]")


@pytest.mark.parametrize("line", [b"1\n", b"\n", b"{}\n", b" \n", b"\r\n", b'{"a":1}\n', b"[[[[\n"])
def test_millions_of_lines_are_refused_before_objects_are_made(api: Api, line: bytes) -> None:
    body = line * (SIZE // len(line))
    tracemalloc.start()
    try:
        answer = api("POST", "/emails", data=body, content_type="application/x-ndjson")
        assert answer.status_code == (400 if line.strip() else 200)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()


def bad_lines(api: Api, line: bytes) -> int:
    answer = api("POST", "/recipients/import", data=b"recipient_email\n" + line * 1_000_000, content_type="text/csv")
    assert answer.json is not None and len(fields_of(answer)) == 1_000
    return int(answer.json["bad_lines"])


@pytest.mark.parametrize("line", [b"x\n", b"@\n", b'"x"\n', b"x@\n"])
def test_of_a_million_bad_lines_only_the_first_are_looked_at(
    api: Api, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def counted(text: str, *, single_label: bool) -> Address:
        looked_at.append(text)
        return clean_address(text, single_label=single_label)

    monkeypatch.setattr("intake.recipients_csv.reader.clean_address", counted)
    assert bad_lines(api, line) == len(looked_at) == 10_000
