"""The CSV format of recipients: names of columns, and rows to bytes. `rows.py` reads it.

Writing produces RFC 4180 with CRLF. A spreadsheet runs a cell that begins with `= + - @ TAB CR LF NUL` (or the
full-width form of the first four) as a formula, and valid addresses can begin with `= + -`. Such a cell gets an
apostrophe in front, and so does a cell with only apostrophes before such a character. Reading removes one apostrophe
from exactly those cells, so that every text survives: `+a@x` is written as `'+a@x`, `'+a@x` as `''+a@x`, and `'a@x`
unchanged.

A column `recipient_status` marks inactive recipients (`unsubscribed`, `rejected`). Reading respects it, so that
exporting and importing a file never reactivates anyone. A column `recipient_lists` has the names of lists, separated by
semicolons. Other columns are personal fields, if the reader is asked for them.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

ADDRESS_COLUMN = "recipient_email"
STATUS_COLUMN = "recipient_status"
LISTS_COLUMN = "recipient_lists"
LIST_SEPARATOR = ";"
BYTE_ORDER_MARK = codecs.BOM_UTF8  # tells Excel that the file is UTF-8
# Columns that a file of invalid lines has before those of the original file.
LINE_COLUMN, REASON_COLUMN = "line", "reason"

_RUN_BY_SPREADSHEETS = "=+\\-@\t\r\n\0＝＋－＠"
_to_escape = re.compile(f"'*[{_RUN_BY_SPREADSHEETS}]").match
_is_escaped = re.compile(f"'+[{_RUN_BY_SPREADSHEETS}]").match


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
