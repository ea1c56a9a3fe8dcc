"""The CSV form of recipients: bytes to rows, rows to bytes. No database, no terminal.

What is read: UTF-8, with or without a byte order mark; lines that end in LF, CR or CRLF, mixed; cells quoted
or not; `,`, `;` or tab between them. The column is the one that the header calls `recipient_email` (in any
case); a file of one column needs no header. Blank lines and other columns are passed over. The first line may name
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

# The longest line and cell, in characters: memory stays flat when a quotation mark is never closed.
MAX_LINE_LENGTH = 1 << 20
# How many lines are looked at for the delimiter and the header (a quoted header cell may hold line breaks).
HEAD_LINES = 20

DELIMITERS = ",;\t"
BYTE_ORDER_MARK = codecs.BOM_UTF8  # by which Excel knows that a file is UTF-8
_MARK = "\ufeff"
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


def read_rows(stream: BinaryIO) -> Iterator[Row | InvalidLine]:
    """Yield each line that is not blank, in order; the last is Unreadable where the rest cannot be read.

    Lines are counted from 1, as an editor does; a row of several lines has the number of its first.
    """
    csv.field_size_limit(MAX_LINE_LENGTH)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _rows(_lines(text))
    except _UnreadableError as error:
        yield error.invalid_line
    finally:
        text.detach()  # else the wrapper closes the caller's stream


def form_of(start: bytes) -> Form:
    """The form of a file that can be read, by the bytes it starts with: enough for its first lines."""
    head = list(islice(io.StringIO(start.decode("utf-8-sig", "surrogateescape"), newline=""), HEAD_LINES))
    layout = _layout(*_without_separator_line(head))
    return Form(start.startswith(codecs.BOM_UTF8), layout.delimiter, layout.width, layout.header_line)


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


def _rows(lines: Iterator[str]) -> Iterator[Row | InvalidLine]:
    head, delimiter = _without_separator_line(list(islice(lines, HEAD_LINES)))
    layout = _layout(head, delimiter)
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
    for delimiter, (line, cells) in firsts.items():
        names = [cell.strip(_BLANKS).lower() for cell in cells]
        if ADDRESS_COLUMN in names:
            return _layout_by_header(delimiter, line, names)
    delimiter = max(firsts, key=lambda each: len(firsts[each][1]))
    line, cells = firsts[delimiter]
    if any(cell.strip(_BLANKS) for cell in cells[1:]):
        raise _UnreadableError(line, f"{len(cells)} columns, and no header that calls one {ADDRESS_COLUMN}")
    if cells and "@" not in cells[0]:
        raise _UnreadableError(line, f"neither an address nor the header {ADDRESS_COLUMN}")
    return _Layout(delimiter)


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


def _layout_by_header(delimiter: str, line: int, names: list[str]) -> _Layout:
    for name in (ADDRESS_COLUMN, STATUS_COLUMN):
        if names.count(name) > 1:
            raise _UnreadableError(line, f"the header calls two columns {name}")
    address = names.index(ADDRESS_COLUMN)
    status = names.index(STATUS_COLUMN) if STATUS_COLUMN in names else None
    return _Layout(delimiter, len(names), address, status, max(address, status or 0) + 1, line)


def _row(line: int, cells: list[str], layout: _Layout) -> Row | InvalidLine | None:
    """Return what a record says, or None for a blank one."""
    whole = "".join(cells)
    if not whole.strip(_BLANKS):
        return None
    if reason := _bad_text(whole) or _bad_shape(cells, layout):
        return InvalidLine(line, reason)
    text = unescape(cells[layout.address].strip(_BLANKS))
    if text.lower() == ADDRESS_COLUMN:  # the header again, in the middle of files that were joined
        return None
    if layout.status is None:
        return Row(line, text)
    status = cells[layout.status].strip(_BLANKS).lower()
    if status not in RECIPIENT_STATUSES:
        return InvalidLine(line, f"{STATUS_COLUMN} is none of {', '.join(RECIPIENT_STATUSES)}")
    return Row(line, text, status)


def _bad_text(whole: str) -> str:
    if "\0" in whole:
        return "it holds a NUL character"
    if whole.isascii():
        return ""
    try:
        whole.encode()
    except UnicodeEncodeError:  # a lone surrogate: how `surrogateescape` keeps a byte that is no UTF-8
        return "it is not UTF-8; save the file as UTF-8"
    return ""


def _bad_shape(cells: list[str], layout: _Layout) -> str:
    if len(cells) > layout.width and any(cell.strip(_BLANKS) for cell in cells[layout.width :]):
        return f"it has more cells ({len(cells)}) than there are columns ({layout.width})"
    if len(cells) < layout.least:
        return f"it has fewer cells ({len(cells)}) than there are columns ({layout.width})"
    if not cells[layout.address].strip(_BLANKS):
        return f"{ADDRESS_COLUMN} is empty"
    return ""
