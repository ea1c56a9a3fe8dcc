"""The CSV file that an import reads: its addresses one at a time, and its invalid lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from database import Address
from intake.address import clean_address, clean_typed_address
from intake.errors import ValidationError
from intake.recipients_csv.format import InvalidLine, Row, Unreadable, read_rows
from intake.text import printable

MAX_COUNTED = 10_000  # invalid lines, after which the rest of a file that is refused anyway is not read
MAX_PREVIEWED = 100_000  # invalid lines, after which a file counts as no list of recipients


class InvalidLinesError(Exception):
    """The file has invalid lines: the first of them, and how many, of which MAX_COUNTED are counted.

    The iteration raises it at its end, so that whoever stores the addresses rolls back.
    """

    def __init__(self, lines: list[InvalidLine], count: int) -> None:
        at_least = "at least " if count >= MAX_COUNTED else ""
        super().__init__(f"{at_least}{count:,} bad line{'s' if count > 1 else ''}; nothing was imported")
        self.lines = lines
        self.count = count


class AddressFile:
    """Iterates over the addresses of a CSV file in constant memory, and records its invalid lines.

    A cell may also hold `Name <address>` or a `mailto:` link. `lenient` is that of `read_rows`.
    """

    max_invalid: int | None = None  # after so many, the file is read no further

    def __init__(
        self, file: BinaryIO, max_listed: int = 20, *, single_label: bool = False, lenient: bool = False
    ) -> None:
        self._file = file
        self._lenient = lenient
        self._single_label = single_label  # whether domains may lack a dot
        self._max_listed = max_listed
        self.invalid_lines: list[InvalidLine] = []  # the first ones
        self.invalid_count = 0
        self.count = 0  # addresses that were yielded
        self.skipped = 0  # rows that the file itself marks as not active

    def __iter__(self) -> Iterator[Address]:
        for row in self._rows():
            if address := self._address(row):
                self.count += 1
                yield address
            elif self.invalid_count == self.max_invalid:
                break

    def _rows(self) -> Iterable[Row | InvalidLine]:
        return read_rows(self._file, lenient=self._lenient)

    def _address(self, row: Row | InvalidLine) -> Address | None:
        """Return the address to add; if there is none, count the row as invalid or skipped, and return None."""
        if isinstance(row, InvalidLine):
            self._record_invalid(row)
            return None
        clean = clean_typed_address if ">" in row.text or ":" in row.text else clean_address
        try:
            address = clean(row.text, single_label=self._single_label)
        except ValidationError as error:
            self._record_invalid(InvalidLine(row.line, f"{printable(row.text, 80)} {error.message}"))
            return None
        if row.status == "active":
            return address
        self.skipped += 1
        return None

    def _record_invalid(self, line: InvalidLine) -> None:
        self.invalid_count += 1
        if len(self.invalid_lines) < self._max_listed:
            self.invalid_lines.append(line)


class ImportFile(AddressFile):
    """A file that is imported as a whole or not at all: the iteration raises InvalidLinesError if a line is invalid."""

    max_invalid = MAX_COUNTED

    def __iter__(self) -> Iterator[Address]:
        for address in super().__iter__():
            if not self.invalid_lines:
                yield address
        if self.invalid_lines:
            raise InvalidLinesError(self.invalid_lines, self.invalid_count)


class Seen(NamedTuple):
    """One of the first rows: its address, or the reason why there is none to add."""

    line: int
    text: str
    address: Address | None
    reason: str = ""


class PreviewFile(AddressFile):
    """A file that is previewed: keeps its first rows, and the line from which on it cannot be read."""

    max_invalid = MAX_PREVIEWED

    def __init__(
        self, file: BinaryIO, max_listed: int, max_seen: int, *, single_label: bool = False, lenient: bool = False
    ) -> None:
        super().__init__(file, max_listed, single_label=single_label, lenient=lenient)
        self.seen: list[Seen] = []
        self.unreadable: Unreadable | None = None
        self._max_seen = max_seen

    def _address(self, row: Row | InvalidLine) -> Address | None:
        invalid_before = self.invalid_count
        address = super()._address(row)
        if isinstance(row, Unreadable):
            self.unreadable = row
        elif self.invalid_count == self.max_invalid:
            self.unreadable = Unreadable(row.line, f"{self.invalid_count:,} bad lines are too many")
        if len(self.seen) < self._max_seen:
            reason = "" if address else "not active, by the file itself"
            if self.invalid_count > invalid_before:
                reason = self.invalid_lines[-1].reason
            self.seen.append(Seen(row.line, "" if isinstance(row, InvalidLine) else row.text, address, reason))
        return address
