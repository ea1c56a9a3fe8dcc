"""What the user chose for an uploaded file: its columns, and the list. Stored as JSON in `imports.options`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from intake.personal_fields import MAX_FIELDS
from intake.recipients_csv.columns import Wanted

# Fields that are proposed for the columns of a new file. Other columns can be chosen.
USUAL_FIELDS = frozenset(
    [
        "name",
        "full_name",
        "first_name",
        "last_name",
        "given_name",
        "family_name",
        "surname",
        "title",
        "salutation",
        "company",
        "organisation",
        "organization",
        "vorname",
        "nachname",
        "anrede",
        "titel",
        "firma",
        "name_1",
        "prénom",
        "nom",
        "société",
        "civilité",
        "nombre",
        "apellido",
        "apellidos",
        "empresa",
        "nama",
        "nama_penuh",
        "syarikat",
        "姓名",
        "名字",
        "姓",
        "名",
        "公司",
        "attendee_name",
        "ticket_type",
    ]
)


class Options(NamedTuple):
    """The address column, counted from 0, and the columns that become fields. None: as found in the file."""

    address: int | None = None
    fields: tuple[tuple[int, str], ...] | None = None

    def wanted(self, known_names: Collection[str]) -> Wanted:
        """Return these choices for the reader. `known_names` are fields that recipients have already."""
        if self.fields is not None:
            return Wanted(self.address, self.fields)
        return Wanted(self.address, automatic=Proposed(USUAL_FIELDS | {*known_names}))

    def stored(self) -> dict[str, object]:
        """Return the choices as JSON values."""
        return {"address": self.address, "fields": self.fields}


class Proposed:
    """Accepts the names of some fields, as many as a recipient can have."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._left = MAX_FIELDS

    def __call__(self, name: str) -> bool:
        if name in self._names and self._left:
            self._left -= 1
            return True
        return False


def read_options(text: str | None) -> Options:
    """Return the choices that `imports.options` holds as JSON. None or an empty text: no choices."""
    stored: Mapping[str, object] = json.loads(text or "{}")
    fields, address = stored.get("fields"), stored.get("address")
    chosen = tuple((int(column), str(name)) for column, name in fields) if isinstance(fields, Sequence) else None
    return Options(address if isinstance(address, int) else None, chosen)
