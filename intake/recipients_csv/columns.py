"""Find out what the columns of a file are: which has the addresses, and which become personal fields.

Theory of operation. `find_layout` gets the first lines of a file, splits them at each possible delimiter, and decides,
in this order:

1. The caller names the address column (`Wanted.address`), by its header or its number.
2. A header has one of ADDRESS_NAMES. An earlier set of names takes precedence, and within a set a delimiter that comes
   first. The header is the first line that is not blank. In a lenient file there may be titles above it, until the
   first line with an address.
3. Lenient files only: the column in which most values are addresses. The line above the first of them that fills at
   least half of the columns is the header, if there is one.
4. A file with one column has no header.

If two columns fit equally well, or none does, AddressColumnUnknown asks for the column. A file that
people upload, or give to a command, is read leniently, because they see what was found. A program's file is not: there,
a mistake would go unnoticed.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from intake.personal_fields import MAX_FIELDS, field_name
from intake.recipients_csv.format import ADDRESS_COLUMN, LINE_COLUMN, LISTS_COLUMN, REASON_COLUMN, STATUS_COLUMN

DELIMITERS = ",;\t"
MARK = "\ufeff"
# Stripped from both ends of a cell: all whitespace, and byte order marks of concatenated files.
BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + MARK
MAX_HEADER_LENGTH = 100  # characters of a header that are shown or compared
MAX_NAMED_COLUMNS = 20  # in an error

_NOT_IN_NAMES = re.compile(r"[\W_]+")
_ADDRESS = re.compile(r"(?:mailto:)?[^\s@<>,;\"]+@[^\s@<>,;\"]+\.[^\s@<>,;\".]+|[^@]*<[^\s@<>]+@[^\s@<>]+>")
_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")


def plain_name(cell: str) -> str:
    """Return the name of a column without case, spaces and punctuation, or nothing if the cell contains a delimiter."""
    if any(map(cell.count, DELIMITERS)):
        return ""
    return _NOT_IN_NAMES.sub("", unicodedata.normalize("NFC", cell[:MAX_HEADER_LENGTH]).lower())


def _plain(*names: str) -> frozenset[str]:
    return frozenset(map(plain_name, names))


# Names of the address column. An earlier set takes precedence.
ADDRESS_NAMES = (
    _plain("recipient_email"),
    _plain(
        *("email", "email address", "email addresses", "your email", "my email", "email 1", "email address 1"),
        *("email 1 - value", "e-mail id", "email id", "primary email", "primary email address"),
        *("recipient", "recipient address", "recipient email address", "contact email", "user email", "work email"),
        *("member email", "subscriber email", "customer email", "guest email", "participant email"),
        *("E-Mail-Adresse", "E-Mail Adresse", "E-Mail-Adressen", "E-Mail geschäftlich", "E-Mail privat", "Mailadresse"),
        *("adresse e-mail", "adresse électronique", "adresse de messagerie", "courriel", "adresse courriel", "mél"),
        *("correo electrónico", "correo electronico", "dirección de correo electrónico", "dirección de correo"),
        *("direccion de correo", "direccion de correo electronico", "dirección de email", "e-correo"),
        *(
            "correio eletrônico",
            "correio electrónico",
            "endereço de email",
            "endereço de e-mail",
            "endereço eletrônico",
        ),
        *("indirizzo email", "indirizzo e-mail", "posta elettronica", "indirizzo di posta elettronica"),
        *("e-mailadres", "emailadres", "e-mail adres", "e-postadress", "e-post", "e-postadresse", "epostadresse"),
        *("e-posta", "e-posta adresi", "eposta", "e-mailadresse", "sähköposti", "sähköpostiosoite", "netfang"),
        *("adres e-mail", "adres email", "adresa de email", "adresă de e-mail", "e-mailová adresa", "e-mail cím"),
        *("e-pošta", "el. paštas", "e-pasts", "e-posti aadress", "địa chỉ email", "thư điện tử"),
        *("emel", "e-mel", "alamat emel", "alamat e-mel", "alamat email", "alamat e-mail", "surel", "alamat surel"),
        *("электронная почта", "адрес электронной почты", "эл. почта", "имейл", "електронна пошта", "имейл адрес"),
        *(
            "ηλεκτρονικό ταχυδρομείο",
            "διεύθυνση email",
            "דואל",
            "דוא״ל",
            "אימייל",
            "البريد الإلكتروني",
            "بريد إلكتروني",
        ),
        *("电子邮件", "电子邮箱", "电子邮件地址", "电子邮箱地址", "邮箱", "邮箱地址", "电邮", "电邮地址", "邮件地址"),
        *("電子郵件", "電子郵件地址", "電子信箱", "電郵", "電郵地址", "信箱", "郵箱"),
        *(
            "メールアドレス",
            "電子メール",
            "電子メールアドレス",
            "eメール",
            "이메일",
            "이메일 주소",
            "전자우편",
            "메일 주소",
        ),
        *("อีเมล", "ที่อยู่อีเมล", "ईमेल", "ईमेल पता", "மின்னஞ்சல்", "மின்னஞ்சல் முகவரி"),
    ),
    _plain(
        "mail", "mails", "mail address", "adresse mail", "correo", "メール", "메일", "邮件", "郵件", "почта", "posta"
    ),
    _plain("address", "addresses", "adresse"),
)
_AMBIGUOUS_NAMES = ADDRESS_NAMES[-1]  # in a lenient file, such a column may as well be a street


class Wanted(NamedTuple):
    """What a caller says about the columns. A column is given by its header, by its number from 1, or (int) from 0."""

    address: str | int | None = None
    fields: Sequence[tuple[str | int, str]] = ()  # columns that become fields, and the names of these (or "")
    automatic: Callable[[str], bool] | None = None  # whether a column becomes a field because of its name


class Layout(NamedTuple):
    """What the columns of a file are. Lines up to `skipped` are not rows."""

    delimiter: str
    width: int = 1
    address: int = 0
    status: int | None = None
    lists: int | None = None
    fields: tuple[tuple[int, str], ...] = ()
    least: int = 1  # cells that a row needs
    skipped: int = 0
    header_line: int = 0
    header: tuple[str, ...] = ()
    name: str = ADDRESS_COLUMN  # of the address column
    is_named: bool = False  # whether this name is one of ADDRESS_NAMES
    is_text: bool = False  # whether the file is not a table: each line has any number of addresses
    lenient: bool = False


class LayoutError(Exception):
    """The columns of the file, or those that are wanted, are unclear."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class AddressColumnUnknown(LayoutError):
    """A person has to say which column has the addresses."""


Record = tuple[int, list[str]]  # the number of its first line, and its cells
Tables = Mapping[str, list[Record]]


def find_layout(
    head: Sequence[str],
    named: str | None,
    wanted: Wanted,
    tidied: Callable[[Iterable[str], str], Iterator[str]],
    *,
    lenient: bool,
) -> Layout:
    """Return the layout of the file that begins with the lines `head`. `named` is the delimiter, if a line says so.

    `tidied` prepares the lines for the csv module. Raises LayoutError.
    """
    tables = {delimiter: list(_records(tidied(head, delimiter), delimiter)) for delimiter in named or DELIMITERS}
    layout = _with_address(tables, wanted, lenient=lenient)._replace(lenient=lenient)
    return _with_others(layout, wanted)


def guess_table(
    head: Sequence[str], named: str | None, tidied: Callable[[Iterable[str], str], Iterator[str]]
) -> Layout:
    """Return a layout for showing the columns to a person, who chooses the address column."""
    tables = {delimiter: list(_records(tidied(head, delimiter), delimiter)) for delimiter in named or DELIMITERS}
    return _table(tables, *_guess(tables))


def is_address(cell: str) -> bool:
    """Return whether a cell looks like an address, like one with a name, or like several addresses."""
    cell = cell.strip(BLANKS)
    if "@" not in cell or len(cell) > 2_000:
        return False
    return bool(_ADDRESS.fullmatch(cell)) or all(
        _ADDRESS.fullmatch(part) for part in _BETWEEN_ADDRESSES.split(cell.strip(" ,;")) if part
    )


def _records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """Yield the records that are not blank."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip(BLANKS) for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:  # a cell that is too long; the reader names it
        return


def _with_address(tables: Tables, wanted: Wanted, *, lenient: bool) -> Layout:
    if wanted.address is not None:
        return _by_choice(tables, wanted.address)
    if found := _by_name(tables, lenient=lenient):
        return found
    return _by_values(tables) if lenient else _single_column(tables)


def _by_name(tables: Tables, *, lenient: bool) -> Layout | None:
    for names in ADDRESS_NAMES:
        for delimiter, records in tables.items():
            for line, cells in _before_addresses(records) if lenient else records[:1]:
                if any(plain_name(cell) in names for cell in cells):
                    layout = _by_header(delimiter, records, (line, cells), names, lenient=lenient)
                    if not (lenient and names is _AMBIGUOUS_NAMES and _is_elsewhere(records, layout)):
                        return layout
    return None


def _before_addresses(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records that may be a header: the first one, and those before the first address."""
    ends = (place for place, (_, cells) in enumerate(records) if any(map(is_address, cells)))
    return records[: max(1, next(ends, len(records)))]


def _by_header(
    delimiter: str, records: Sequence[Record], header: Record, names: frozenset[str], *, lenient: bool
) -> Layout:
    line, cells = header
    found = [place for place, cell in enumerate(cells) if plain_name(cell) in names]
    if lenient and len(found) > 1:
        values = [place for place in found if _addresses_in(_below(records, line), place)]
        found = values if len(values) == 1 else found
    if len(found) > 1:
        called = ", ".join(dict.fromkeys(cells[place].strip(BLANKS).lower() for place in found))
        hint = "" if names is ADDRESS_NAMES[0] else f"; change the header of the right one to {ADDRESS_COLUMN}"
        error = LayoutError if not lenient else AddressColumnUnknown
        raise error(line, f"the header has two columns named {called}{hint}")
    return _headed(delimiter, line, cells, found[0])._replace(is_named=True)


def _headed(delimiter: str, line: int, cells: Sequence[str], address: int) -> Layout:
    header = tuple(cell.strip(BLANKS)[:MAX_HEADER_LENGTH] for cell in cells)
    name = header[address] if address < len(header) and header[address] else ADDRESS_COLUMN
    return Layout(
        delimiter, len(cells), address, least=address + 1, skipped=line, header_line=line, header=header, name=name
    )


def _is_elsewhere(records: Sequence[Record], layout: Layout) -> bool:
    """Return whether the chosen column has no address, but another one has."""
    below = _below(records, layout.header_line)
    return not _addresses_in(below, layout.address) and any(is_address(cell) for _, cells in below for cell in cells)


def _below(records: Sequence[Record], line: int) -> list[Record]:
    return [record for record in records if record[0] > line]


def _addresses_in(records: Iterable[Record], column: int) -> int:
    return sum(len(cells) > column and is_address(cells[column]) for _, cells in records)


def _single_column(tables: Tables) -> Layout:
    """Return the layout of a file without a header, which can have only one column."""
    delimiter = max(tables, key=lambda each: len(tables[each][0][1]) if tables[each] else 0)
    line, cells = tables[delimiter][0] if tables[delimiter] else (1, [])
    if any(cell.strip(BLANKS) for cell in cells[1:]):
        reason = f"the file has {len(cells)} columns, but no header named {ADDRESS_COLUMN} or email"
        raise LayoutError(line, reason)
    if cells and "@" not in cells[0]:
        reason = f"the first line is neither an address nor a header named {ADDRESS_COLUMN} or email"
        raise LayoutError(line, reason)
    return Layout(delimiter)


def _by_values(tables: Tables) -> Layout:
    """Return the layout of a file in which values, not a header, identify the address column."""
    if text := _as_text(tables):
        return text
    delimiter, columns = _guess(tables)
    records = tables[delimiter]
    if not any(cell for _, cells in records for cell in cells):
        return Layout(delimiter)
    table = _table(tables, delimiter, columns)
    if len(columns) > 1 and table.header:
        columns = [each for each in columns if "mail" in plain_name(_cell(table.header, each))] or columns
    if len(columns) == 1:
        return _chosen(table, columns[0])
    line = table.header_line or records[0][0]
    if columns:
        called = ", ".join(_cell(table.header, each) or f"column {each + 1}" for each in columns[:MAX_NAMED_COLUMNS])
        raise AddressColumnUnknown(line, f"several columns have addresses: {called}")
    return _without_addresses(records, table)


def _without_addresses(records: Sequence[Record], table: Layout) -> Layout:
    line, cells = records[0]
    width = max(len(cells) for _, cells in records)
    if width > 1:
        reason = f"the file has {width} columns, but no header named {ADDRESS_COLUMN} or email"
        if any("@" in cell for _, cells in records for cell in cells):
            raise AddressColumnUnknown(line, reason)
        raise LayoutError(line, f"{reason}, and no addresses")
    if "@" not in cells[0]:
        reason = f"the first line is neither an address nor a header named {ADDRESS_COLUMN} or email"
        raise LayoutError(line, reason)
    return Layout(table.delimiter)


def _as_text(tables: Tables) -> Layout | None:
    """Return the layout of a file with nothing but addresses, any number in a line, unless it is a table of them."""
    delimiter = max(tables, key=lambda each: max((len(cells) for _, cells in tables[each]), default=0))
    rows = [[cell for cell in cells if cell.strip(BLANKS)] for _, cells in tables[delimiter]]
    if not rows or not all(is_address(cell) for row in rows for cell in row):
        return None
    widths = {len(row) for row in rows}
    if len(rows) > 1 and len(widths) == 1 and widths != {1}:
        return None
    return Layout(delimiter, is_text=True)


def _guess(tables: Tables) -> tuple[str, list[int]]:
    """Return the most likely delimiter, and the columns in which at least half of the values are addresses."""

    def quality(delimiter: str) -> tuple[int, int, int]:
        records = tables[delimiter]
        widths = Counter(len(cells) for _, cells in records)
        addresses = max((_addresses_in(records, column) for column in range(max(widths, default=0))), default=0)
        return addresses, max(widths.values(), default=0), max(widths, default=0)

    delimiter = max(tables, key=quality)
    records = tables[delimiter]
    first = next((place for place, (_, cells) in enumerate(records) if any(map(is_address, cells))), len(records))
    counts, filled = Counter[int](), Counter[int]()
    for _, cells in records[first:]:
        filled.update(place for place, cell in enumerate(cells) if cell.strip(BLANKS))
        counts.update(place for place, cell in enumerate(cells) if is_address(cell))
    return delimiter, sorted(place for place, count in counts.items() if 2 * count >= filled[place])


def _table(tables: Tables, delimiter: str, columns: Sequence[int]) -> Layout:
    """Return a layout with this delimiter, and the header if one can be recognised. The address is in any column."""
    records = tables[delimiter]
    data = [len(cells) for _, cells in records if any(map(is_address, cells))]
    width = max(data or [len(cells) for _, cells in records] or [1])
    address = columns[0] if columns else 0
    above = records if not data else _before_addresses(records)
    for line, cells in above:
        filled = sum(bool(cell.strip(BLANKS)) for cell in cells)
        if not any("@" in cell for cell in cells) and filled >= max(
            1, (min(width, len(cells)) + 1) // 2, width > 1 and 2
        ):
            return _headed(delimiter, line, [*cells, *[""] * (width - len(cells))], address)
    titles = [line for line, cells in above if width > 1 and len([cell for cell in cells if cell.strip(BLANKS)]) < 2]
    skipped = max((line for line in titles if data), default=0) if _only_titles(above, titles) else 0
    return Layout(delimiter, width, address, least=address + 1, skipped=skipped)


def _only_titles(above: Sequence[Record], titles: Sequence[int]) -> bool:
    return bool(titles) and all(line in titles or any(map(is_address, cells)) for line, cells in above)


def _by_choice(tables: Tables, choice: str | int) -> Layout:
    if isinstance(choice, str):
        for delimiter, records in tables.items():
            for line, cells in _before_addresses(records):
                if places := _places(cells, choice):
                    return _headed(delimiter, line, cells, _one(places, choice, line))
    table = _table(tables, *_guess(tables))
    named = _by_name_or_none(tables)
    table = named or table
    column = choice if isinstance(choice, int) else _number(choice, table)
    if not 0 <= column < table.width:
        raise LayoutError(table.header_line or 1, f"the file has only {table.width} columns")
    return _chosen(table, column)


def _by_name_or_none(tables: Tables) -> Layout | None:
    try:
        return _by_name(tables, lenient=True)
    except LayoutError:
        return None


def _number(choice: str, table: Layout) -> int:
    if choice.strip().isdecimal() and 0 < int(choice[:9]) <= table.width:
        return int(choice) - 1
    raise LayoutError(table.header_line or 1, f"there is no column {choice[:MAX_HEADER_LENGTH]}{_list(table)}")


def _list(table: Layout) -> str:
    named = [name for name in table.header if name]
    more = ", …" if len(named) > MAX_NAMED_COLUMNS else ""
    return f"; the columns are: {', '.join(named[:MAX_NAMED_COLUMNS])}{more}" if named else ""


def _chosen(table: Layout, column: int) -> Layout:
    name = _cell(table.header, column) or ADDRESS_COLUMN
    is_named = any(plain_name(name) in names for names in ADDRESS_NAMES)
    return table._replace(address=column, name=name, least=column + 1, is_named=is_named)


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column] if column < len(cells) else ""


def _with_others(layout: Layout, wanted: Wanted) -> Layout:
    """Add the columns of statuses, lists and fields."""
    status = _only(layout, STATUS_COLUMN)
    lists = _only(layout, LISTS_COLUMN)
    fields = _fields(layout, wanted, {layout.address, status, lists})
    if len(fields) > MAX_FIELDS:
        reason = f"{len(fields)} columns would become fields (limit: {MAX_FIELDS}); choose those that you need"
        raise LayoutError(layout.header_line, reason)
    least = max(layout.address, status or 0, lists or 0) + 1
    return layout._replace(status=status, lists=lists, fields=fields, least=least)


def _only(layout: Layout, name: str) -> int | None:
    found = [place for place, cell in enumerate(layout.header) if cell.lower() == name]
    if len(found) > 1:
        raise LayoutError(layout.header_line, f"the header has two columns named {name}")
    return found[0] if found and found[0] != layout.address else None


def _fields(layout: Layout, wanted: Wanted, taken: set[int | None]) -> tuple[tuple[int, str], ...]:
    chosen: dict[int, str] = {}
    for column, given in wanted.fields:
        place = column if isinstance(column, int) else _column(layout, column)
        if place in taken:
            raise LayoutError(layout.header_line, f"the column {_cell(layout.header, place)} cannot become a field")
        name = given or field_name(_cell(layout.header, place))
        if not name:
            raise LayoutError(layout.header_line, f"column {place + 1} needs a name to become a field")
        if name in chosen.values():
            raise LayoutError(layout.header_line, f"two columns would become the field {name}")
        chosen[place] = name
    if wanted.automatic is not None:
        for place, name in proposed_fields(layout, taken).items():
            if place not in chosen and wanted.automatic(name) and name not in chosen.values():
                chosen[place] = name
    return tuple(sorted(chosen.items()))


def proposed_fields(layout: Layout, taken: set[int | None]) -> dict[int, str]:
    """Return the name of the field that each other column with a header would become. Each is used once."""
    names: dict[int, str] = {}
    skipped = 2 if [cell.lower() for cell in layout.header[:2]] == [LINE_COLUMN, REASON_COLUMN] else 0
    for place, cell in enumerate(layout.header[skipped:], skipped):
        name = field_name(cell)
        if place in taken or not name:
            continue
        number = 1
        unique = name
        while unique in names.values():
            number += 1
            unique = f"{name}_{number}"
        names[place] = unique
    return names


def _column(layout: Layout, column: str) -> int:
    if found := _places(layout.header, column):
        return _one(found, column, layout.header_line)
    if column.strip().isdecimal() and 0 < int(column[:9]) <= layout.width:
        return int(column) - 1
    raise LayoutError(layout.header_line or 1, f"there is no column {column[:MAX_HEADER_LENGTH]}{_list(layout)}")


def _places(cells: Sequence[str], name: str) -> list[int]:
    """Return the columns with this header, spelled exactly so, or else with other case and punctuation."""
    exact = [place for place, cell in enumerate(cells) if cell.strip(BLANKS) == name.strip()]
    plain = plain_name(name)
    return exact or [place for place, cell in enumerate(cells) if plain and plain_name(cell) == plain]


def _one(places: Sequence[int], name: str, line: int) -> int:
    if len(places) > 1:
        numbers = " and ".join(str(place + 1) for place in places)
        raise LayoutError(
            line, f"columns {numbers} are named {name[:MAX_HEADER_LENGTH]}; give the number of the one that you want"
        )
    return places[0]
