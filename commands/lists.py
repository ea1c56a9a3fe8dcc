"""`flask lists`: create, list, show, rename, archive and remove lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import Database, List, Member, open_database
from intake.errors import ValidationError
from intake.list_names import clean_list_name
from intake.text import printable
from web.services import current_settings

PAGE_SIZE = 1_000


class ListName(click.ParamType[str]):
    """A name that a list may have."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return clean_list_name(str(value))
        except ValidationError as error:
            self.fail(printable(f"the name {value!r} {error.message}"), param, ctx)


name_argument = click.argument("name", type=ListName())


@click.group()
def lists() -> None:
    """Create, show, rename, archive and delete lists of recipients."""


@lists.command("list")
@click.option("--archived", is_flag=True, help="Show the archived lists instead.")
@json_option
@plain_errors
def list_(archived: bool, as_json: bool) -> None:
    """Show the lists and their number of members.

    Lists are sorted by name. Archived lists are left out.
    """
    with _database() as database:
        for each in _pages(database, archived):
            if as_json:
                echo_json(each._asdict())
            else:
                click.echo(f"{printable(each.name)}\t{each.members}")


@lists.command()
@name_argument
@json_option
@plain_errors
def add(name: str, as_json: bool) -> None:
    """Create a list without members."""
    with _database() as database:
        created = database.lists.add(name, _now())
    if as_json:
        echo_json(created._asdict())
    else:
        click.echo(printable(f"Created the list {created.name}."))


@lists.command()
@name_argument
@json_option
@plain_errors
def show(name: str, as_json: bool) -> None:
    """Show a list's size and dates.

    The dates are those of its creation and of its archiving.
    """
    with _database() as database:
        found = database.lists.require(name)
    if as_json:
        echo_json(found._asdict())
        return
    click.echo(printable(f"list: {found.name}" + (" (archived)" if found.archived_at else "")))
    click.echo(f"members: {found.members:,}")
    click.echo(f"created: {_local(found.created_at)}")
    if found.archived_at:
        click.echo(f"archived: {_local(found.archived_at)}")


@lists.command()
@name_argument
@json_option
@plain_errors
def members(name: str, as_json: bool) -> None:
    """Show the members of a list, with their status.

    Those who left the list themselves are shown as `left`.
    """
    with _database() as database:
        for each in _members(database, name):
            status = "left" if each.left_at else each.recipient.status
            if as_json:
                times = {"joined_at": each.joined_at, "left_at": each.left_at, "added_by": each.added_by}
                echo_json({"address": each.recipient.address, "status": each.recipient.status, **times})
            else:
                click.echo(f"{each.recipient.address}\t{status}")


@lists.command()
@name_argument
@click.argument("new", type=ListName())
@json_option
@plain_errors
def rename(name: str, new: str, as_json: bool) -> None:
    """Rename a list to NEW. Emails already scheduled for it still go to it."""
    with _database() as database:
        renamed = database.lists.rename(name, new, _now())
    if as_json:
        echo_json(renamed._asdict())
    else:
        click.echo(printable(f"Renamed to {renamed.name}."))


@lists.command()
@name_argument
@click.option("--undo", is_flag=True, help="Let the list accept new emails again.")
@json_option
@plain_errors
def archive(name: str, undo: bool, as_json: bool) -> None:
    """Archive a list, so that it accepts no new emails.

    Emails already scheduled for it still go out.
    """
    with _database() as database:
        if undo:
            database.lists.unarchive(name)
        else:
            database.lists.archive(name, _now())
        changed = database.lists.require(name)
    if as_json:
        echo_json(changed._asdict())
    else:
        click.echo(printable(f"{changed.name} accepts new emails again." if undo else f"Archived {changed.name}."))


@lists.command()
@name_argument
@json_option
@plain_errors
def remove(name: str, as_json: bool) -> None:
    """Delete a list. Its members remain recipients.

    Emails already scheduled for it are put on hold.
    """
    with _database() as database:
        removed = database.lists.require(name)
        database.lists.delete(name, _now())
    if as_json:
        echo_json({"removed": removed.name, "members": removed.members})
    else:
        click.echo(
            printable(f"Deleted the list {removed.name}. Its members ({removed.members:,}) are still recipients.")
        )


def _database() -> Database:
    return open_database(current_settings())


def _now() -> datetime:
    return datetime.now(UTC)


def _local(at: datetime) -> str:
    return at.astimezone(current_settings().timezone).isoformat(sep=" ")


def _pages(database: Database, archived: bool) -> Iterator[List]:
    after = ""
    while page := database.lists.page(after, PAGE_SIZE, archived):
        yield from page
        after = page[-1].name


def _members(database: Database, name: str) -> Iterator[Member]:
    after = 0
    while page := database.lists.members(name, after, PAGE_SIZE):
        yield from page
        after = page[-1].recipient.recipient_id
