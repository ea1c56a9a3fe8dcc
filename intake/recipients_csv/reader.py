"""Read the addresses of a CSV file one at a time, and collect its invalid lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from database import Address
from intake.address import clean_address, clean_typed_address
from intake.errors import ValidationError
from intake.recipients_csv.format import InvalidLine, Row, Unreadable, read_rows
from intake.text import printable

MAX_COUNTED = 10_000  # invalid lines, after which the rest of the file is not read, because it is rejected anyway
# Characters in distinct domains that are not ASCII: each costs up to 10 µs (IDNA), ten times as much as anything else.
MAX_IDNA_LENGTH = 300_000
MAX_PREVIEWED = 100_000  # invalid lines, after which the file is not considered a list of recipients


class InvalidLinesError(Exception):
    """The file has invalid lines. `lines` are the first of them, and `count` is their number, up to MAX_COUNTED.

    Raised at the end of the iteration, so that the caller rolls back what it has stored.
    """

    def __init__(self, lines: list[InvalidLine], count: int) -> None:
        at_least = "at least " if count >= MAX_COUNTED else ""
        super().__init__(f"Nothing was imported: {at_least}{count:,} invalid line{'s' if count > 1 else ''}")
        self.lines = lines
        self.count = count


class AddressFile:
    """Iterates over the addresses of a CSV file in constant memory, and records its invalid lines.

    A cell may also contain `Name <address>` or a `mailto:` link. `lenient` is passed to `read_rows`.
    """

    max_invalid: int | None = None  # after this many, reading stops

    def __init__(
        self, file: BinaryIO, max_listed: int = 20, *, single_label: bool = False, lenient: bool = False
    ) -> None:
        self._file = file
        self._lenient = lenient
        self._single_label = single_label  # whether domains may lack a dot
        self._max_listed = max_listed
        self.invalid_lines: list[InvalidLine] = []  # the first ones
        self.invalid_count = 0
        self.count = 0  # addresses yielded so far
        self.skipped = 0  # rows that the file marks as inactive
        self._idna_length = 0
        self._idna_domains: set[str] = set()

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
        """Return the address to add, or count the row as invalid or skipped and return None."""
        if isinstance(row, InvalidLine):
            self._record_invalid(row)
            return None
        if not row.text.isascii() and self._is_beyond_idna_limit(row.text):
            limit = "more internationalised domains than can be checked at once; import it in several parts"
            self._record_invalid(InvalidLine(row.line, f"the file has {limit}"))
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

    def _is_beyond_idna_limit(self, text: str) -> bool:
        """Count the domain if it is a new one, and return whether there were too many."""
        domain = text.rpartition("@")[2]
        if domain.isascii() or domain in self._idna_domains:
            return False
        if self._idna_length + len(domain) > MAX_IDNA_LENGTH:
            return True
        self._idna_length += len(domain)
        self._idna_domains.add(domain)
        return False

    def _record_invalid(self, line: InvalidLine) -> None:
        self.invalid_count += 1
        if len(self.invalid_lines) < self._max_listed:
            self.invalid_lines.append(line)


class ImportFile(AddressFile):
    """A file that is imported completely or not at all. The iteration raises InvalidLinesError if a line is invalid."""

    max_invalid = MAX_COUNTED

    def __iter__(self) -> Iterator[Address]:
        for address in super().__iter__():
            if not self.invalid_lines:
                yield address
        if self.invalid_lines:
            raise InvalidLinesError(self.invalid_lines, self.invalid_count)


class Seen(NamedTuple):
    """One of the first rows: its address, or the reason why there is none."""

    line: int
    text: str
    address: Address | None
    reason: str = ""


class PreviewFile(AddressFile):
    """A file for a preview. Keeps its first rows, and the line from which it cannot be read."""

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
            self.unreadable = Unreadable(row.line, f"too many invalid lines ({self.invalid_count:,})")
        if len(self.seen) < self._max_seen:
            reason = "" if address else "marked inactive in the file"
            if self.invalid_count > invalid_before:
                reason = self.invalid_lines[-1].reason
            self.seen.append(Seen(row.line, "" if isinstance(row, InvalidLine) else row.text, address, reason))
        return address
