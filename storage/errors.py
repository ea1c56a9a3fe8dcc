"""The exceptions of the data layer. They carry facts as attributes; the caller decides what to tell people."""

from __future__ import annotations

from collections.abc import Sequence

NAMED_DIFFERENCES = 5
NAMED_VALUE_LENGTH = 40  # characters of a value that is quoted in a message
RESTORE_BACKUP = "stop the service and restore a backup (docs/backup.md, Restore)"
ANOTHER_FILE = "set DATABASE_URL to another file, or restore a backup (docs/backup.md, Restore)"
REPORT_BUG = "report this as a bug"
MOVE_RECIPIENTS = (
    "keep it; with the program that created it, run: flask recipients export --all -o recipients.csv; then set "
    "DATABASE_URL to a new database and run: flask init-db && flask recipients import recipients.csv"
)


class DBError(Exception):
    """Base class of the exceptions that the data layer raises."""


class DatabaseUnavailable(DBError):
    """The database cannot be used now. `reason` names the problem, and `remedy` says how to fix it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} ({remedy})")
        self.reason = reason
        self.remedy = remedy


class DatabaseBusy(DatabaseUnavailable):
    """Another process holds a lock for longer than this one may wait."""


class DatabaseFull(DatabaseUnavailable):
    """The disk is full, or the database has reached its maximum size."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database, or the folder it is in, is not writable."""


class DatabaseMissing(DatabaseUnavailable):
    """The database does not exist, or does not contain this program's tables."""


class ForeignTables(DatabaseMissing):
    """The database contains tables, but not this program's."""

    def __init__(self, where: str, remedy: str, detail: str = "") -> None:
        super().__init__(
            f"{where} contains tables that are not this program's" + (f": {detail}" if detail else ""), remedy
        )


class StatementFailed(DatabaseUnavailable):
    """The database rejected a statement for a reason that no other class covers."""


class SchemaMismatch(DatabaseUnavailable):
    """The schema of the database is not this program's: the version is different, or only the digest is."""

    def __init__(self, found: int, expected: int, reason: str = "", remedy: str = "") -> None:
        """`found` and `expected` are versions. `found` is 0 if the database does not record one."""
        if found == expected:
            reason = reason or f"the database has schema version {found}, but from a different development version"
            remedy = remedy or "run the program that created it"
        reason = reason or f"the database has schema version {found}; this program needs version {expected}"
        remedy = remedy or ("run: flask init-db" if found < expected else "run the newer program that upgraded it")
        super().__init__(reason, remedy)
        self.found = found
        self.expected = expected


class DamagedSchema(SchemaMismatch):
    """The version or digest that the database records is missing, unreadable or contradictory."""

    def __init__(self, expected: int, reason: str) -> None:
        super().__init__(0, expected, f"the database is damaged: {reason}", RESTORE_BACKUP)


class UnknownSchema(SchemaMismatch):
    """The tables are not those of the recorded version, so the database cannot be upgraded. Nothing was changed.

    `differences` lists what is missing or different.
    """

    def __init__(
        self, found: int, expected: int, differences: Sequence[str], reason: str = "", remedy: str = MOVE_RECIPIENTS
    ) -> None:
        named = ", ".join(differences[:NAMED_DIFFERENCES])
        others = len(differences) - NAMED_DIFFERENCES
        listed = f": {named}" + (f", and {others} more" if others > 0 else "") if differences else ""
        reason = reason or "the database was created by an unreleased version and cannot be upgraded"
        super().__init__(found, expected, f"{reason}{listed}", remedy)
        self.differences = differences


class AlteredSchema(UnknownSchema):
    """The tables are those of the recorded version, but something was added to them, or their indexes were changed."""

    def __init__(self, found: int, expected: int, differences: Sequence[str], baseline: str) -> None:
        """`baseline` is the file that describes the version's tables."""
        reason = f"the tables have been changed since schema version {found} created them"
        steps = {
            "drop what is not expected": any(each.endswith("is not expected") for each in differences),
            f"create the indexes as in {baseline}": any(each.startswith("index ") for each in differences),
        }
        remedy = " and ".join(step for step, needed in steps.items() if needed)
        super().__init__(found, expected, differences, reason, f"{remedy}, then run: flask init-db")


class UpgradeFailed(DatabaseUnavailable):
    """A migration failed. Nothing was changed."""

    def __init__(self, version: int, reason: str) -> None:
        super().__init__(
            f"the upgrade to schema version {version} failed and changed nothing: {reason}",
            f"{REPORT_BUG}; until then install the old version again",
        )


class SendersRunning(DatabaseUnavailable):
    """The database cannot be upgraded while these processes send mail. Nothing was changed."""

    def __init__(self, process_ids: Sequence[int]) -> None:
        processes = f"process {', '.join(map(str, process_ids))}"
        super().__init__(f"a sender is still running ({processes})", "stop it, then run: flask init-db")
        self.process_ids = process_ids


class EventIdUsed(DBError):
    """An email with this event_id is already saved. `identical` says whether it is the same email."""

    def __init__(self, event_id: int, identical: bool) -> None:
        kind = "identical to this one" if identical else "different from this one"
        super().__init__(
            f"UNIQUE constraint failed: emails.event_id {event_id} is used by a saved email that is {kind}"
        )
        self.event_id = event_id
        self.identical = identical


class NoSuchEmail(DBError):
    """No email has this event_id."""

    def __init__(self, event_id: int) -> None:
        super().__init__(f"email {event_id} not found")
        self.event_id = event_id


class WrongStatus(DBError):
    """The operation is not possible while the email's status is `status`. Nothing was changed."""

    operation = "changed"

    def __init__(self, event_id: int, status: str) -> None:
        super().__init__(f"email {event_id} cannot be {self.operation}: its status is {status}")
        self.event_id = event_id
        self.status = status


class NotReplaceable(WrongStatus):
    """Only an email that is scheduled, or held and not started, can be replaced."""

    operation = "replaced"


class NotCancellable(WrongStatus):
    """An email that was sent cannot be cancelled."""

    operation = "cancelled"


class NotHeld(WrongStatus):
    """Only an email that is held can be released."""

    operation = "released"


class NotRetryable(WrongStatus):
    """Deliveries can only be retried if their email is being sent or was sent."""

    operation = "retried"


class EmailChanged(DBError):
    """Someone else has changed an email since it was read. Nothing was changed."""

    def __init__(self, event_id: int) -> None:
        super().__init__(f"email {event_id} was changed in the meantime")
        self.event_id = event_id


class NoSuchDraft(DBError):
    """The draft was deleted, or its email was scheduled."""

    def __init__(self, draft_id: int) -> None:
        super().__init__(f"draft {draft_id} not found")
        self.draft_id = draft_id


class DraftChanged(DBError):
    """A draft was saved by someone else since it was read. Nothing was changed."""

    def __init__(self, draft_id: int) -> None:
        super().__init__(f"draft {draft_id} was changed in the meantime")
        self.draft_id = draft_id


class NoSuchTemplate(DBError):
    """The template was deleted."""

    def __init__(self, template_id: int) -> None:
        super().__init__(f"template {template_id} not found")
        self.template_id = template_id


class TemplateExists(DBError):
    """Another template has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f'The template "{name}" already exists')
        self.name = name


class NoSuchRemoval(DBError):
    """The removal was undone already, or can no longer be undone."""

    def __init__(self, removal_id: int) -> None:
        super().__init__(f"removal {removal_id} can no longer be undone")
        self.removal_id = removal_id


class NoActiveRecipients(DBError):
    """An email cannot be released while nobody would receive it, or one of its lists is deleted."""

    def __init__(self, event_id: int, reason: str = "there are no active recipients") -> None:
        super().__init__(f"email {event_id} stays on hold: {reason}")
        self.event_id = event_id
        self.reason = reason


class UnusableList(DBError):
    """An email cannot be saved because of one of its lists. `name` is the name of the list as it was given."""

    name: str


class NoSuchList(UnusableList):
    """No list has this name. `closest` are the names of lists that exist: all, or the most similar ones."""

    def __init__(self, name: str, closest: Sequence[str] = (), others: int = 0) -> None:
        """`others` is the number of lists that `closest` does not name."""
        names = ", ".join(closest) + (f" and {others:,} more" if others else "")
        known = f"existing lists: {names}" if closest else "there are no lists yet"
        super().__init__(f'there is no list "{name}"; {known}')
        self.name = name
        self.closest = list(closest)


class ListExists(DBError):
    """A list already has this name; `name` is its spelling."""

    def __init__(self, name: str) -> None:
        super().__init__(f'a list named "{name}" already exists')
        self.name = name


class ListArchived(UnusableList):
    """The list is archived, so it accepts no new emails."""

    def __init__(self, name: str) -> None:
        super().__init__(f'the list "{name}" is archived')
        self.name = name


class ListInBoth(UnusableList):
    """An email cannot go to a list and exclude it."""

    def __init__(self, name: str) -> None:
        super().__init__(f'the list "{name}" is both included and excluded')
        self.name = name


class NoSuchRecipient(DBError):
    """No recipient has this recipient_id. It may have been removed."""

    def __init__(self, recipient_id: int) -> None:
        super().__init__(f"recipient {recipient_id} not found")
        self.recipient_id = recipient_id


class NotInDoubt(DBError):
    """A person can decide only about `unknown` deliveries. `status` is None if there is no such delivery."""

    def __init__(self, event_id: int, recipient_id: int, status: str | None) -> None:
        found = "does not exist" if status is None else f"is {status}, not unknown"
        super().__init__(f"the delivery of email {event_id} to recipient {recipient_id} {found}")
        self.event_id = event_id
        self.recipient_id = recipient_id
        self.status = status


class TooManyFields(DBError):
    """A recipient would have more personal fields than allowed."""

    def __init__(self, address: str, limit: int) -> None:
        super().__init__(f"{address} would have more than {limit} personal fields")
        self.address = address
