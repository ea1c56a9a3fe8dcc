"""`flask recipients`: who receives every email, by hand and by CSV file.

What changes the list is all or nothing: one bad address, and nothing was stored. Results go to stdout, errors
and progress to stderr, and progress only where that is a terminal.
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
from commands.output import echo_json, json_line, json_option
from commands.write_file import write_file
from database import Added, Address, Database, Recipient, open_database
from intake.address import clean_typed_address, distinct, stored_address
from intake.email_fields import UNSTORABLE
from intake.errors import ValidationError
from intake.recipients_csv.format import ADDRESS_COLUMN, STATUS_COLUMN, encode_pages
from intake.text import printable
from web.services import current_settings


@click.group()
def recipients() -> None:
    """Manage who receives every email."""


@recipients.command()
@click.argument("addresses", metavar="ADDRESS…", nargs=-1, required=True)
@json_option
@plain_errors
def add(addresses: tuple[str, ...], as_json: bool) -> None:
    """Add recipients: all of them, or none if one is bad.

    Who has unsubscribed, or was rejected, stays so.
    """
    checked = _checked(addresses, _typed)
    with _database() as database:
        added = database.recipients.add(checked, _now())
        saved = filter(None, map(database.recipients.find, checked))
        inactive = [each for each in saved if each.status != "active"]
    if as_json:
        stays = {each.address: each.status for each in inactive}
        echo_json({"added": added.added, "known": added.existing, "inactive": stays})
        return
    click.echo(_summary(added))
    for each in inactive:
        click.echo(f"{each.address} stays {each.status}")


@recipients.command()
@click.argument("addresses", metavar="ADDRESS…", nargs=-1, required=True)
@json_option
@plain_errors
def remove(addresses: tuple[str, ...], as_json: bool) -> None:
    """Remove recipients. That one has unsubscribed is remembered."""
    with _database() as database:
        checked = _checked(addresses, lambda text: _typed_or_stored(database, text))
        unknown = [address.text for address in checked if not database.recipients.find(address)]
        removed = database.recipients.remove(checked, _now())
    if as_json:
        echo_json({"removed": removed, "unknown": unknown})
    else:
        click.echo(f"{removed:,} removed")
    if unknown:
        raise click.ClickException(f"no such recipient: {', '.join(unknown)}")


@recipients.command("list")
@json_option
@plain_errors
def list_(as_json: bool) -> None:
    """Show all recipients with their status, in the order they were added."""
    form = _as_json if as_json else _as_text
    with _database() as database:
        for page in database.recipients.pages():
            click.echo("\n".join(map(form, page)))


@recipients.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check the file and store nothing.")
@json_option
@plain_errors
def import_(file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Add the recipients of a CSV file ('-': stdin): all of them, or none if a line is bad.

    The column is called recipient_email, or else email, e-mail, mail or address; a file of one column needs no header.
    The file is UTF-8, UTF-16 or Windows-1252. An import never makes anyone active again who has unsubscribed or was
    rejected.
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
        click.echo(f"{content.count:,} can be imported{_skipped(content)}; nothing was stored")
    else:
        click.echo(_summary(added) + _duplicates(content.count - sum(added)) + _skipped(content))


@recipients.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file, whole or not at all.")
@click.option("--all", "everyone", is_flag=True, help="Also who is not active, with a column recipient_status.")
@plain_errors
def export(output: Path | None, everyone: bool) -> None:
    """Write the active recipients as CSV that an import reads back as the same rows.

    Cells that a spreadsheet would run as a formula begin with an apostrophe; an import takes it off.
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
    """Return an address that is valid or, by other rules or settings, was once. Raises ValidationError."""
    try:
        return clean_typed_address(text, single_label=True)
    except ValidationError:
        address = stored_address(text.strip())
        if UNSTORABLE.search(text) or not database.recipients.find(address):
            raise
        return address


def _checked(texts: Iterable[str], clean: Callable[[str], Address]) -> list[Address]:
    """Return each address once, or name every bad one."""
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
    return f"{added.added:,} added, {added.existing:,} already there"


def _imported(content: ShownImportFile, added: Added | None) -> dict[str, int | bool]:
    counts = {"lines": content.count, "left_out": content.skipped}
    if added is None:
        return {"stored": False, **counts}
    numbers = {"added": added.added, "known": added.existing, "repeated": content.count - sum(added)}
    return {"stored": True, **numbers, **counts}


def _duplicates(count: int) -> str:
    return f", {count:,} repeated in the file" if count else ""


def _skipped(content: ShownImportFile) -> str:
    return f", {content.skipped:,} left out (not active by the file)" if content.skipped else ""


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
