"""`flask recipients`: manage the recipients, one by one or by CSV file.

Every change is all or nothing: if one address is invalid, nothing is saved. Results go to stdout, and errors to stderr.
Progress goes to stderr if it is a terminal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from commands.errors import plain_errors
from commands.import_file import ShownImportFile
from commands.lists import ListName
from commands.output import echo_json, json_line, json_option
from commands.write_file import write_file
from database import Added, Address, Database, MembersAdded, Recipient, open_database
from intake.address import clean_typed_address, distinct, stored_address
from intake.email_fields import UNSTORABLE
from intake.errors import ValidationError
from intake.recipients_csv.format import ADDRESS_COLUMN, STATUS_COLUMN, encode_pages
from intake.text import printable
from monitoring.humanize import pluralize
from web.services import current_settings

ADDED_BY = "command"


@click.group()
def recipients() -> None:
    """Add, remove, list, import and export recipients."""


@recipients.command()
@click.argument("addresses", metavar="ADDRESS…", nargs=-1, required=True)
@click.option("--list", "list_name", type=ListName(), help="Also add them to this list.")
@json_option
@plain_errors
def add(addresses: tuple[str, ...], list_name: str | None, as_json: bool) -> None:
    """Add recipients (all or none).

    Recipients who unsubscribed or were rejected keep that status. With --list, those who left the list stay out of it.
    """
    checked = _checked(addresses, _typed)
    with _database() as database:
        members = None
        if list_name is None:
            added = database.recipients.add(checked, _now())
        else:
            members = database.lists.add_members(list_name, checked, _now(), ADDED_BY)
            added = Added(members.created, len(checked) - members.created)
        saved = filter(None, map(database.recipients.find, checked))
        inactive = [each for each in saved if each.status != "active"]
    if as_json:
        stays = {each.address: each.status for each in inactive}
        echo_json({"added": added.added, "known": added.existing, "inactive": stays, **_as_list(list_name, members)})
        return
    click.echo(_summary(added))
    if members is not None:
        click.echo(printable(f"List {list_name}: {_members_summary(members)}"))
    for each in inactive:
        click.echo(f"{each.address} stays {each.status}")


@recipients.command()
@click.argument("addresses", metavar="ADDRESS…", nargs=-1, required=True)
@json_option
@plain_errors
def remove(addresses: tuple[str, ...], as_json: bool) -> None:
    """Remove recipients. An unsubscribe is remembered."""
    with _database() as database:
        checked = _checked(addresses, lambda text: _typed_or_stored(database, text))
        unknown = [address.text for address in checked if not database.recipients.find(address)]
        removed = database.recipients.remove(checked, _now())
    if as_json:
        echo_json({"removed": removed, "unknown": unknown})
    else:
        click.echo(f"{removed:,} removed")
    if unknown:
        raise click.ClickException(f"not on the list: {', '.join(unknown)}")


@recipients.command("list")
@json_option
@plain_errors
def list_(as_json: bool) -> None:
    """List all recipients with their status, oldest first."""
    form = _as_json if as_json else _as_text
    with _database() as database:
        for page in database.recipients.pages():
            click.echo("\n".join(map(form, page)))


@recipients.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check the file without saving anything.")
@json_option
@plain_errors
def import_(file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Import recipients from a CSV file (all or none).

    FILE is UTF-8, UTF-16 or Windows-1252; '-' reads standard input. The column with the addresses is recipient_email,
    email, e-mail, mail or address. A file with one column needs no header. Recipients who unsubscribed or were rejected
    keep that status.
    """
    content = ShownImportFile(file, single_label=current_settings().single_label_domains)
    if dry_run:
        deque(content, maxlen=0)
        added = None
    else:
        with _database() as database:
            added = database.recipients.add(content, _now())
    if as_json:
        echo_json(_imported(content, added))
    elif added is None:
        valid = pluralize(content.count, "valid address", "valid addresses")
        click.echo(f"{valid}{_skipped(content)}. Nothing was saved (dry run).")
    else:
        click.echo(_summary(added) + _duplicates(content.count - sum(added)) + _skipped(content))


@recipients.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option("--all", "everyone", is_flag=True, help="Include inactive recipients and their status.")
@plain_errors
def export(output: Path | None, everyone: bool) -> None:
    """Export active recipients as CSV.

    An import reads the file back unchanged. Cells that a spreadsheet would run as a formula get an apostrophe in
    front, which an import removes. With --output, the file is written completely or not at all.
    """
    with _database() as database:
        chunks = _exported(database.recipients.pages(), everyone)
        if output is None or str(output) == "-":
            for chunk in chunks:
                click.echo(chunk, nl=False)
        else:
            write_file(output, chunks)


def _database() -> Database:
    return open_database(current_settings())


def _now() -> datetime:
    return datetime.now(UTC)


def _typed(text: str) -> Address:
    return clean_typed_address(text, single_label=current_settings().single_label_domains)


def _typed_or_stored(database: Database, text: str) -> Address:
    """Return an address that is valid, or that was saved under earlier rules or settings. Raises ValidationError."""
    try:
        return clean_typed_address(text, single_label=True)
    except ValidationError:
        address = stored_address(text.strip())
        if UNSTORABLE.search(text) or not database.recipients.find(address):
            raise
        return address


def _checked(texts: Iterable[str], clean: Callable[[str], Address]) -> list[Address]:
    """Return each address once. Raises ClickException, which lists every invalid address."""
    addresses: list[Address] = []
    bad: list[str] = []
    for text in texts:
        try:
            addresses.append(clean(text))
        except ValidationError as error:
            bad.append(printable(f"{text} {error.message}"))
    if bad:
        raise click.ClickException("\n".join([*bad, "Nothing was changed."]))
    return distinct(addresses)


def _summary(added: Added) -> str:
    return f"{added.added:,} added, {added.existing:,} already on the list"


def _members_summary(members: MembersAdded) -> str:
    left = f", {members.left:,} left it and stay out" if members.left else ""
    return f"{members.added:,} added, {members.existing:,} already in it{left}"


def _as_list(name: str | None, members: MembersAdded | None) -> dict[str, object]:
    if members is None:
        return {}
    return {"list": {"name": name, "added": members.added, "known": members.existing, "left": members.left}}


def _imported(content: ShownImportFile, added: Added | None) -> dict[str, int | bool]:
    counts = {"lines": content.count, "left_out": content.skipped}
    if added is None:
        return {"stored": False, **counts}
    numbers = {"added": added.added, "known": added.existing, "repeated": content.count - sum(added)}
    return {"stored": True, **numbers, **counts}


def _duplicates(count: int) -> str:
    return f", {pluralize(count, 'duplicate')}" if count else ""


def _skipped(content: ShownImportFile) -> str:
    return f", {content.skipped:,} skipped (inactive in the file)" if content.skipped else ""


def _as_text(recipient: Recipient) -> str:
    return f"{recipient.address}\t{recipient.status}"


def _as_json(recipient: Recipient) -> str:
    return json_line(recipient._asdict())


def _exported(pages: Iterable[list[Recipient]], everyone: bool) -> Iterator[bytes]:
    if everyone:
        cells = (((each.address, each.status) for each in page) for page in pages)
        return encode_pages((ADDRESS_COLUMN, STATUS_COLUMN), cells)
    active = (((each.address,) for each in page if each.status == "active") for page in pages)
    return encode_pages((ADDRESS_COLUMN,), active)
