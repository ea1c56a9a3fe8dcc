"""Read, import or undo an uploaded file of recipients, in a thread of its own.

Progress is recorded in the database, so that any process can show it. If the process dies, the heartbeat of the import
stops. Then nothing of the file was imported, and a person can start the step again.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO, cast

from database import Database, DBError, open_database
from intake.recipients_csv.format import InvalidLine, encode_rows, form_of
from intake.recipients_csv.reader import AddressFile, PreviewFile, Seen
from settings import Settings

PART_BYTES = 1 << 18  # a file is stored and read in parts of this size
MAX_INVALID_LINES = 10_000  # the number that is listed
PREVIEW_ROWS = 10
WRITE_TIMEOUT = 60.0  # seconds to wait for other writers


class Parts(io.RawIOBase):
    """The bytes of an uploaded file. Before each part, `note` is called with the number of bytes read so far."""

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
    """Start a thread that runs the step `read`, `import` or `undo`. The caller has begun it in the database."""
    arguments = (settings, logger, import_id, step)
    thread = threading.Thread(target=run, args=arguments, name=f"import {import_id}", daemon=True)
    thread.start()
    return thread


def run(settings: Settings, logger: logging.Logger, import_id: int, step: str) -> None:
    """Run a step. An error of the database is logged and recorded in the import."""
    try:
        # Two connections: one is busy storing, while the other reads the file and records the progress.
        with open_database(settings, WRITE_TIMEOUT) as database, open_database(settings, WRITE_TIMEOUT) as other:
            STEPS[step](settings, database, other, import_id)
    except DBError as error:
        logger.error("import %d broke off: %s", import_id, error)
        with suppress(DBError), open_database(settings) as database:  # if this fails, the heartbeat still stops
            database.imports.break_off(import_id, str(error))


def _read(settings: Settings, database: Database, other: Database, import_id: int) -> None:
    stream = _stream(other, import_id)
    single_label = settings.single_label_domains
    file = PreviewFile(stream, MAX_INVALID_LINES, PREVIEW_ROWS, single_label=single_label, lenient=True)
    comparison = database.imports.compare(file)
    error = _error(file)
    if error:
        database.imports.refuse(import_id, error, file.invalid_count, _csv_of(file.invalid_lines))
        return
    preview = json.dumps(_preview(database, file.seen, other.imports.part(import_id, 0)))
    read = {"valid": file.count, "invalid": file.invalid_count, "skipped": file.skipped}
    database.imports.ready(import_id, comparison, **read, preview=preview, invalid_lines=_csv_of(file.invalid_lines))


def _import(settings: Settings, database: Database, other: Database, import_id: int) -> None:
    file = AddressFile(_stream(other, import_id), single_label=settings.single_label_domains, lenient=True)
    database.imports.finish(import_id, file, datetime.now(UTC))


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
        return f"from line {file.unreadable.line:,} on it cannot be read: {file.unreadable.reason}"
    if not file.invalid_count + file.count + file.skipped:
        return "it has no recipients in it"
    if not file.count + file.skipped:
        return f"none of its lines can be taken; line {file.invalid_lines[0].line:,}: {file.invalid_lines[0].reason}"
    return ""


def _preview(database: Database, seen: Iterable[Seen], start: bytes) -> dict[str, object]:
    rows = []
    keys: set[str] = set()
    for row in seen:
        result = _result(database, row, keys)
        rows.append({"line": row.line, "text": row.text, "result": result, "reason": row.reason})
    return {**form_of(start, lenient=True)._asdict(), "rows": rows}


def _result(database: Database, row: Seen, keys: set[str]) -> str:
    """Return what an import makes of a row: a field of Comparison, `duplicate`, or '' for an invalid or skipped row."""
    if row.address is None:
        return ""
    if row.address.key in keys:
        return "duplicate"
    keys.add(row.address.key)
    comparison = database.imports.compare([row.address])
    return next(result for result, number in comparison._asdict().items() if number)


def _csv_of(lines: Iterable[InvalidLine]) -> str:
    return encode_rows([("line", "reason"), *((str(line), reason) for line, reason in lines)]).decode()
