"""The CSV file that an import reads: its addresses one at a time, and at its end what was wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from database import Address
from web.csv_file import BadLine, Row, read_rows
from web.invalid import ValidationError
from web.printable import printable
from web.validation import clean_address


class BadLinesError(Exception):
    """The file has bad lines: the first of them, and how many. Out of the iteration, it takes back what was stored."""

    def __init__(self, lines: list[BadLine], count: int) -> None:
        super().__init__(f"{count:,} bad line{'s' if count > 1 else ''}; nothing was imported")
        self.lines = lines
        self.count = count


class ImportFile:
    """Iterates over the addresses of a CSV file in constant memory, and ends with BadLinesError if a line is bad."""

    def __init__(self, file: BinaryIO, most_bad: int = 20) -> None:
        self._file = file
        self._most_bad = most_bad
        self._bad: list[BadLine] = []
        self._bad_count = 0
        self.count = 0  # addresses given out
        self.inactive = 0  # rows whose recipient is not active by the file's own word: they are left out

    def __iter__(self) -> Iterator[Address]:
        for row in self._rows():
            address = self._address(row)
            if address and not self._bad:
                self.count += 1
                yield address
        if self._bad:
            raise BadLinesError(self._bad, self._bad_count)

    def _rows(self) -> Iterable[Row | BadLine]:
        return read_rows(self._file)

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
        if len(self._bad) < self._most_bad:
            self._bad.append(bad)
