"""`flask recipients`: manage the recipients, one by one or by CSV file.

Every change is all or nothing: if one address is invalid, nothing is saved. Results go to stdout, and errors to stderr.
Progress goes to stderr if it is a terminal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from commands.errors import plain_errors
from commands.import_file import ShownImportFile, show_invalid
from commands.lists import ListName
from commands.output import echo_json, json_line, json_option
from commands.write_file import write_file
from database import RECIPIENT_STATUSES, Added, Address, Database, MembersAdded, Recipient, name_key, open_database
from intake.address import clean_typed_address, distinct, stored_address
from intake.email_fields import UNSTORABLE
from intake.errors import ValidationError
from intake.personal_fields import clean_name
from intake.recipients_csv.columns import Wanted
from intake.recipients_csv.exported import Exported
from intake.recipients_csv.format import encode_pages
from intake.recipients_csv.reader import no_such_list
from intake.search import clean_search, clean_searched_domain
from intake.text import printable
from monitoring.humanize import pluralize
from web.services import current_settings

ADDED_BY = "command"


@click.group()
def recipients() -> None:
    """Add, remove, list, import and export recipients."""


@recipients.command()
@click.argument("addresses", metavar="ADDRESS…", nargs=-1, required=True)
@click.option("--list", "list_name", type=ListName(), help="Also add the recipients to this list.")
@json_option
@plain_errors
def add(addresses: tuple[str, ...], list_name: str | None, as_json: bool) -> None:
    """Add recipients (all or none).

    Recipients who unsubscribed or were rejected keep that status. With --list, those who left the list
    are not added to it.
    """
    checked = _checked(addresses, _typed)
    with _database() as database:
        members = None
        if list_name is None:
            added = database.recipients.add(checked, _now(), ADDED_BY)
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
    """Remove recipients. If you add them again, those who unsubscribed stay unsubscribed."""
    with _database() as database:
        checked = _checked(addresses, lambda text: _typed_or_stored(database, text))
        unknown = [address.text for address in checked if not database.recipients.find(address)]
        removed = database.recipients.remove(checked, _now())
    if as_json:
        echo_json({"removed": removed, "unknown": unknown})
    else:
        click.echo(f"{removed:,} removed")
    if unknown:
        raise click.ClickException(f"not found: {', '.join(unknown)}")


@recipients.command("list")
@click.option("--search", metavar="TEXT", help="Show only those whose address or personal fields contain each word.")
@click.option("--domain", metavar="NAME", help="Show only addresses of this domain.")
@click.option("--list", "list_name", type=ListName(), help="Show only members of this list.")
@click.option("--status", type=click.Choice(RECIPIENT_STATUSES), help="Show only recipients with this status.")
@json_option
@plain_errors
def list_(search: str | None, domain: str | None, list_name: str | None, status: str | None, as_json: bool) -> None:
    """List recipients, in the order in which they were added.

    With options, only the recipients who match all of them are shown.
    """
    form = _as_json if as_json else _as_text
    try:
        words = clean_search(search) if search is not None else ()
        wanted_domain = clean_searched_domain(domain) if domain is not None else None
    except ValidationError as error:
        raise click.ClickException(f"--{error.field}: the text {error.message}") from None
    wanted: dict[str, Any] = {"status": status, "words": words, "domain": wanted_domain, "list_name": list_name}
    with _database() as database:
        for page in database.recipients.pages(**wanted):
            click.echo("\n".join(map(form, page)))


@recipients.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check the file without saving anything.")
@click.option("--skip-invalid", is_flag=True, help="Import the valid lines, and report the others.")
@click.option("--address-column", metavar="NAME", help="The address column: its header, or its number.")
@click.option(
    "--field", "fields", metavar="COLUMN[=NAME]", multiple=True, help="Save a column as a personal field. Repeatable."
)
@click.option("--fields", "all_fields", is_flag=True, help="Save all other columns as personal fields.")
@click.option("--list", "lists", type=ListName(), multiple=True, help="Add everyone to this list. Repeatable.")
@json_option
@plain_errors
def import_(file: BinaryIO, dry_run: bool, skip_invalid: bool, lists: tuple[str, ...], **columns: Any) -> None:
    """Import recipients from a CSV file (all or none).

    FILE is UTF-8, UTF-16 or Windows-1252, as Excel and other programs save it; '-' reads standard input. The column
    with the addresses is recognised by its name (such as recipient_email, email or E-Mail-Adresse) or by its values.
    Recipients who unsubscribed or were rejected keep that status, and those who left a list are not added to it.
    """
    as_json = columns.pop("as_json")
    wanted = _wanted(**columns)
    with ExitStack() as stack:
        database = None if dry_run and not lists else stack.enter_context(_database())
        known = _known_lists(database)
        content = ShownImportFile(
            file,
            single_label=current_settings().single_label_domains,
            wanted=wanted,
            lists=known,
            skip_invalid=skip_invalid,
        )
        if dry_run or database is None:
            for name in lists:
                _require_list(name, known)
            deque(content, maxlen=0)
            added = None
        else:
            added = database.recipients.add(content, _now(), ADDED_BY, field_names=content.field_names, lists=lists)
    _show_import(content, added, as_json)


def _show_import(content: ShownImportFile, added: Added | None, as_json: bool) -> None:
    if content.invalid_lines:
        show_invalid(content.invalid_lines, content.invalid_count)
    _show_columns(content)
    if as_json:
        echo_json(_imported(content, added))
    elif added is None:
        valid = pluralize(content.count, "valid address", "valid addresses")
        click.echo(f"{valid}{_skipped(content)}. Nothing was saved (dry run).")
    else:
        repeated = content.count - added.added - added.existing
        click.echo(_summary(added) + _duplicates(repeated) + _skipped(content))


def _show_columns(content: ShownImportFile) -> None:
    """Say on stderr what was found out, unless the header says it itself."""
    layout = content.layout
    if layout.header and not layout.is_named:
        click.echo(
            printable(f"Addresses: column {layout.name}, below the header on line {layout.header_line}"), err=True
        )
    if layout.fields:
        click.echo(printable(f"Fields: {', '.join(name for _, name in layout.fields)}"), err=True)


def _wanted(address_column: str | None, fields: tuple[str, ...], all_fields: bool) -> Wanted:
    chosen = []
    for each in fields:
        column, _, name = each.partition("=")
        try:
            chosen.append((column, clean_name(name) if name else ""))
        except ValidationError as error:
            raise click.ClickException(f"--field {each}: the name {error.message}") from None
    return Wanted(address_column, chosen, (lambda name: True) if all_fields else None)


def _known_lists(database: Database | None) -> dict[str, int]:
    return {} if database is None else database.lists.ids()


def _require_list(name: str, known: Mapping[str, int]) -> None:
    """Raise ClickException if there is no such list."""
    if name_key(name) not in map(name_key, known):
        raise click.ClickException(str(no_such_list(name, list(known))))


@recipients.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option("--all", "everyone", is_flag=True, help="Include inactive recipients and their status.")
@plain_errors
def export(output: Path | None, everyone: bool) -> None:
    """Export active recipients as CSV.

    The file has a column for their lists, and one for each personal field, if there are any.

    An import with --fields restores everything in the file. Each cell that a spreadsheet would run as a formula gets an
    apostrophe in front, which the import removes. With --output, the file is written completely or not at all.
    """
    with _database() as database:
        chunks = _exported(database, everyone)
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
    joined = f", {pluralize(added.joined, 'membership')} added" if added.joined else ""
    left = f", {added.left:,} not added to a list that they left" if added.left else ""
    return f"{added.added:,} added, {added.existing:,} already existed{joined}{left}"


def _members_summary(members: MembersAdded) -> str:
    left = f", {members.left:,} not added (left the list)" if members.left else ""
    return f"{members.added:,} added, {members.existing:,} already members{left}"


def _as_list(name: str | None, members: MembersAdded | None) -> dict[str, object]:
    if members is None:
        return {}
    return {"list": {"name": name, "added": members.added, "known": members.existing, "left": members.left}}


def _imported(content: ShownImportFile, added: Added | None) -> dict[str, int | bool]:
    counts = {"lines": content.count, "left_out": content.skipped}
    if added is None:
        return {"stored": False, **counts}
    repeated = content.count - added.added - added.existing
    numbers = {"added": added.added, "known": added.existing, "repeated": repeated}
    members = {"joined": added.joined, "left": added.left} if added.joined + added.left else {}
    invalid = {"invalid": content.invalid_count} if content.skip_invalid else {}
    return {"stored": True, **numbers, **counts, **members, **invalid}


def _duplicates(count: int) -> str:
    return f", {pluralize(count, 'duplicate')}" if count else ""


def _skipped(content: ShownImportFile) -> str:
    return f", {content.skipped:,} skipped (inactive in the file)" if content.skipped else ""


def _as_text(recipient: Recipient) -> str:
    return f"{recipient.address}\t{recipient.status}"


def _as_json(recipient: Recipient) -> str:
    return json_line(recipient._asdict())


def _exported(database: Database, everyone: bool) -> Iterator[bytes]:
    columns = Exported(database.recipients.field_names(), database.lists.ids(), with_status=everyone)
    pages = (
        columns.rows([each for each in page if everyone or each.status == "active"], _lists_of(database, columns, page))
        for page in database.recipients.pages()
    )
    return encode_pages(columns.header, pages)


def _lists_of(database: Database, columns: Exported, page: list[Recipient]) -> dict[int, list[str]]:
    return database.lists.names_of([each.recipient_id for each in page]) if columns.has_lists else {}
