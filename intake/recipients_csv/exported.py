"""The columns of an exported file of recipients: addresses, statuses, lists and personal fields.

Columns of lists and fields are there only if there are any. An import that makes all columns fields restores
everything in such a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from database import Recipient
from intake.recipients_csv.format import ADDRESS_COLUMN, LIST_SEPARATOR, LISTS_COLUMN, STATUS_COLUMN


class Exported:
    """The header and the rows of an exported file."""

    def __init__(self, field_names: Sequence[str], lists: Collection[str], *, with_status: bool) -> None:
        """`field_names` are those of all recipients, and `lists` are all lists."""
        self.has_lists = bool(lists)
        self._fields = field_names
        self._with_status = with_status
        names = [ADDRESS_COLUMN, STATUS_COLUMN, LISTS_COLUMN]
        special = [ADDRESS_COLUMN] + [STATUS_COLUMN] * with_status + [LISTS_COLUMN] * self.has_lists
        self.header = [*special, *(name for name in field_names if name not in names)]

    def rows(self, recipients: Iterable[Recipient], lists: Mapping[int, Sequence[str]]) -> list[list[str]]:
        """Return the rows of these recipients. `lists` are the names of their lists, by recipient_id."""
        return [self._row(each, lists.get(each.recipient_id, ())) for each in recipients]

    def _row(self, recipient: Recipient, lists: Sequence[str]) -> list[str]:
        row = [recipient.address]
        if self._with_status:
            row.append(recipient.status)
        if self.has_lists:
            row.append(LIST_SEPARATOR.join(lists))
        fields = recipient.fields
        return row + [fields.get(name, "") for name in self.header[len(row) :]]
