"""The file that an import reads: its addresses one at a time, and at its end what was wrong with it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import click

from commands.csv_file import BadLine, Row, read_rows
from commands.errors import printable
from database import Address
from web.validation import ValidationError, clean_address

SHOWN = 20  # bad lines that are named; the rest is counted
STEP = 10_000  # rows from one look at the progress to the next


class BadLinesError(click.ClickException):
    """The file has bad lines. Raised out of the iteration, it takes back what was stored before."""

    def __init__(self, lines: list[BadLine], count: int) -> None:
        super().__init__(f"{count:,} bad line{'s' if count > 1 else ''}; nothing was imported")
        self.lines = lines
        self.count = count

    def show(self, file: IO[Any] | None = None) -> None:
        """Name the first lines and count the others."""
        for line, reason in self.lines:
            click.echo(printable(f"line {line}: {reason}"), file=file, err=True)
        if self.count > len(self.lines):
            click.echo(f"and {self.count - len(self.lines):,} more", file=file, err=True)
        super().show(file)


class ImportFile:
    """Iterates over the addresses of a CSV file in constant memory, and ends with BadLinesError if a line is bad."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bad: list[BadLine] = []
        self._bad_count = 0
        self.count = 0  # addresses given out
        self.inactive = 0  # rows whose recipient is not active by the file's own word: they are left out

    def __iter__(self) -> Iterator[Address]:
        for row in self._with_progress():
            address = self._address(row)
            if address and not self._bad:
                self.count += 1
                yield address
        if self._bad:
            raise BadLinesError(self._bad, self._bad_count)

    def _address(self, row: Row | BadLine) -> Address | None:
        """Return the address to add, or None where there is none; what is bad is noted."""
        if isinstance(row, BadLine):
            self._note(row)
            return None
        try:
            address = clean_address(row.text)
        except ValidationError as error:
            self._note(BadLine(row.line, f"{printable(row.text, 80)} {error.message}"))
            return None
        if row.status == "active":
            return address
        self.inactive += 1
        return None

    def _note(self, bad: BadLine) -> None:
        self._bad_count += 1
        if len(self._bad) < SHOWN:
            self._bad.append(bad)

    def _with_progress(self) -> Iterator[Row | BadLine]:
        """Pass the rows on; on a terminal, say now and then how far the file is read."""
        if not sys.stderr.isatty():
            yield from read_rows(self._file)
            return
        size = _size(self._file)
        try:
            for number, row in enumerate(read_rows(self._file), 1):
                yield row
                if number % STEP == 0:
                    share = f" ({self._file.tell() * 100 // size} %)" if size else ""
                    click.echo(f"\r{number:,} rows{share}", nl=False, err=True)
        finally:
            click.echo(f"\r{'':40}\r", nl=False, err=True)


def _size(file: BinaryIO) -> int | None:
    """Return the bytes of a file on disk; nothing for a pipe or a terminal."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
