"""The CSV form of recipients: bytes to rows, rows to bytes. No database, no terminal.

What is read: UTF-8, with or without a byte order mark; lines that end in LF, CR or CRLF, mixed; cells quoted
or not; `,`, `;` or tab between them. The column is the one that the header calls `recipient_email`, or else by one of
ADDRESS_NAMES; a file of one column needs no header. Blank lines and other columns are passed over, whatever their
encoding. With `lenient`, UTF-16 with a byte order mark is read too, and an address that is not UTF-8 is taken for
Windows-1252, in which Excel saves "CSV". The first line may name
the delimiter, as many programs write it for Excel: `sep=;`. Files that were joined may have a byte order mark and a
header in their middle.

What is written: RFC 4180 with CRLF. A spreadsheet runs a cell that begins with `= + - @ TAB CR LF NUL` (or
the full-width form of the first four) as a formula, and legal addresses do begin with `= + -`. Such a cell
gets an apostrophe in front, and so does one that has only apostrophes before such a character. Reading takes
one off exactly those cells, so that any text comes back as it was: `+a@x` is written as `'+a@x`, `'+a@x` as
`''+a@x`, and `'a@x` stays as it is.

A second column, `recipient_status`, says who is not active (`unsubscribed`, `rejected`). Reading respects it,
so that nobody who has left becomes active on the way through a file.
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

# What headers call the column of addresses, without case, spaces and punctuation; an earlier set wins over a later one.
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
    }
    | {"correoelectrónico", "correoelectronico", "courriel", "emel", "alamatemel", "alamatemail", "epost", "eposta"}
    | {"电子邮件", "电子邮箱", "電子郵件", "電郵", "邮箱", "メールアドレス", "이메일"},
    {"mail", "mails", "mailaddress", "mailadresse", "adressemail", "correo", "メール"},
    {"address", "addresses", "adresse"},
)

# The longest line and cell, in characters: memory stays flat when a quotation mark is never closed.
MAX_LINE_LENGTH = 1 << 20
# How many lines are looked at for the delimiter and the header (a quoted header cell may hold line breaks).
HEAD_LINES = 20

DELIMITERS = ",;\t"
BYTE_ORDER_MARK = codecs.BOM_UTF8  # by which Excel knows that a file is UTF-8
_MARK = "\ufeff"
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SURROGATE = re.compile("[\udc80-\udcff]")  # how `surrogateescape` keeps a byte that is not UTF-8
_PUNCTUATION = re.compile(r"[\W_]+")
# What is taken off at both ends of a cell: every blank, and marks that were the beginning of a file.
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
    """What one line says: the text of an address, not checked here, and whether that recipient is active."""

    line: int
    text: str
    status: str = "active"


class InvalidLine(NamedTuple):
    """A line that cannot be read, and why."""

    line: int
    reason: str


class Unreadable(InvalidLine):
    """A line with which reading ends: nothing after it can be trusted."""


class Form(NamedTuple):
    """How a file is written; `header_line` is 0 where there is no header."""

    encoding: str
    has_mark: bool  # of the byte order
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
    """Yield each line that is not blank, in order; the last is Unreadable where the rest cannot be read.

    Lines are counted from 1, as an editor does; a row of several lines has the number of its first.
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
    """Return the first two bytes, and leave them in the stream."""
    if hasattr(stream, "peek"):  # a file, or a pipe
        return bytes(stream.peek(2)[:2])
    if not stream.seekable():
        return b""
    start = stream.read(2)
    stream.seek(-len(start), io.SEEK_CUR)
    return start


def form_of(start: bytes, *, lenient: bool = False) -> Form:
    """The form of a file that can be read, by the bytes it starts with: enough for its first lines."""
    mark, encoding = start.startswith(codecs.BOM_UTF8), "UTF-8"
    if lenient and start[:2] in _UTF_16:
        mark, encoding, text = True, "UTF-16", start.decode("utf-16", "replace")
    else:
        text = start.decode("utf-8-sig", "surrogateescape")
        # Three bytes at the end may be the beginning of a character that goes on in the rest.
        if lenient and _SURROGATE.search(text, 0, len(text) - 3):
            encoding = "Windows-1252"
    head = list(islice(io.StringIO(text, newline=""), HEAD_LINES))
    layout = _layout(*_without_separator_line(head))
    return Form(encoding, mark, layout.delimiter, layout.width, layout.header_line)


def encode_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows as CSV in which no cell is run by a spreadsheet."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([map(escape, row) for row in rows])
    return text.getvalue().encode()


def encode_pages(header: Sequence[str], pages: Iterable[Iterable[Sequence[str]]]) -> Iterator[bytes]:
    """Yield a CSV file in parts: the header, then each page of rows."""
    yield encode_rows([header])
    for page in pages:
        yield encode_rows(page)


def escape(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would run, and before what would look escaped."""
    return f"'{cell}" if _to_escape(cell) else cell


def unescape(cell: str) -> str:
    """Undo `escape`, for every text."""
    return cell[1:] if _is_escaped(cell) else cell


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE_LENGTH), ""), 1):
        if len(line) == MAX_LINE_LENGTH and line[-1] not in "\r\n":
            raise _UnreadableError(number, f"it is longer than {MAX_LINE_LENGTH:,} characters")
        yield line


def _rows(lines: Iterator[str], lenient: bool) -> Iterator[Row | InvalidLine]:
    head, delimiter = _without_separator_line(list(islice(lines, HEAD_LINES)))
    layout = _layout(head, delimiter)._replace(lenient=lenient)
    for line, cells in _records(chain(head, lines), layout.delimiter):
        if line != layout.header_line and (row := _row(line, cells, layout)):
            yield row


def _without_separator_line(head: list[str]) -> tuple[list[str], str | None]:
    """Return the lines with an empty one in place of `sep=…`, and the delimiter that it names."""
    for number, line in enumerate(head):
        text = line.lstrip(_BLANKS)
        if found := _SEPARATOR_LINE.fullmatch(text):
            if found[1] not in DELIMITERS:
                raise _UnreadableError(number + 1, "sep= names none of the delimiters comma, semicolon and tab")
            return [*head[:number], "\n", *head[number + 1 :]], found[1]
        if text:
            break
    return head, None


def _tidied(lines: Iterable[str], delimiter: str) -> Iterator[str]:
    """Yield the lines without blanks behind closing quotation marks, and without byte order marks before cells.

    Of marks in a record, every second one closes a cell or a pair of marks; blanks inside of a cell are kept.
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
    """Takes off what follows a quotation mark, if that closes a cell."""

    def __init__(self, is_open: bool) -> None:
        self.is_open = is_open

    def __call__(self, mark: re.Match[str]) -> str:
        self.is_open = not self.is_open
        return mark[0] if self.is_open else '"'


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record with the number of the line on which it begins."""
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
        return "text follows a closing quotation mark (an opening one may lack its partner)"
    if "field limit" in error:
        return f"a cell is longer than {MAX_LINE_LENGTH:,} characters (a quotation mark may lack its partner)"
    return "a quotation mark is opened here and never closed"


def _layout(head: list[str], named: str | None = None) -> _Layout:
    """Find delimiter, unless it is named, and columns by the first line that is not blank."""
    _refuse_other_encodings(head)
    firsts = {delimiter: _first_record(head, delimiter) for delimiter in named or DELIMITERS}
    for names in ADDRESS_NAMES:
        for delimiter, (line, cells) in firsts.items():
            if any(_plain_name(cell) in names for cell in cells):
                return _layout_by_header(delimiter, line, cells, names)
    delimiter = max(firsts, key=lambda each: len(firsts[each][1]))
    line, cells = firsts[delimiter]
    if any(cell.strip(_BLANKS) for cell in cells[1:]):
        reason = f"{len(cells)} columns, and no header that calls one {ADDRESS_COLUMN} or email"
        raise _UnreadableError(line, reason)
    if cells and "@" not in cells[0]:
        raise _UnreadableError(line, f"neither an address nor the header {ADDRESS_COLUMN} or email")
    return _Layout(delimiter)


def _plain_name(cell: str) -> str:
    """Return the name of a column as in ADDRESS_NAMES. What holds a delimiter is more than one cell."""
    return "" if any(map(cell.count, DELIMITERS)) else _PUNCTUATION.sub("", cell[:100]).lower()


def _refuse_other_encodings(head: list[str]) -> None:
    first = head[0] if head else ""
    # The two byte order marks as `surrogateescape` shows them; without a mark, every second byte is NUL.
    if first.startswith(("\udcff\udcfe", "\udcfe\udcff")) or "\0" in first:
        raise _UnreadableError(1, "the file is UTF-16, or no text; save it as UTF-8")


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
        hint = "" if names is ADDRESS_NAMES[0] else f"; call the one to read {ADDRESS_COLUMN}"
        raise _UnreadableError(line, f"the header calls two columns {called}{hint}")
    statuses = [place for place, cell in enumerate(cells) if cell.strip(_BLANKS).lower() == STATUS_COLUMN]
    if len(statuses) > 1:
        raise _UnreadableError(line, f"the header calls two columns {STATUS_COLUMN}")
    address, status = found[0], statuses[0] if statuses else None
    name = cells[address].strip(_BLANKS)[:100]
    return _Layout(delimiter, len(cells), address, status, max(address, status or 0) + 1, line, name)


def _row(line: int, cells: list[str], layout: _Layout) -> Row | InvalidLine | None:
    """Return what a record says, or None for a blank one."""
    whole = "".join(cells)
    if not whole.strip(_BLANKS):
        return None
    if "\0" in whole:
        return InvalidLine(line, "it holds a NUL character")
    if reason := _bad_shape(cells, layout):
        return InvalidLine(line, reason)
    cell = cells[layout.address]
    if not cell.isascii() and _SURROGATE.search(cell):
        try:
            cell = _as_windows_1252(cell) if layout.lenient else cell.encode().decode()
        except UnicodeError:
            return InvalidLine(line, "it is not UTF-8; save the file as UTF-8")
    text = unescape(cell.strip(_BLANKS))
    if "@" not in text and text.lower() in (ADDRESS_COLUMN, layout.name.lower()):
        return None  # the header again, in the middle of files that were joined
    if layout.status is None:
        return Row(line, text)
    status = cells[layout.status].strip(_BLANKS).lower()
    if status not in RECIPIENT_STATUSES:
        return InvalidLine(line, f"{STATUS_COLUMN} is none of {', '.join(RECIPIENT_STATUSES)}")
    return Row(line, text, status)


def _as_windows_1252(cell: str) -> str:
    """Return a cell that is not UTF-8 as Excel's plain "CSV" means it. Raises UnicodeError."""
    return cell.encode("utf-8", "surrogateescape").decode("cp1252")


def _bad_shape(cells: list[str], layout: _Layout) -> str:
    if len(cells) > layout.width and any(cell.strip(_BLANKS) for cell in cells[layout.width :]):
        return f"it has more cells ({len(cells)}) than there are columns ({layout.width})"
    if len(cells) < layout.least:
        return f"it has fewer cells ({len(cells)}) than there are columns ({layout.width})"
    if not cells[layout.address].strip(_BLANKS):
        return f"{layout.name} is empty"
    return ""
