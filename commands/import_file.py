"""The file of `flask recipients import`: adds progress and error output to `intake/recipients_csv/reader.py`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, BinaryIO

import click

from database import Address
from intake.recipients_csv.columns import Wanted
from intake.recipients_csv.reader import AS_IT_IS, ImportFile, InvalidLinesError
from intake.recipients_csv.rows import InvalidLine, Row, UnknownColumn
from intake.text import printable

PROGRESS_ROWS = 10_000  # between two updates of the progress


class RefusedFileError(click.ClickException):
    """Nothing was imported from the file, because it has invalid lines."""

    def __init__(self, error: InvalidLinesError) -> None:
        super().__init__(str(error))
        self.error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the first invalid lines and the number of the others."""
        show_invalid(self.error.lines, self.error.count, file)
        if any(isinstance(line, UnknownColumn) for line in self.error.lines):
            click.echo("Name the column: --address-column NAME (or its number)", file=file, err=True)
        super().show(file)


def show_invalid(lines: Sequence[InvalidLine], count: int, file: IO[Any] | None = None) -> None:
    """Print the first invalid lines and the number of the others."""
    for line, reason, _ in lines:
        click.echo(printable(f"line {line}: {reason}"), file=file, err=True)
    if count > len(lines):
        click.echo(f"and {count - len(lines):,} more", file=file, err=True)


class ShownImportFile(ImportFile):
    """Shows the progress on a terminal. The iteration raises RefusedFileError if a line is invalid.

    With `skip_invalid`, it raises RefusedFileError only if the file cannot be read to its end, or has no valid line.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        single_label: bool,
        wanted: Wanted = AS_IT_IS,
        lists: Mapping[str, int] | None = None,
        skip_invalid: bool = False,
    ) -> None:
        super().__init__(file, single_label=single_label, lenient=True, wanted=wanted, lists=lists)
        self._stream = file
        self.skip_invalid = skip_invalid
        if skip_invalid:
            self.max_invalid = -1

    def __iter__(self) -> Iterator[Address]:
        try:
            yield from super().__iter__()
        except InvalidLinesError as error:
            raise RefusedFileError(error) from None
        if self.invalid_lines and not self.count + self.skipped:
            raise RefusedFileError(InvalidLinesError(self.invalid_lines, self.invalid_count))

    def _rows(self) -> Iterator[Row | InvalidLine]:
        if not sys.stderr.isatty():
            yield from super()._rows()
            return
        size = _size(self._stream)
        try:
            for number, row in enumerate(super()._rows(), 1):
                yield row
                if number % PROGRESS_ROWS == 0:
                    share = f" ({self._stream.tell() * 100 // size}%)" if size else ""
                    click.echo(f"\r{number:,} rows{share}", nl=False, err=True)
        finally:
            click.echo(f"\r{'':40}\r", nl=False, err=True)


def _size(file: BinaryIO) -> int | None:
    """Return the size in bytes of a regular file; None for a pipe or a terminal."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
