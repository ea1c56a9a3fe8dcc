"""Read, import or undo an uploaded file of recipients in a background thread.

Progress is recorded in the database, so that any process can show it. If the process dies, the heartbeat of the import
stops. In that case nothing was imported, and the user can start the step again.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO, cast

from database import Database, DBError, NoSuchList, TooManyFields, open_database
from intake.recipients_csv.columns import Layout, Wanted
from intake.recipients_csv.format import encode_rows
from intake.recipients_csv.import_options import read_options
from intake.recipients_csv.reader import AddressFile, PreviewFile, Seen
from intake.recipients_csv.rows import (
    InvalidLine,
    UnknownColumn,
    form_of,
    invalid_cells,
    invalid_header,
    readable,
)
from intake.text import printable
from settings import Settings

PART_BYTES = 1 << 18  # a file is stored and read in parts of this size
MAX_INVALID_LINES = 10_000  # that are saved for download
PREVIEW_INVALID = 20  # invalid lines that the page shows
MAX_SHOWN_LENGTH = 120  # characters of an invalid line on the page
WRITE_TIMEOUT = 60.0  # seconds to wait for other writers


class Parts(io.RawIOBase):
    """The bytes of an uploaded file. Before each part, calls `note` with the number of bytes read so far."""

    def __init__(self, read: Callable[[int], bytes], note: Callable[[int], None]) -> None:
        self._read = read
        self._note = note
        self._part = 0
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io.BufferedReader gives
        if not self._rest:
            self._note(self._position)
            self._rest = memoryview(self._read(self._part))
            self._part += 1
            self._position += len(self._rest)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def start(settings: Settings, logger: logging.Logger, import_id: int, step: str) -> threading.Thread:
    """Start a thread that runs the step `read`, `import` or `undo`, which the caller has started in the database."""
    arguments = (settings, logger, import_id, step)
    thread = threading.Thread(target=run, args=arguments, name=f"import {import_id}", daemon=True)
    thread.start()
    return thread


def run(settings: Settings, logger: logging.Logger, import_id: int, step: str) -> None:
    """Run a step. A database error is logged and recorded in the import."""
    try:
        # Two connections: one stores the addresses while the other reads the file and records progress.
        with open_database(settings, WRITE_TIMEOUT) as database, open_database(settings, WRITE_TIMEOUT) as other:
            STEPS[step](settings, database, other, import_id)
    except DBError as error:
        logger.error("import %d failed: %s", import_id, error)
        with suppress(DBError), open_database(settings) as database:  # if this fails, the heartbeat still stops
            database.imports.break_off(import_id, str(error))


def _read(settings: Settings, database: Database, other: Database, import_id: int) -> None:
    import_ = database.imports.get(import_id)
    options = read_options(import_.options if import_ else None)
    known_names = database.recipients.field_names()
    lists = database.lists.ids()
    file = PreviewFile(
        _stream(other, import_id),
        MAX_INVALID_LINES,
        single_label=settings.single_label_domains,
        wanted=options.wanted(known_names),
        lists=lists,
    )
    comparison = database.imports.compare(file)
    start = other.imports.part(import_id, 0)
    form = form_of(start, options.wanted(known_names), lenient=True)
    if isinstance(file.unreadable, UnknownColumn):
        preview = {**form._asdict(), "question": file.unreadable.reason, "rows": [], "invalid": []}
        counts = {"valid": 0, "invalid": 0, "skipped": 0}
        database.imports.ready(import_id, comparison, **counts, preview=json.dumps(preview), invalid_lines="")
        return
    invalid_lines = _csv_of(file.layout, file.invalid_lines)
    if error := _error(file):
        database.imports.refuse(import_id, error, file.invalid_count, invalid_lines)
        return
    preview = {**form._asdict(), **_preview(database, file)}
    read = {"valid": file.count, "invalid": file.invalid_count, "skipped": file.skipped}
    database.imports.ready(import_id, comparison, **read, preview=json.dumps(preview), invalid_lines=invalid_lines)


def _import(settings: Settings, database: Database, other: Database, import_id: int) -> None:
    import_ = database.imports.get(import_id)
    preview = json.loads(import_.preview or "{}") if import_ else {}
    fields = tuple((int(column), str(name)) for column, name in preview.get("fields", ()))
    file = AddressFile(
        _stream(other, import_id),
        single_label=settings.single_label_domains,
        lenient=True,
        wanted=Wanted(read_options(import_.options if import_ else None).address, fields),
        lists=database.lists.ids(),
    )
    try:
        database.imports.finish(import_id, file, datetime.now(UTC), field_names=file.field_names)
    except (NoSuchList, TooManyFields) as error:
        database.imports.break_off(import_id, str(error))


def _undo(_settings: Settings, database: Database, _other: Database, import_id: int) -> None:
    while database.imports.undo_some(import_id, datetime.now(UTC)):
        pass


STEPS = {"read": _read, "import": _import, "undo": _undo}


def _stream(database: Database, import_id: int) -> BinaryIO:
    imports = database.imports
    parts = Parts(
        lambda part: imports.part(import_id, part),
        lambda position: imports.note(import_id, position, datetime.now(UTC)),
    )
    return cast(BinaryIO, io.BufferedReader(parts, PART_BYTES))


def _error(file: PreviewFile) -> str:
    """Return why nothing of the file can be imported, or an empty string."""
    if file.unreadable:
        return f"cannot read the file from line {file.unreadable.line:,}: {file.unreadable.reason}"
    if not file.invalid_count + file.count + file.skipped:
        return "the file contains no recipients"
    if not file.count + file.skipped:
        first = file.invalid_lines[0]
        return f"the file has no valid lines; line {first.line:,}: {first.reason.rstrip('.')}"
    return ""


def _preview(database: Database, file: PreviewFile) -> dict[str, object]:
    rows = []
    keys: set[str] = set()
    for row in file.seen:
        result = _result(database, row, keys)
        rows.append({"line": row.line, "text": row.text, "result": result, "reason": row.reason})
    invalid = [
        {"line": line.line, "reason": line.reason, "text": _shortened(line.cells, file.layout)}
        for line in file.invalid_lines[:PREVIEW_INVALID]
    ]
    return {"rows": rows, "invalid": invalid, "unknown_lists": list(file.unknown_lists.values())}


def _shortened(cells: Sequence[str], layout: Layout) -> str:
    text = layout.delimiter.join(readable(cell) for cell in cells).replace("\t", " ")
    return printable(text, MAX_SHOWN_LENGTH).replace("\n", " ")


def _result(database: Database, row: Seen, keys: set[str]) -> str:
    """Return the outcome of importing a row: a field of Comparison, `duplicate`, or '' if it is invalid or skipped."""
    if row.address is None:
        return ""
    if row.address.key in keys:
        return "duplicate"
    keys.add(row.address.key)
    comparison = database.imports.compare([row.address])
    return next(result for result, number in comparison._asdict().items() if number)


def _csv_of(layout: Layout, lines: Sequence[InvalidLine]) -> str:
    """Return the invalid lines with their reasons, ready to be corrected and imported again."""
    rows = [invalid_header(layout), *(invalid_cells(line, layout) for line in lines)]
    return encode_rows(rows).decode("utf-8", "replace") if lines else ""
