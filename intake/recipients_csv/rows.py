"""Read the rows of a CSV file of recipients: bytes to texts. No database, no terminal, no checks of addresses.

Reading accepts UTF-8, with or without a byte order mark; lines that end in LF, CR or CRLF, also mixed; quoted and
unquoted cells; and comma, semicolon or tab as the delimiter. `columns.py` finds out which column has the addresses.
Blank lines and columns that are not used are ignored, whatever their encoding. The first line may name the delimiter,
as many programs do for Excel: `sep=;`. Concatenated files may have a byte order mark, such a line and a header in the
middle.

A `lenient` file may also be UTF-16, with or without a byte order mark, or Windows-1252, which Excel uses for "CSV": a
cell that is not UTF-8 is decoded as Windows-1252. There, a row with too many cells is accepted if no column but that of
the addresses is used and there is an address in it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import BinaryIO, NamedTuple

from database import RECIPIENT_STATUSES
from intake.personal_fields import as_json, check_value, stripped
from intake.recipients_csv import columns
from intake.recipients_csv.columns import BLANKS, DELIMITERS, MARK, AddressColumnUnknown, Layout, LayoutError, Wanted
from intake.recipients_csv.format import (
    ADDRESS_COLUMN,
    LINE_COLUMN,
    LIST_SEPARATOR,
    REASON_COLUMN,
    STATUS_COLUMN,
    unescape,
)

# The longest line and cell, in characters. Memory use is limited even if a quote is never closed.
MAX_LINE_LENGTH = 1 << 20
# Lines, and characters in them, that are searched for the delimiter and the header.
HEAD_LINES = 100
HEAD_LENGTH = 1 << 18
SAMPLES = 3  # values of each column that are shown
MAX_SAMPLE_LENGTH = 60  # characters

_SURROGATE = re.compile("[\udc80-\udcff]")  # how `surrogateescape` represents a byte that is not UTF-8
_SEPARATOR_LINE = re.compile(r"""[ ]*"?[ ]*sep[ ]*=[ ]*"?([^\s"]|\t)"?[\s,;"]*""", re.IGNORECASE)
_BEFORE_CELL = re.compile(f"(?:^|(?<=[,;\t]))[ ]*+{MARK}[ {MARK}]*+")
_AFTER_QUOTE = {
    delimiter: re.compile(rf'"((?:[^\S\r\n{delimiter}]|{MARK})++(?=[{delimiter}\r\n]|\Z))?') for delimiter in DELIMITERS
}
_ARCHIVES = {b"PK\x03\x04": "a workbook or another archive", b"\xd0\xcf\x11\xe0": "a workbook"}


class Row(NamedTuple):
    """The unchecked address in a line, the status of that recipient, and what else the line says about them."""

    line: int
    text: str
    status: str = "active"
    fields: str = ""  # JSON
    lists: tuple[str, ...] = ()  # names
    cells: Sequence[str] = ()


class InvalidLine(NamedTuple):
    """A line that cannot be read, and the reason."""

    line: int
    reason: str
    cells: Sequence[str] = ()


class Unreadable(InvalidLine):
    """A line at which reading stops, because nothing after it can be trusted."""


class UnknownColumn(Unreadable):
    """Reading did not start, because the user has to choose the address column."""


class Form(NamedTuple):
    """The form of a file. `header_line` is 0 if there is no header, and `address` is -1 if the user has to choose."""

    encoding: str
    has_mark: bool  # a byte order mark
    delimiter: str
    columns: int
    header_line: int
    headers: list[str]
    samples: list[list[str]]  # the first values of each column
    address: int
    is_named: bool  # whether the address column was recognised by its name
    special: list[int]  # the columns of statuses and lists
    fields: list[tuple[int, str]]
    proposed: list[tuple[int, str]]


class _UnreadableError(Exception):
    """Nothing after this line can be trusted."""

    def __init__(self, line: int, reason: str, kind: type[Unreadable] = Unreadable) -> None:
        super().__init__(reason)
        self.invalid_line = kind(line, reason)


class Rows:
    """Iterates over the lines of a file that are not blank. The last item is Unreadable if the rest cannot be read.

    Lines are counted from 1. A row that spans several lines has the number of its first line. `layout` is known once
    the iteration has begun.
    """

    def __init__(self, stream: BinaryIO, wanted: Wanted = Wanted(), *, lenient: bool = False) -> None:  # noqa: B008
        self.layout = Layout(",")
        self.field_names: set[str] = set()  # of fields for which there was a value
        self._stream = stream
        self._wanted = wanted
        self._lenient = lenient

    def __iter__(self) -> Iterator[Row | InvalidLine]:
        csv.field_size_limit(MAX_LINE_LENGTH)
        start = _start_of(self._stream)
        encoding = _utf_16(start) if self._lenient else None
        if encoding:
            text = io.TextIOWrapper(self._stream, encoding=encoding, errors="replace", newline="")
        else:
            text = io.TextIOWrapper(self._stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            _refuse_archives(start)
            yield from self._rows(_lines(text))
        except _UnreadableError as error:
            yield error.invalid_line
        finally:
            text.detach()  # else the wrapper closes the caller's stream

    def _rows(self, lines: Iterator[str]) -> Iterator[Row | InvalidLine]:
        head, delimiter = _without_separator_line(_head(lines))
        _refuse_other_encodings(head)
        try:
            self.layout = layout = columns.find_layout(head, delimiter, self._wanted, _tidied, lenient=self._lenient)
        except LayoutError as error:
            kind = UnknownColumn if isinstance(error, AddressColumnUnknown) else Unreadable
            raise _UnreadableError(error.line, error.reason, kind) from None
        is_simple = layout.lenient and layout.status is layout.lists is None and not (layout.fields or layout.is_text)
        is_simple = is_simple or (layout.width == 1 and not layout.is_text)
        yield from self._simple_rows(chain(head, lines)) if is_simple else self._full_rows(chain(head, lines))

    def _simple_rows(self, lines: Iterator[str]) -> Iterator[Row | InvalidLine]:
        """Yield the rows of a file of which only the addresses are used. Most of these need nothing else done to them.

        An import of a million rows spends most of its time here.
        """
        width, address = self.layout.width, self.layout.address
        new = tuple.__new__  # twice as fast as Row(…)
        for line, cells in _records(lines, self.layout.delimiter):
            if len(cells) == width:
                cell = cells[address]
                if "@" in cell and cell.isascii() and cell.isprintable() and cell[0].isalnum() and cell[-1].isalnum():
                    yield new(Row, (line, cell, "active", "", (), cells))
                    continue
            if line > self.layout.skipped and (row := self._row(line, cells)):
                yield row

    def _full_rows(self, lines: Iterator[str]) -> Iterator[Row | InvalidLine]:
        for line, cells in _records(lines, self.layout.delimiter):
            if line > self.layout.skipped and (row := self._row(line, cells)):
                yield row

    def _row(self, line: int, cells: list[str]) -> Row | InvalidLine | None:
        """Return the row for a record, or None if the record is blank."""
        whole = "".join(cells)
        if not whole.strip(BLANKS):
            return None
        layout = self.layout
        if layout.is_text:
            cells = [layout.delimiter.join(filter(str.strip, cells))]
        if reason := _bad_shape(cells, whole, layout):
            return None if _names_delimiter(cells, layout) else InvalidLine(line, reason, cells)
        try:
            text = unescape(self._cell(cells, layout.address).strip(BLANKS))
        except UnicodeError:
            return InvalidLine(line, "the address is not UTF-8 text; save the file as UTF-8", cells)
        if "@" not in text and (
            text.lower() in (ADDRESS_COLUMN, layout.name.lower()) or _names_delimiter(cells, layout)
        ):
            return None  # the header of a second file that was appended
        return self._with_others(Row(line, text, cells=cells))

    def _with_others(self, row: Row) -> Row | InvalidLine:
        """Add the status, the lists and the fields of a row."""
        layout, cells = self.layout, row.cells
        if layout.status is not None:
            status = cells[layout.status].strip(BLANKS).lower()
            if status not in RECIPIENT_STATUSES:
                reason = f"{STATUS_COLUMN} must be one of: {', '.join(RECIPIENT_STATUSES)}"
                return InvalidLine(row.line, reason, cells)
            row = row._replace(status=status)
        if layout.lists is not None:
            try:
                names = [each.strip(BLANKS) for each in unescape(self._cell(cells, layout.lists)).split(LIST_SEPARATOR)]
            except UnicodeError:
                return InvalidLine(row.line, "the names of lists are not UTF-8 text; save the file as UTF-8", cells)
            row = row._replace(lists=tuple(filter(None, names)))
        return self._with_fields(row) if layout.fields else row

    def _with_fields(self, row: Row) -> Row | InvalidLine:
        fields: dict[str, str] = {}
        cells = row.cells
        for place, name in self.layout.fields:
            if place >= len(cells):
                continue
            try:
                value = stripped(unescape(self._cell(cells, place).strip(BLANKS)))
            except UnicodeError:
                return InvalidLine(row.line, f"{name} is not UTF-8 text; save the file as UTF-8", cells)
            if value:
                if fault := check_value(value):
                    return InvalidLine(row.line, f"{name} {fault}", cells)
                fields[name] = value
        self.field_names.update(fields)
        return row._replace(fields=as_json(fields))

    def _cell(self, cells: Sequence[str], place: int) -> str:
        """Return a cell as text. Raises UnicodeError."""
        cell = cells[place]
        if cell.isascii() or not _SURROGATE.search(cell):
            return cell
        octets = cell.encode("utf-8", "surrogateescape")
        return octets.decode("cp1252" if self._lenient else "utf-8")


def read_rows(stream: BinaryIO, *, lenient: bool = False) -> Iterator[Row | InvalidLine]:
    """Yield the rows of a file, see Rows."""
    return iter(Rows(stream, lenient=lenient))


def form_of(start: bytes, wanted: Wanted = Wanted(), *, lenient: bool = False) -> Form:  # noqa: B008
    """Return the form of a file. `start` must contain its first lines."""
    csv.field_size_limit(MAX_LINE_LENGTH)
    mark, encoding = start.startswith(codecs.BOM_UTF8), "UTF-8"
    if lenient and (codec := _utf_16(start)):
        mark, encoding, text = codec == "utf-16", "UTF-16", start.decode(codec, "replace")
    else:
        text = start.decode("utf-8-sig", "surrogateescape")
        # The last three bytes may be an incomplete character.
        if lenient and _SURROGATE.search(text, 0, len(text) - 3):
            encoding = "Windows-1252"
    head, named = _without_separator_line(_head(iter(io.StringIO(text, newline=""))))
    address = None
    try:
        layout = columns.find_layout(head, named, wanted, _tidied, lenient=lenient)
    except LayoutError:
        layout, address = columns.guess_table(head, named, _tidied), -1
    special = [each for each in (layout.status, layout.lists) if each is not None]
    proposed = columns.proposed_fields(layout, {*special, layout.address if address is None else None})
    samples = _samples(head, layout)
    headers = [*layout.header, *[""] * (layout.width - len(layout.header))]
    address = layout.address if address is None else address
    found = (list(layout.fields), list(proposed.items()))
    places = (layout.delimiter, layout.width, layout.header_line, headers, samples, address, layout.is_named, special)
    return Form(encoding, mark, *places, *found)


def _samples(head: Sequence[str], layout: Layout) -> list[list[str]]:
    """Return the first values of each column, shortened, each value once."""
    samples: list[list[str]] = [[] for _ in range(layout.width)]
    try:
        for line, cells in _records(head, layout.delimiter):
            if line > layout.skipped:
                for column, cell in zip(samples, cells, strict=False):
                    text = readable(cell.strip(BLANKS))[:MAX_SAMPLE_LENGTH]
                    if text and text not in column and len(column) < SAMPLES:
                        column.append(text)
    except _UnreadableError:
        pass  # the reader names it
    return samples


def readable(cell: str) -> str:
    """Return a cell as text, as far as possible."""
    return cell.encode("utf-8", "surrogateescape").decode("cp1252", "replace") if _SURROGATE.search(cell) else cell


def _start_of(stream: BinaryIO) -> bytes:
    """Return the first bytes without consuming them."""
    if hasattr(stream, "peek"):  # a file, or a pipe
        return bytes(stream.peek(8)[:8])
    if not stream.seekable():
        return b""
    start = stream.read(8)
    stream.seek(-len(start), io.SEEK_CUR)
    return start


def _utf_16(start: bytes) -> str | None:
    """Return the codec if the file is UTF-16. Without a byte order mark, it begins with two ASCII characters."""
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zeros = [octet == 0 for octet in start[:4]]
    return {(False, True, False, True): "utf-16-le", (True, False, True, False): "utf-16-be"}.get(tuple(zeros))  # type: ignore[arg-type]


def _refuse_archives(start: bytes) -> None:
    if what := _ARCHIVES.get(start[:4]):
        raise _UnreadableError(1, f"the file is {what}, not CSV; open it and save it as CSV UTF-8")


def _refuse_other_encodings(head: list[str]) -> None:
    first = head[0] if head else ""
    # The two byte order marks as `surrogateescape` represents them. Without one, every second byte is NUL.
    if first.startswith(("\udcff\udcfe", "\udcfe\udcff")) or "\0" in first:
        raise _UnreadableError(1, "the file is UTF-16 or not text; save it as CSV UTF-8")


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE_LENGTH), ""), 1):
        if len(line) == MAX_LINE_LENGTH and line[-1] not in "\r\n":
            raise _UnreadableError(number, f"the line is too long (limit: {MAX_LINE_LENGTH:,} characters)")
        yield line


def _head(lines: Iterator[str]) -> list[str]:
    """Return the first lines: HEAD_LINES, or fewer if they are long."""
    head: list[str] = []
    length = 0
    while len(head) < HEAD_LINES and length < HEAD_LENGTH and (line := next(lines, "")):
        head.append(line)
        length += len(line)
    return head


def _without_separator_line(head: list[str]) -> tuple[list[str], str | None]:
    """Replace the line `sep=…` with an empty one, and return the lines and the delimiter that it names."""
    for number, line in enumerate(head):
        text = line.lstrip(BLANKS)
        if found := _SEPARATOR_LINE.fullmatch(text):
            if found[1] not in DELIMITERS:
                raise _UnreadableError(number + 1, "sep= must be followed by a comma, a semicolon or a tab")
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
        if '"' not in line and MARK not in line:  # most lines
            yield line
            continue
        if MARK in line:
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


def _names_delimiter(cells: Sequence[str], layout: Layout) -> bool:
    """Return whether a record is a line `sep=…` that names the delimiter of this file."""
    found = _SEPARATOR_LINE.fullmatch(layout.delimiter.join(cells))
    return found is not None and found[1] == layout.delimiter


def _bad_shape(cells: Sequence[str], whole: str, layout: Layout) -> str:
    if "\0" in whole and _has_nul(cells, layout):
        return "the line contains a NUL character"
    if len(cells) > layout.width and any(cell.strip(BLANKS) for cell in cells[layout.width :]):
        uses_others = layout.fields or layout.status is not None or layout.lists is not None
        if not layout.lenient or uses_others or not columns.is_address(cells[layout.address]):
            return f"too many cells ({len(cells)}; the header has {layout.width})"
    if len(cells) < layout.least:
        return f"too few cells ({len(cells)}; the header has {layout.width})"
    if not cells[layout.address].strip(BLANKS):
        return f"{layout.name} is empty"
    return ""


def _has_nul(cells: Sequence[str], layout: Layout) -> bool:
    if not layout.lenient:
        return True
    used = {layout.address, layout.status, layout.lists, *(place for place, _ in layout.fields)}
    return any("\0" in cell for place, cell in enumerate(cells) if place in used)


def invalid_header(layout: Layout) -> list[str]:
    """Return the header for a file of invalid lines, which can be corrected and imported again."""
    header = [*layout.header] or [""] * layout.width
    header = [name or f"column {place + 1}" for place, name in enumerate(header)]
    if not layout.is_named:
        header[layout.address : layout.address + 1] = [ADDRESS_COLUMN]
    return [LINE_COLUMN, REASON_COLUMN, *header[_repeated(layout) :]]


def invalid_cells(invalid: InvalidLine, layout: Layout) -> list[str]:
    """Return a row of that file."""
    cells = [readable(cell).replace("\0", "") for cell in invalid.cells]
    return [str(invalid.line), invalid.reason, *cells[_repeated(layout) :]]


def _repeated(layout: Layout) -> int:
    """Return how many columns at the beginning are those of an earlier file of invalid lines."""
    return 2 if [name.lower() for name in layout.header[:2]] == [LINE_COLUMN, REASON_COLUMN] else 0
