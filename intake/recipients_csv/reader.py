"""The CSV file that an import reads: its addresses one at a time, and at its end what was wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from database import Address
from intake.address import clean_address
from intake.errors import ValidationError
from intake.recipients_csv.format import BadLine, Row, Unreadable, read_rows
from intake.text import printable


class BadLinesError(Exception):
    """The file has bad lines: the first of them, and how many. Out of the iteration, it takes back what was stored."""

    def __init__(self, lines: list[BadLine], count: int) -> None:
        super().__init__(f"{count:,} bad line{'s' if count > 1 else ''}; nothing was imported")
        self.lines = lines
        self.count = count


class AddressFile:
    """Iterates over the addresses of a CSV file in constant memory, and notes the lines that are bad."""

    def __init__(self, file: BinaryIO, most_bad: int = 20, *, single_label: bool = False) -> None:
        self._file = file
        self._single_label = single_label  # whether domains may lack a dot
        self._most_bad = most_bad
        self.bad: list[BadLine] = []  # the first of them
        self.bad_count = 0
        self.count = 0  # addresses given out
        self.inactive = 0  # rows whose recipient is not active by the file's own word: they are left out

    def __iter__(self) -> Iterator[Address]:
        for row in self._rows():
            if address := self._address(row):
                self.count += 1
                yield address

    def _rows(self) -> Iterable[Row | BadLine]:
        return read_rows(self._file)

    def _address(self, row: Row | BadLine) -> Address | None:
        """Return the address to add, or None where there is none; what is bad is noted."""
        if isinstance(row, BadLine):
            self._note(row)
            return None
        try:
            address = clean_address(row.text, single_label=self._single_label)
        except ValidationError as error:
            self._note(BadLine(row.line, f"{printable(row.text, 80)} {error.message}"))
            return None
        if row.status == "active":
            return address
        self.inactive += 1
        return None

    def _note(self, bad: BadLine) -> None:
        self.bad_count += 1
        if len(self.bad) < self._most_bad:
            self.bad.append(bad)


class ImportFile(AddressFile):
    """One that is taken in whole or not at all: it ends with BadLinesError if a line is bad."""

    def __iter__(self) -> Iterator[Address]:
        for address in super().__iter__():
            if not self.bad:
                yield address
        if self.bad:
            raise BadLinesError(self.bad, self.bad_count)


class Seen(NamedTuple):
    """One of the first rows: its address, or why there is none to be added."""

    line: int
    text: str
    address: Address | None
    reason: str = ""


class PreviewFile(AddressFile):
    """One that is looked at before it is taken: its first rows are kept, and where it cannot be read any further."""

    def __init__(self, file: BinaryIO, most_bad: int, most_seen: int, *, single_label: bool = False) -> None:
        super().__init__(file, most_bad, single_label=single_label)
        self.seen: list[Seen] = []
        self.unreadable: Unreadable | None = None
        self._most_seen = most_seen

    def _address(self, row: Row | BadLine) -> Address | None:
        bad = self.bad_count
        address = super()._address(row)
        if isinstance(row, Unreadable):
            self.unreadable = row
        if len(self.seen) < self._most_seen:
            reason = (
                "" if address else self.bad[-1].reason if self.bad_count > bad else "not active, by the file itself"
            )
            self.seen.append(Seen(row.line, "" if isinstance(row, BadLine) else row.text, address, reason))
        return address
