"""Read the recipients that `POST /api/recipients` adds or updates: addresses, or objects with fields and lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from database import Address, name_key
from intake.address import clean_address
from intake.errors import ValidationError
from intake.fields import Fields, list_of, text
from intake.list_names import clean_list_name
from intake.personal_fields import as_json, clean_fields
from intake.recipients_csv.reader import no_such_list

MAX_RECIPIENTS = 1_000  # in one request
MAX_LISTS = 100  # of one recipient
KNOWN = ("address", "fields", "lists")


class Entries(NamedTuple):
    """The recipients of a request, and the names of the fields that have values."""

    addresses: Sequence[Address]
    field_names: Collection[str]
    are_objects: bool


def names_lists(body: object) -> bool:
    """Return whether a recipient in this body names lists, so that the lists have to be known."""
    recipients = body.get("recipients") if isinstance(body, dict) else None
    return isinstance(recipients, list) and any(isinstance(each, dict) and "lists" in each for each in recipients)


def read_entries(body: object, lists: Mapping[str, int], *, single_label: bool) -> Entries:
    """Return the recipients in a body. `lists` has the list_ids of all lists by name. Raises InvalidFields."""
    fields = Fields(body, ("addresses", "recipients"))
    clean = partial(clean_address, single_label=single_label)
    if not isinstance(body, dict) or "recipients" not in body:
        given = fields.take_each("addresses", text(clean), MAX_RECIPIENTS, None)
        fields.check()
        return Entries(given.value, (), False)
    if "addresses" in body:
        fields.errors.append(ValidationError("addresses", "cannot be given together with recipients"))
    values = fields.take("recipients", list_of(MAX_RECIPIENTS)).value_or([])
    reader = _EntryReader(fields.errors, clean, lists)
    addresses = [reader.address(f"recipients[{place}]", value) for place, value in enumerate(values)]
    fields.check()
    return Entries([address for address in addresses if address], reader.field_names, True)


class _EntryReader:
    """Reads objects with an address, fields and lists. Collects the errors."""

    def __init__(
        self, errors: list[ValidationError], clean: Callable[[str], Address], lists: Mapping[str, int]
    ) -> None:
        self.field_names: set[str] = set()
        self._errors = errors
        self._clean = clean
        self._names = list(lists)
        self._ids = {name_key(name): list_id for name, list_id in lists.items()}

    def address(self, place: str, value: object) -> Address | None:
        """Return the address with its fields and lists, or None after adding errors."""
        if not isinstance(value, dict):
            self._errors.append(ValidationError(place, "is not a JSON object"))
            return None
        nested = Fields(value, KNOWN)
        address = nested.take("address", text(self._clean))
        none: dict[str, str] = {}
        fields = nested.take_or("fields", clean_fields, none)
        lists = nested.take_each("lists", text(self._list_id), MAX_LISTS, (), 0)
        if nested.errors:
            self._errors += [ValidationError(f"{place}.{error.field}", error.message) for error in nested.errors]
            return None
        self.field_names.update(fields.value)
        return Address(
            address.value.text,
            address.value.key,
            as_json(fields.value),
            f"[{','.join(map(str, lists.value))}]" if lists.value else "",
        )

    def _list_id(self, name: str) -> int:
        list_id = self._ids.get(name_key(clean_list_name(name)))
        if list_id is None:
            raise ValidationError("list", f"is unknown: {no_such_list(name, self._names)}")
        return list_id
