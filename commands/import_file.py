"""The file of `flask recipients import`: `intake/recipients_csv/reader.py`, with progress and errors for a terminal."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import click

from database import Address
from intake.recipients_csv.format import InvalidLine, Row
from intake.recipients_csv.reader import ImportFile, InvalidLinesError
from intake.text import printable

STEP = 10_000  # rows from one look at the progress to the next


class RefusedFileError(click.ClickException):
    """Nothing of the file was imported, because of its invalid lines."""

    def __init__(self, error: InvalidLinesError) -> None:
        super().__init__(str(error))
        self.error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Name the first lines and count the others."""
        for line, reason in self.error.lines:
            click.echo(printable(f"line {line}: {reason}"), file=file, err=True)
        if self.error.count > len(self.error.lines):
            click.echo(f"and {self.error.count - len(self.error.lines):,} more", file=file, err=True)
        super().show(file)


class ShownImportFile(ImportFile):
    """Shows on a terminal how far it has been read. Raises RefusedFileError if a line is invalid."""

    def __init__(self, file: BinaryIO, *, single_label: bool) -> None:
        super().__init__(file, single_label=single_label, lenient=True)
        self._stream = file

    def __iter__(self) -> Iterator[Address]:
        try:
            yield from super().__iter__()
        except InvalidLinesError as error:
            raise RefusedFileError(error) from None

    def _rows(self) -> Iterator[Row | InvalidLine]:
        if not sys.stderr.isatty():
            yield from super()._rows()
            return
        size = _size(self._stream)
        try:
            for number, row in enumerate(super()._rows(), 1):
                yield row
                if number % STEP == 0:
                    share = f" ({self._stream.tell() * 100 // size} %)" if size else ""
                    click.echo(f"\r{number:,} rows{share}", nl=False, err=True)
        finally:
            click.echo(f"\r{'':40}\r", nl=False, err=True)


def _size(file: BinaryIO) -> int | None:
    """Return the bytes of a file on disk; nothing for a pipe or a terminal."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
