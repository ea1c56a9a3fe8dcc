"""The errors of the data layer. Each carries facts as attributes; what to answer is for the caller to say."""

from __future__ import annotations


class DBError(Exception):
    """Base of everything that the data layer raises on purpose."""


class DatabaseUnavailable(DBError):
    """The database cannot be used now: `reason` names what is wrong, `remedy` what mends it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} ({remedy})")
        self.reason = reason
        self.remedy = remedy


class DatabaseBusy(DatabaseUnavailable):
    """Another process holds the write lock for longer than this one may wait."""


class DatabaseFull(DatabaseUnavailable):
    """The disk, or the size the database may have, is full."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database, or the folder it is in, cannot be written."""


class DatabaseMissing(DatabaseUnavailable):
    """There is no database there, or one without tables."""


class SchemaMismatch(DatabaseUnavailable):
    """The tables are of another version than this program's."""

    def __init__(self, found: int, expected: int) -> None:
        remedy = "run: flask init-db" if found < expected else "run the newer program that made them"
        super().__init__(f"the tables are of version {found}, this program needs {expected}", remedy)
        self.found = found
        self.expected = expected


class EventIdUsed(DBError):
    """An email with this event_id is saved already; `identical` tells whether it is the same one."""

    def __init__(self, event_id: int, identical: bool) -> None:
        kind = "identical to this one" if identical else "different from this one"
        super().__init__(
            f"UNIQUE constraint failed: emails.event_id {event_id} is used by a saved email that is {kind}"
        )
        self.event_id = event_id
        self.identical = identical


class NoSuchEmail(DBError):
    """No email of this event_id was ever begun."""

    def __init__(self, event_id: int) -> None:
        super().__init__(f"no email with the event_id {event_id} was begun")
        self.event_id = event_id
