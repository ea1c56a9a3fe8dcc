"""Read the addresses of a CSV file one at a time, and collect its invalid lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from database import Address, NoSuchList, name_key
from intake.address import clean_address, clean_typed_address, split_addresses
from intake.errors import ValidationError
from intake.recipients_csv.columns import Layout, Wanted
from intake.recipients_csv.rows import InvalidLine, Row, Rows, Unreadable
from intake.text import printable

MAX_COUNTED = 10_000  # invalid lines, after which the rest of the file is not read, because it is refused anyway
# Characters in distinct domains that are not ASCII: each costs up to 10 µs (IDNA), ten times as much as anything else.
MAX_IDNA_LENGTH = 300_000
MAX_PREVIEWED = 100_000  # invalid lines, after which the file is not considered a list of recipients
MAX_KEPT_LENGTH = 1 << 23  # characters of invalid lines that are kept
MAX_UNKNOWN_LISTS = 100  # names that are kept
MAX_REASON_LENGTH = 1_000  # characters
MAX_COMPARED = 1_000  # names that are compared with an unknown one
MAX_CLOSEST = 10  # names of lists in a reason
AS_IT_IS = Wanted()


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

    A cell may also contain `Name <address>` or a `mailto:` link, and in a `lenient` file several addresses. `lists` has
    the list_ids of all lists by their names, for a column of lists.
    """

    max_invalid = -1  # after this many, reading stops; -1: never

    def __init__(
        self,
        file: BinaryIO,
        max_listed: int = 20,
        *,
        single_label: bool = False,
        lenient: bool = False,
        wanted: Wanted = AS_IT_IS,
        lists: Mapping[str, int] | None = None,
    ) -> None:
        self.rows = Rows(file, wanted, lenient=lenient)
        self._lenient = lenient
        self._single_label = single_label  # whether domains may lack a dot
        self._max_listed = max_listed
        self._lists = {name_key(name): list_id for name, list_id in (lists or {}).items()}
        self._list_names = list(lists or ())
        self._others: list[Address] = []  # of a cell with several addresses
        self._kept_length = 0
        self.invalid_lines: list[InvalidLine] = []  # the first ones
        self.invalid_count = 0
        self.count = 0  # addresses yielded so far
        self.skipped = 0  # rows that the file marks as inactive
        self.unreadable: Unreadable | None = None  # the line from which the file cannot be read
        self.unknown_lists: dict[str, str] = {}  # names in the file, by their keys
        self._unknown_reasons: dict[str, str] = {}
        self._idna_length = 0
        self._idna_domains: set[str] = set()

    def __iter__(self) -> Iterator[Address]:
        for row in self._rows():
            if address := self._address(row):
                self.count += 1
                yield address
                while self._others:
                    self.count += 1
                    yield self._others.pop(0)
            elif self.invalid_count == self.max_invalid:
                break

    @property
    def layout(self) -> Layout:
        """What the columns of the file are. Known once the iteration has begun."""
        return self.rows.layout

    @property
    def field_names(self) -> set[str]:
        """The names of the personal fields that had a value so far."""
        return self.rows.field_names

    def _rows(self) -> Iterable[Row | InvalidLine]:
        return self.rows

    def _address(self, row: Row | InvalidLine) -> Address | None:
        """Return the address to add, or count the row as invalid or skipped and return None."""
        if isinstance(row, InvalidLine):
            self._record_invalid(row)
            return None
        if not row.text.isascii() and self._is_beyond_idna_limit(row.text):
            reason = "the file has too many internationalised domains to check at once; split it into several files"
            self._record_invalid(InvalidLine(row.line, reason, row.cells))
            return None
        clean = clean_typed_address if ">" in row.text or ":" in row.text else clean_address
        address: Address | None
        try:
            address = clean(row.text, single_label=self._single_label)
        except ValidationError as error:
            if (address := self._first_of_several(row, error)) is None:
                return None
        if row.status != "active":
            self._others.clear()
            self.skipped += 1
            return None
        return self._with_others(address, row) if row.fields or row.lists else address

    def _first_of_several(self, row: Row, error: ValidationError) -> Address | None:
        """Return the first address of a cell with several, or record that the row is invalid and return None."""
        if self._lenient and (texts := split_addresses(row.text))[1:]:
            try:
                first, *others = (clean_typed_address(text, single_label=self._single_label) for _, text in texts)
            except ValidationError as one:
                error = one
            else:
                self._others = others
                return first
        self._record_invalid(InvalidLine(row.line, f"{printable(row.text, 80)} {error.message}", row.cells))
        return None

    def _with_others(self, address: Address, row: Row) -> Address | None:
        """Return the address with its fields and lists, also for `_others`, or None if there is no such list."""
        ids = [self._lists.get(name_key(name)) for name in row.lists]
        if None in ids:
            self._others.clear()
            self._record_unknown_lists(row, [name for name, each in zip(row.lists, ids, strict=True) if each is None])
            return None
        lists = f"[{','.join(map(str, ids))}]" if ids else ""
        self._others = [other._replace(fields=row.fields, lists=lists) for other in self._others]
        return Address(address.text, address.key, row.fields, lists)

    def _record_unknown_lists(self, row: Row, names: Sequence[str]) -> None:
        for name in names:
            if len(self.unknown_lists) < MAX_UNKNOWN_LISTS and name_key(name) not in self.unknown_lists:
                self.unknown_lists[name_key(name)] = name
                self._unknown_reasons[name] = str(no_such_list(name, self._list_names))
        reason = self._unknown_reasons.get(names[0], f"there is no list {names[0]}")
        self._record_invalid(InvalidLine(row.line, printable(reason, MAX_REASON_LENGTH), row.cells))

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
        if isinstance(line, Unreadable):
            self.unreadable = line
        self.invalid_count += 1
        self._kept_length += sum(map(len, line.cells))
        if len(self.invalid_lines) < self._max_listed and (
            not self.invalid_lines or self._kept_length <= MAX_KEPT_LENGTH
        ):
            self.invalid_lines.append(line)


class ImportFile(AddressFile):
    """A file that is imported completely or not at all. The iteration raises InvalidLinesError if a line is invalid.

    With `skip_invalid`, it raises InvalidLinesError only if the file cannot be read to its end.
    """

    max_invalid = MAX_COUNTED
    skip_invalid = False

    def __iter__(self) -> Iterator[Address]:
        for address in super().__iter__():
            if self.skip_invalid or not self.invalid_lines:
                yield address
        if self.unreadable and self.skip_invalid:
            raise InvalidLinesError([self.unreadable], 1)
        if self.invalid_lines and not self.skip_invalid:
            raise InvalidLinesError(self.invalid_lines, self.invalid_count)


class Seen(NamedTuple):
    """One of the first rows: its address, or the reason why there is none."""

    line: int
    text: str
    address: Address | None
    reason: str = ""


class PreviewFile(AddressFile):
    """A file for a preview. Keeps its first rows."""

    max_invalid = MAX_PREVIEWED
    max_seen = 10

    def __init__(
        self,
        file: BinaryIO,
        max_listed: int,
        *,
        single_label: bool,
        wanted: Wanted = AS_IT_IS,
        lists: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(file, max_listed, single_label=single_label, lenient=True, wanted=wanted, lists=lists)
        self.seen: list[Seen] = []

    def _address(self, row: Row | InvalidLine) -> Address | None:
        invalid_before = self.invalid_count
        address = super()._address(row)
        if self.invalid_count == self.max_invalid and not self.unreadable:
            self.unreadable = Unreadable(row.line, f"too many invalid lines ({self.invalid_count:,})")
        if len(self.seen) < self.max_seen:
            reason = "" if address else "marked inactive in the file"
            if self.invalid_count > invalid_before:
                reason = self.invalid_lines[-1].reason
            self.seen.append(Seen(row.line, "" if isinstance(row, InvalidLine) else row.text, address, reason))
        return address


def no_such_list(name: str, names: Sequence[str]) -> NoSuchList:
    """Return the error for an unknown name. It names all lists, or the most similar ones if there are many."""
    found = names
    if len(names) > MAX_CLOSEST:
        found = (
            difflib.get_close_matches(name, names[:MAX_COMPARED], MAX_CLOSEST, cutoff=0.5) or names[: MAX_CLOSEST // 2]
        )
    return NoSuchList(printable(name, 80), found, len(names) - len(found))
