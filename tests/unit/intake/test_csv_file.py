"""CSV files of recipients: accepted forms, refused lines, and files that were exported."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intake.recipients_csv.format import encode_rows, escape, unescape
from intake.recipients_csv.reader import ImportFile, InvalidLinesError
from intake.recipients_csv.rows import MAX_LINE_LENGTH, InvalidLine, Row, form_of, read_rows
from tests.support.properties import AT_ANY_SPEED

RUN_BY_SPREADSHEETS = tuple("=+-@\t\r\n\0＝＋－＠")


def read(stream: bytes | BinaryIO, *, lenient: bool = False) -> list[Row | InvalidLine]:
    """The rows without their cells."""
    stream = io.BytesIO(stream) if isinstance(stream, bytes) else stream
    return [row._replace(cells=()) for row in read_rows(stream, lenient=lenient)]


def texts(data: bytes) -> list[str]:
    rows = read(data)
    assert all(isinstance(row, Row) for row in rows), rows
    return [row[1] for row in rows]


def only_error(data: bytes) -> InvalidLine:
    (invalid,) = (row for row in read(data) if isinstance(row, InvalidLine))
    return invalid


@pytest.mark.parametrize(
    "data",
    [
        b"a@x.com\nb@x.com\n",
        b"a@x.com\nb@x.com",
        b"a@x.com\r\nb@x.com\r\n",
        b"a@x.com\rb@x.com\r",
        b"a@x.com\r\n\n\r\r\n  \n\t\nb@x.com",
        b"recipient_email\na@x.com\nb@x.com\n",
        b"\n\nRecipient_Email\na@x.com\nb@x.com\n",
        b'"RECIPIENT_EMAIL"\n"a@x.com"\n"b@x.com"\n',
        b"\xef\xbb\xbfrecipient_email\na@x.com\nb@x.com\n",
        b'\xef\xbb\xbf"recipient_email"\r\na@x.com\r\nb@x.com\r\n',
        b"\xef\xbb\xbfa@x.com\nb@x.com\n",
        b"recipient_email,name\na@x.com,Ann\nb@x.com,\n",
        b"name;recipient_email\nAnn;a@x.com\n;;\nBob, Jr;b@x.com\n",
        b'name\trecipient_email\nAnn\ta@x.com\n"Bob\tJr"\tb@x.com\n',
        b'name, recipient_email ,note\nAnn, "a@x.com","two\r\nlines"\n"Bob ""B"" B", b@x.com ,\n',
        b"recipient_email,,\na@x.com,,\nb@x.com,,\n",
        b"a@x.com;\nb@x.com;\n",
        b'a@x.com\n""\nb@x.com\n',
    ],
)
def test_every_usual_form_gives_the_same_addresses(data: bytes) -> None:
    assert texts(data) == ["a@x.com", "b@x.com"]


@pytest.mark.parametrize(
    "header",
    [
        *("Email", "E-Mail", "e-mail address", "EMAIL_ADDRESS", "Mail", "E-Mail-Adresse", "Adresse e-mail", "Courriel"),
        *(
            "Correo electrónico",
            "Alamat e-mel",
            "电子邮件",
            "メールアドレス",
            "Address",
            '"Email"',
            " email ",
            "\ufeffEmail",
        ),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_column_of_addresses_is_known_by_its_usual_names(header: str, delimiter: str) -> None:
    rows = (("First name", header, "Company"), ("Ann", "a@x.com", "X"), ("Bob", "b@x.com", "X"))
    assert texts("\r\n".join(map(delimiter.join, rows)).encode()) == ["a@x.com", "b@x.com"]
    assert texts(f"{header}\na@x.com\n{header}\nb@x.com\n".encode()) == ["a@x.com", "b@x.com"]


def test_the_name_that_says_most_wins() -> None:
    assert texts(b"email,recipient_email\nb@x.com,a@x.com\n") == ["a@x.com"]
    assert texts(b"Address;Mail;E-mail\n1 High Street;b@x.com;a@x.com\n") == ["a@x.com"]
    assert texts(b"Address,Email\n1 High Street,a@x.com\n") == ["a@x.com"]
    assert only_error(b"name,E-mail\nAnn,\n").reason == "E-mail is empty"


def test_a_column_that_is_not_read_may_be_in_any_encoding() -> None:
    assert texts("recipient_email;name\na@x.com;Müller\nb@x.com;€\n".encode("cp1252")) == ["a@x.com", "b@x.com"]


TABLE = "First name;E-mail\r\nJürgen;jürgen@müller.example\r\nAnn;a@x.com\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le-mark", "utf-16-be-mark"])
def test_files_as_excel_saves_them_are_read(encoding: str) -> None:
    text = f"\ufeff{TABLE}" if encoding.endswith("-mark") else TABLE
    data = text.encode(encoding.removesuffix("-mark"))
    for stream in (io.BytesIO(data), io.BufferedReader(io.BytesIO(data))):
        rows = read(stream, lenient=True)
        assert rows == [Row(2, "jürgen@müller.example"), Row(3, "a@x.com")]
    form = form_of(data, lenient=True)
    names = {"utf": "UTF-16" if "16" in encoding else "UTF-8", "cp1": "Windows-1252"}
    assert (form.encoding, form.columns, form.delimiter) == (names[encoding[:3]], 2, ";")


def test_what_no_encoding_explains_is_still_named() -> None:
    (bad,) = read(b"recipient_email\n\x81\x8d@x.com\n", lenient=True)
    assert bad == InvalidLine(2, "the address is not UTF-8 text; save the file as UTF-8")


def test_a_character_that_is_cut_at_the_end_of_what_is_looked_at_says_nothing() -> None:
    assert form_of(("email\n" + "é" * 50).encode()[:-1], lenient=True).encoding == "UTF-8"


SEPARATOR_LINES = [
    "sep={}",
    '"sep={}"',
    "SEP={}",
    " sep = {} ",
    '"Sep={}" ',
    "\ufeffsep={}",
    '\ufeff"sep={}"',
    'sep="{}"',
]
SEPARATOR_LINES += ["\n\r\nsep={}", "sep={}{}{}"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line", SEPARATOR_LINES)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_first_line_for_excel_names_the_delimiter(delimiter: str, line: str, end: str) -> None:
    first = line.format(delimiter, delimiter, delimiter).replace("\n\r\n", end + end)
    for rows in (
        "recipient_email,x;y\tz|a@x.com,1|b@x.com,",
        "x y,recipient_email|1,a@x.com|,b@x.com",
        "a@x.com|b@x.com,",
    ):
        others = str.maketrans(",;\t", delimiter + "".join({*",;\t"} - {delimiter}))
        data = end.join([first, *rows.translate(others).split("|")]).encode()
        assert texts(data) == ["a@x.com", "b@x.com"]
        assert form_of(data).delimiter == delimiter


def test_a_first_line_for_excel_is_counted() -> None:
    assert [row.line for row in read(b"sep=;\r\nrecipient_email;name\r\na@x.com;A\r\n")] == [3]
    assert only_error(b"sep=;\nrecipient_email\na@x.com;b@x.com\n").line == 3
    assert form_of(b"sep=;\nrecipient_email\n").header_line == 2
    assert read(b"sep=;") == read(b"sep=,\n") == []


@pytest.mark.parametrize("line", ["sep=|", "sep=:", '"sep=^"', "SEP=x"])
def test_a_delimiter_that_is_not_known_is_named(line: str) -> None:
    bad = only_error(f"{line}\nrecipient_email\na@x.com\n".encode())
    assert bad.line == 1 and "sep= must be followed by a comma, a semicolon or a tab" in bad.reason


@pytest.mark.parametrize(("delimiter", "columns"), [(";", 1), (";", 2), (",", 2), ("\t", 3)])
@pytest.mark.parametrize("line", ["sep={}", '"sep={}"', "\ufeffSep = {}"])
def test_files_for_excel_may_be_joined(delimiter: str, columns: int, line: str) -> None:
    names = delimiter.join(["note", "extra", "recipient_email"][-columns:])
    lines = [line.format(delimiter), names, delimiter * (columns - 1) + "{}@x.com", ""]
    file = "\n".join(lines)
    assert texts((file.format("a") + file.format("b")).encode()) == ["a@x.com", "b@x.com"]


def test_the_delimiter_that_a_file_names_goes_before_the_one_that_it_looks_like() -> None:
    assert texts(b"sep=;\nrecipient_email;a,b,c\na@x.com;1,2,3\n") == ["a@x.com"]
    assert "recipient_email" in only_error(b"sep=;\nname,recipient_email\nA,a@x.com\n").reason


@pytest.mark.parametrize(
    "data",
    [
        "recipient_email,name\n\ufeffa@x.com\ufeff,\ufeffA\nb@x.com ,B\ufeff\n",
        "recipient_email\na@x.com\n\ufeffrecipient_email\nb@x.com\n\ufeff",
        "a@x.com\n\ufeffb@x.com\n",
        'recipient_email,name\n"a@x.com",A\n\ufeff"recipient_email","name"\n"b@x.com","B, jr"\n',
        'name;recipient_email\n"A";\ufeff"a@x.com"\ufeff\n\ufeff"B" ;"b@x.com\ufeff"',
        "\ufeff\ufeffrecipient_email\na@x.com\n \ufeff b@x.com\u00a0\n",
    ],
)
def test_byte_order_marks_around_cells_are_taken_off(data: str) -> None:
    assert texts(data.encode()) == ["a@x.com", "b@x.com"]


@pytest.mark.parametrize(
    "data",
    [
        '"recipient_email" ,"name"\n"a@x.com" ,"A" \n"b@x.com"  , "B"\t\n',
        '"recipient_email"\t;"name"\r\n"a@x.com" ;""\r\n"b@x.com"\u00a0;"B ""b"" " ',
        '"recipient_email" \t"name" \n"a@x.com" \t"A"\n"b@x.com"\t',
        '"note" , "recipient_email"\n"two ""lines"" \n, in "" , one" , "a@x.com" \n,"b@x.com" \n',
    ],
)
def test_a_blank_behind_a_quotation_mark_is_passed_over(data: str) -> None:
    assert texts(data.encode()) == ["a@x.com", "b@x.com"]


def test_a_blank_behind_a_quotation_mark_inside_of_a_cell_is_kept() -> None:
    assert texts(b'"""a"" ,""b""@x.com" ,\n') == ['"a" ,"b"@x.com']
    assert texts(b'recipient_email\n"x" \n"""a\n"" ,"" ""@x.com"\n') == ["x", '"a\n" ," "@x.com']


def test_megabytes_of_blanks_and_quotation_marks_are_read_in_a_moment() -> None:
    for piece in ('" ', '" ,', '"" , ', "\ufeff", " \ufeff", ",\ufeff", '"\u00a0', "sep="):
        start = time.process_time()
        read((piece * (500_000 // len(piece))).encode())
        read((piece * (500_000 // len(piece)) + '"x\ufeff').encode())
        assert time.process_time() - start < 5, piece


def test_more_internationalised_domains_than_can_be_checked_in_seconds_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("intake.recipients_csv.reader.MAX_IDNA_LENGTH", 60)
    lines = "".join(f"a@ü{number}.de\nb@x{number}.de\n" for number in range(10, 40))
    file = ImportFile(io.BytesIO(("recipient_email\n" + lines).encode()))
    with pytest.raises(InvalidLinesError) as error:
        list(file)
    assert (error.value.count, error.value.lines[0].line) == (20, 22)
    assert "too many internationalised domains to check at once" in error.value.lines[0].reason


def test_many_addresses_may_share_an_internationalised_domain() -> None:
    lines = "".join(f"a{number}@{'ü' * 40}{number % 5}.de\n" for number in range(20_000))
    assert len(list(ImportFile(io.BytesIO(lines.encode())))) == 20_000


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"recipient_email", b"recipient_email;;\r\n;;\r\n"])
def test_a_file_without_rows_has_no_rows(data: bytes) -> None:
    assert read(data) == []


def test_lines_are_numbered_as_an_editor_does() -> None:
    data = b'recipient_email,note\r\n\r\na@x.com,"1\n2\r3"\rb@x.com,\nc@x.com,'
    assert [(row.line, row[1]) for row in read(data)] == [(3, "a@x.com"), (6, "b@x.com"), (7, "c@x.com")]


def test_text_beyond_ascii_is_kept() -> None:
    assert texts("josé@exämple.com\n用户@例え.jp\n".encode()) == ["josé@exämple.com", "用户@例え.jp"]


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"a@x.com\njos\xe9@x.com\nb@x.com\n", 2, "the address is not UTF-8 text; save the file as UTF-8"),
        (b"recipient_email,note\ncaf\xe9@x.com,\n", 2, "the address is not UTF-8 text; save the file as UTF-8"),
        (b"a@x.com\n\0@x.com\n", 2, "the line contains a NUL character"),
        ("recipient_email\na@x.com\n".encode("utf-16"), 1, "UTF-16"),
        ("recipient_email\na@x.com\n".encode("utf-16-le"), 1, "UTF-16"),
        ("\ufeffrecipient_email\na@x.com\n".encode("utf-16-be"), 1, "UTF-16"),
        (b"Ann,a@x.com\nBob,b@x.com\n", 1, "the file has 2 columns, but no header named recipient_email"),
        (b"\nname;contact\nAnn;a@x.com\n", 2, "the file has 2 columns, but no header named recipient_email or email"),
        (b"contact\na@x.com\n", 1, "the first line is neither an address nor a header named recipient_email or email"),
        (
            b"E-mail,Email\na@x.com,b@x.com\n",
            1,
            "two columns named e-mail, email; change the header of the right one to recipient_email",
        ),
        (b"recipient_email,Recipient_Email\n", 1, "two columns named recipient_email"),
        (b"a@x.com\nb@x.com,c@x.com\n", 2, "too many cells (2; the header has 1)"),
        (b"name,recipient_email\nAnn,a@x.com\nBob\n", 3, "too few cells (1; the header has 2)"),
        (b"name,recipient_email\nAnn,a@x.com\nBob,\n", 3, "recipient_email is empty"),
        (b'a@x.com\n"b@x.com\nc@x.com\n', 2, "unclosed quote"),
        (b'a@x.com\n"b@x.com\n"c@x.com"\n', 2, "unexpected text after a closing quote"),
        (b'a@x.com\n"b"@x.com\nc@x.com\n', 2, "unexpected text after a closing quote"),
        (b"recipient_email,recipient_status\na@x.com,gone\n", 2, "recipient_status must be one of: active,"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(data: bytes, line: int, reason: str) -> None:
    bad = only_error(data)
    assert bad.line == line
    assert reason in bad.reason


def test_each_bad_line_is_named_not_only_the_first() -> None:
    data = b"a@x.com\n\xff@x.com\nb@x.com\nc@x.com,d@x.com\n"
    assert [row.line for row in read(data) if isinstance(row, InvalidLine)] == [2, 4]


def test_a_cell_of_200_kilobytes_in_another_column_does_no_harm() -> None:
    note = b"n" * 200_000
    assert texts(b"recipient_email,note\na@x.com," + note + b'\nb@x.com,"' + note + b'"\n') == [
        "a@x.com",
        "b@x.com",
    ]


@pytest.mark.parametrize("data", [b"n" * (MAX_LINE_LENGTH + 1), b"a@x.com\n" + b"n" * MAX_LINE_LENGTH * 3])
def test_a_line_without_an_end_is_refused(data: bytes) -> None:
    assert "too long (limit: 1,048,576" in only_error(data).reason


class Endless(io.RawIOBase):
    """An endless stream of lines after an unclosed quotation mark."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        lines = (b'"' if self.given == 0 else b"") + b"a@x.com\n" * (len(buffer) // 8 - 1)
        buffer[: len(lines)] = lines
        self.given += len(lines)
        return len(lines)


def test_a_quotation_mark_that_is_never_closed_takes_little_memory() -> None:
    endless = Endless()
    tracemalloc.start()
    rows = read(io.BufferedReader(endless))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [InvalidLine(1, "a cell is too long (limit: 1,048,576 characters; a quote may be unclosed)")]
    assert endless.given < 2 * MAX_LINE_LENGTH
    assert peak < 16 * MAX_LINE_LENGTH


def test_the_stream_stays_open() -> None:
    stream = io.BytesIO(b"a@x.com\n")
    assert list(read_rows(stream))
    assert not stream.closed


def test_who_is_not_active_is_said_in_a_column() -> None:
    data = encode_rows([("recipient_email", "recipient_status"), ("a@x.com", "active"), ("b@x.com", "unsubscribed")])
    assert read(data) == [Row(2, "a@x.com", "active"), Row(3, "b@x.com", "unsubscribed")]


@pytest.mark.parametrize("first", RUN_BY_SPREADSHEETS)
def test_no_cell_is_run_by_a_spreadsheet(first: str) -> None:
    (cells,) = csv.reader(io.StringIO(encode_rows([(first + "1+1", "a@x.com")]).decode(), newline=""))
    assert cells == ["'" + first + "1+1", "a@x.com"]


def test_an_ordinary_apostrophe_is_left_alone() -> None:
    assert escape("'o'neil@x.com") == unescape("'o'neil@x.com") == "'o'neil@x.com"
    assert escape("'+a@x.com") == "''+a@x.com"


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'=+-@,;\t\"\r\n "))


@AT_ANY_SPEED
@given(cells)
@example("'")
@example("''=")
def test_escaping_is_undone_for_every_text(cell: str) -> None:
    assert unescape(escape(cell)) == cell
    assert not escape(cell).startswith(RUN_BY_SPREADSHEETS)


def is_kept(cell: str) -> bool:
    """Return whether a cell keeps its value. Surrounding spaces and NUL are not kept."""
    return bool(cell) and cell == cell.strip() and not {"\0", "\ufeff"} & {*cell} and cell.lower() != "recipient_email"


@AT_ANY_SPEED
@given(st.lists(cells.filter(is_kept)))
@example(["=1+1", "+tag@x.com", "-a@x.com", "@x", "'+a@x.com", "''@x", "'a@x.com", '"a b"@x.com', '"a,;b"@x.com'])
def test_what_was_written_is_read_as_the_same_rows(addresses: list[str]) -> None:
    assert texts(encode_rows([("recipient_email",), *((address,) for address in addresses)])) == addresses


@AT_ANY_SPEED
@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b'"', b",", b";", b"\t", b"\r", b"\n", b"a@x"])).map(b"".join)
)
def test_any_bytes_give_rows_or_bad_lines_in_order(data: bytes) -> None:
    lines = [row.line for row in read(data)]
    assert lines == sorted(set(lines))


class InPieces(io.RawIOBase):
    """A stream that returns one byte at a time, as a slow pipe may."""

    def __init__(self, data: bytes) -> None:
        self.bytes: Iterator[int] = iter(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for value in self.bytes:
            buffer[0] = value
            return 1
        return 0


@AT_ANY_SPEED
@given(st.lists(st.sampled_from([b'"', b",", b"\r", b"\n", "é".encode(), b"a@x", b"\xff"])).map(b"".join))
def test_pieces_give_the_same_rows_as_the_whole(data: bytes) -> None:
    assert read(io.BufferedReader(InPieces(data))) == read(data)
