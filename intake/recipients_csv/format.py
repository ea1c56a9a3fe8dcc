"""The CSV format of recipients: bytes to rows, and rows to bytes. No database, no terminal.

Reading accepts UTF-8, with or without a byte order mark; lines that end in LF, CR or CRLF, also mixed; quoted and
unquoted cells; and comma, semicolon or tab as the delimiter. The addresses are in the column that the header calls
`recipient_email`, or else one of ADDRESS_NAMES. A file with one column needs no header. Blank lines and other columns
are ignored, whatever their encoding. With `lenient`, UTF-16 with a byte order mark is accepted too, and an address that
is not UTF-8 is decoded as Windows-1252, which Excel uses for "CSV". The first line may name the delimiter, as many
programs do for Excel: `sep=;`. Concatenated files may have a byte order mark, such a line and a header in the
middle.

Writing produces RFC 4180 with CRLF. A spreadsheet runs a cell that begins with `= + - @ TAB CR LF NUL` (or the
full-width form of the first four) as a formula, and valid addresses can begin with `= + -`. Such a cell gets an
apostrophe in front, and so does a cell with only apostrophes before such a character. Reading removes one apostrophe
from exactly those cells, so that every text survives: `+a@x` is written as `'+a@x`, `'+a@x` as `''+a@x`, and `'a@x`
unchanged.

A second column, `recipient_status`, marks inactive recipients (`unsubscribed`, `rejected`). Reading respects it, so
that exporting and importing a file never reactivates anyone.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

from database import RECIPIENT_STATUSES

ADDRESS_COLUMN = "recipient_email"
STATUS_COLUMN = "recipient_status"

# Names of the address column, in lower case without spaces and punctuation. An earlier set takes precedence.
ADDRESS_NAMES = (
    {"recipientemail"},
    {"email", "emailaddress", "emailaddresses", "emailadresse", "emailadres", "adresseemail", "emailadress"}
    | {
        "recipient",
        "recipientaddress",
        "recipientemailaddress",
        "primaryemail",
        "contactemail",
        "useremail",
        "workemail",
        "email1value",  # Google Contacts
    }
    | {"correoelectrónico", "correoelectronico", "courriel", "emel", "alamatemel", "alamatemail", "epost", "eposta"}
    | {"电子邮件", "电子邮箱", "電子郵件", "電郵", "邮箱", "メールアドレス", "이메일"},
    {"mail", "mails", "mailaddress", "mailadresse", "adressemail", "correo", "メール"},
    {"address", "addresses", "adresse"},
)

# The longest line and cell, in characters. Memory stays flat even if a quote is never closed.
MAX_LINE_LENGTH = 1 << 20
# Lines that are searched for the delimiter and the header (a quoted header cell may contain line breaks).
HEAD_LINES = 20

DELIMITERS = ",;\t"
BYTE_ORDER_MARK = codecs.BOM_UTF8  # tells Excel that the file is UTF-8
_MARK = "\ufeff"
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SURROGATE = re.compile("[\udc80-\udcff]")  # how `surrogateescape` represents a byte that is not UTF-8
_PUNCTUATION = re.compile(r"[\W_]+")
# Stripped from both ends of a cell: all whitespace, and byte order marks of concatenated files.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + _MARK
_SEPARATOR_LINE = re.compile(r"""[ ]*"?[ ]*sep[ ]*=[ ]*"?([^\s"]|\t)"?[\s,;"]*""", re.IGNORECASE)
_BEFORE_CELL = re.compile(f"(?:^|(?<=[,;\t]))[ ]*+{_MARK}[ {_MARK}]*+")
_AFTER_QUOTE = {
    delimiter: re.compile(rf'"((?:[^\S\r\n{delimiter}]|{_MARK})++(?=[{delimiter}\r\n]|\Z))?')
    for delimiter in DELIMITERS
}

_RUN_BY_SPREADSHEETS = "=+\\-@\t\r\n\0＝＋－＠"
_to_escape = re.compile(f"'*[{_RUN_BY_SPREADSHEETS}]").match
_is_escaped = re.compile(f"'+[{_RUN_BY_SPREADSHEETS}]").match


class Row(NamedTuple):
    """The unchecked address in a line, and the status of that recipient."""

    line: int
    text: str
    status: str = "active"


class InvalidLine(NamedTuple):
    """A line that cannot be read, and the reason."""

    line: int
    reason: str


class Unreadable(InvalidLine):
    """A line at which reading stops, because nothing after it can be trusted."""


class Form(NamedTuple):
    """The form of a file. `header_line` is 0 if there is no header."""

    encoding: str
    has_mark: bool  # a byte order mark
    delimiter: str
    columns: int
    header_line: int


class _UnreadableError(Exception):
    """Nothing after this line can be trusted."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.invalid_line = Unreadable(line, reason)


class _Layout(NamedTuple):
    delimiter: str
    width: int = 1
    address: int = 0
    status: int | None = None
    least: int = 1  # cells that a row needs
    header_line: int = 0
    name: str = ADDRESS_COLUMN  # of the column of addresses
    lenient: bool = False


def read_rows(stream: BinaryIO, *, lenient: bool = False) -> Iterator[Row | InvalidLine]:
    """Yield each line that is not blank, in order. The last item is Unreadable if the rest cannot be read.

    Lines are counted from 1. A row that spans several lines has the number of its first line.
    """
    csv.field_size_limit(MAX_LINE_LENGTH)
    encoding = _UTF_16.get(_start_of(stream)) if lenient else None
    if encoding:
        text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
    else:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _rows(_lines(text), lenient)
    except _UnreadableError as error:
        yield error.invalid_line
    finally:
        text.detach()  # else the wrapper closes the caller's stream


def _start_of(stream: BinaryIO) -> bytes:
    """Return the first two bytes without consuming them."""
    if hasattr(stream, "peek"):  # a file, or a pipe
        return bytes(stream.peek(2)[:2])
    if not stream.seekable():
        return b""
    start = stream.read(2)
    stream.seek(-len(start), io.SEEK_CUR)
    return start


def form_of(start: bytes, *, lenient: bool = False) -> Form:
    """Return the form of a readable file. `start` must contain its first lines."""
    mark, encoding = start.startswith(codecs.BOM_UTF8), "UTF-8"
    if lenient and start[:2] in _UTF_16:
        mark, encoding, text = True, "UTF-16", start.decode("utf-16", "replace")
    else:
        text = start.decode("utf-8-sig", "surrogateescape")
        # The last three bytes may be an incomplete character.
        if lenient and _SURROGATE.search(text, 0, len(text) - 3):
            encoding = "Windows-1252"
    head = list(islice(io.StringIO(text, newline=""), HEAD_LINES))
    layout = _layout(*_without_separator_line(head))
    return Form(encoding, mark, layout.delimiter, layout.width, layout.header_line)


def encode_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows as CSV with escaped cells, so that a spreadsheet runs none of them."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([map(escape, row) for row in rows])
    return text.getvalue().encode()


def encode_pages(header: Sequence[str], pages: Iterable[Iterable[Sequence[str]]]) -> Iterator[bytes]:
    """Yield a CSV file in chunks: the header, then each page of rows."""
    yield encode_rows([header])
    for page in pages:
        yield encode_rows(page)


def escape(cell: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run, or that would look escaped."""
    return f"'{cell}" if _to_escape(cell) else cell


def unescape(cell: str) -> str:
    """Return the cell without the apostrophe that `escape` puts before it."""
    return cell[1:] if _is_escaped(cell) else cell


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE_LENGTH), ""), 1):
        if len(line) == MAX_LINE_LENGTH and line[-1] not in "\r\n":
            raise _UnreadableError(number, f"the line is too long (limit: {MAX_LINE_LENGTH:,} characters)")
        yield line


def _rows(lines: Iterator[str], lenient: bool) -> Iterator[Row | InvalidLine]:
    head, delimiter = _without_separator_line(list(islice(lines, HEAD_LINES)))
    layout = _layout(head, delimiter)._replace(lenient=lenient)
    for line, cells in _records(chain(head, lines), layout.delimiter):
        if line != layout.header_line and (row := _row(line, cells, layout)):
            yield row


def _without_separator_line(head: list[str]) -> tuple[list[str], str | None]:
    """Replace the line `sep=…` with an empty one, and return the lines and the delimiter that it names."""
    for number, line in enumerate(head):
        text = line.lstrip(_BLANKS)
        if found := _SEPARATOR_LINE.fullmatch(text):
            if found[1] not in DELIMITERS:
                raise _UnreadableError(number + 1, "sep= must name a comma, a semicolon or a tab")
            return [*head[:number], "\n", *head[number + 1 :]], found[1]
        if text:
            break
    return head, None


def _tidied(lines: Iterable[str], delimiter: str) -> Iterator[str]:
    """Yield the lines without whitespace after closing quotes, and without byte order marks before cells.

    Every second quote in a record closes a cell or an escaped pair. Whitespace inside a cell is kept.
    """
    is_open = False
    for line in lines:
        if _MARK in line:
            line = _BEFORE_CELL.sub("", line)
        if '"' in line:
            if not line.isascii() or '" ' in line or '"\t' in line:
                closing = _AfterQuote(is_open)
                line = _AFTER_QUOTE[delimiter].sub(closing, line)
                is_open = closing.is_open
            elif line.count('"') % 2:
                is_open = not is_open
        yield line


class _AfterQuote:
    """Removes whitespace after a quote that closes a cell."""

    def __init__(self, is_open: bool) -> None:
        self.is_open = is_open

    def __call__(self, mark: re.Match[str]) -> str:
        self.is_open = not self.is_open
        return mark[0] if self.is_open else '"'


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record with the number of its first line."""
    reader = csv.reader(_tidied(lines, delimiter), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise _UnreadableError(line, _quoting_reason(str(error))) from error


def _quoting_reason(error: str) -> str:
    if "expected after" in error:
        return "unexpected text after a closing quote (an earlier quote may be unclosed)"
    if "field limit" in error:
        return f"a cell is too long (limit: {MAX_LINE_LENGTH:,} characters; a quote may be unclosed)"
    return "unclosed quote"


def _layout(head: list[str], named: str | None = None) -> _Layout:
    """Determine the columns, and the delimiter unless it is named, from the first line that is not blank."""
    _refuse_other_encodings(head)
    firsts = {delimiter: _first_record(head, delimiter) for delimiter in named or DELIMITERS}
    for names in ADDRESS_NAMES:
        for delimiter, (line, cells) in firsts.items():
            if any(_plain_name(cell) in names for cell in cells):
                return _layout_by_header(delimiter, line, cells, names)
    delimiter = max(firsts, key=lambda each: len(firsts[each][1]))
    line, cells = firsts[delimiter]
    if any(cell.strip(_BLANKS) for cell in cells[1:]):
        reason = f"the file has {len(cells)} columns, but no header named {ADDRESS_COLUMN} or email"
        raise _UnreadableError(line, reason)
    if cells and "@" not in cells[0]:
        raise _UnreadableError(
            line, f"the first line is neither an address nor a header named {ADDRESS_COLUMN} or email"
        )
    return _Layout(delimiter)


def _plain_name(cell: str) -> str:
    """Return the name of a column as in ADDRESS_NAMES, or nothing if the cell contains a delimiter."""
    return "" if any(map(cell.count, DELIMITERS)) else _PUNCTUATION.sub("", cell[:100]).lower()


def _refuse_other_encodings(head: list[str]) -> None:
    first = head[0] if head else ""
    # The two byte order marks as `surrogateescape` represents them. Without one, every second byte is NUL.
    if first.startswith(("\udcff\udcfe", "\udcfe\udcff")) or "\0" in first:
        raise _UnreadableError(1, "the file is UTF-16 or not text; save it as CSV UTF-8")


def _first_record(head: list[str], delimiter: str) -> tuple[int, list[str]]:
    reader = csv.reader(_tidied(head, delimiter), delimiter=delimiter, skipinitialspace=True)
    line = 1
    for cells in reader:
        if any(cell.strip(_BLANKS) for cell in cells):
            return line, cells
        line = reader.line_num + 1
    return line, []


def _layout_by_header(delimiter: str, line: int, cells: list[str], names: set[str]) -> _Layout:
    found = [place for place, cell in enumerate(cells) if _plain_name(cell) in names]
    if len(found) > 1:
        called = ", ".join(dict.fromkeys(cells[place].strip(_BLANKS).lower() for place in found))
        hint = "" if names is ADDRESS_NAMES[0] else f"; rename the one to import to {ADDRESS_COLUMN}"
        raise _UnreadableError(line, f"the header has two columns named {called}{hint}")
    statuses = [place for place, cell in enumerate(cells) if cell.strip(_BLANKS).lower() == STATUS_COLUMN]
    if len(statuses) > 1:
        raise _UnreadableError(line, f"the header has two columns named {STATUS_COLUMN}")
    address, status = found[0], statuses[0] if statuses else None
    name = cells[address].strip(_BLANKS)[:100]
    return _Layout(delimiter, len(cells), address, status, max(address, status or 0) + 1, line, name)


def _names_delimiter(cells: list[str], layout: _Layout) -> bool:
    """Return whether a record is a line `sep=…` that names the delimiter of this file."""
    found = _SEPARATOR_LINE.fullmatch(layout.delimiter.join(cells))
    return found is not None and found[1] == layout.delimiter


def _row(line: int, cells: list[str], layout: _Layout) -> Row | InvalidLine | None:
    """Return the row for a record, or None if the record is blank."""
    whole = "".join(cells)
    if not whole.strip(_BLANKS):
        return None
    if "\0" in whole:
        return InvalidLine(line, "the line contains a NUL character")
    if reason := _bad_shape(cells, layout):
        return None if _names_delimiter(cells, layout) else InvalidLine(line, reason)
    cell = cells[layout.address]
    if not cell.isascii() and _SURROGATE.search(cell):
        try:
            cell = _as_windows_1252(cell) if layout.lenient else cell.encode().decode()
        except UnicodeError:
            return InvalidLine(line, "the address is not UTF-8 text; save the file as UTF-8")
    text = unescape(cell.strip(_BLANKS))
    if "@" not in text and (text.lower() in (ADDRESS_COLUMN, layout.name.lower()) or _names_delimiter(cells, layout)):
        return None  # the first line of another file that was appended
    if layout.status is None:
        return Row(line, text)
    status = cells[layout.status].strip(_BLANKS).lower()
    if status not in RECIPIENT_STATUSES:
        return InvalidLine(line, f"{STATUS_COLUMN} must be one of: {', '.join(RECIPIENT_STATUSES)}")
    return Row(line, text, status)


def _as_windows_1252(cell: str) -> str:
    """Decode a cell that is not UTF-8 as Excel's plain "CSV" encodes it. Raises UnicodeError."""
    return cell.encode("utf-8", "surrogateescape").decode("cp1252")


def _bad_shape(cells: list[str], layout: _Layout) -> str:
    if len(cells) > layout.width and any(cell.strip(_BLANKS) for cell in cells[layout.width :]):
        return f"too many cells ({len(cells)}; the header has {layout.width})"
    if len(cells) < layout.least:
        return f"too few cells ({len(cells)}; the header has {layout.width})"
    if not cells[layout.address].strip(_BLANKS):
        return f"{layout.name} is empty"
    return ""
