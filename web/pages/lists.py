"""Lists: all of them, and one list with its members and the emails that wait for it.

URLs contain the list_id, so that they stay valid when a list is renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from database import Database, List, ListExists, Member, WaitingEmail, Word
from intake.address import stored_address
from intake.email_fields import clean_event_id
from intake.errors import ValidationError
from intake.list_names import clean_list_name
from intake.search import clean_search
from web.auth.browsers import safe_path
from web.errors import LIST_NOT_FOUND, error_answer
from web.form import read_page_form
from web.pages.recipients import INVALID_CURSOR, members_added_sentences, read_lines
from web.services import current_settings, in_database

PAGE_SIZE = 100  # rows
MAX_WAITING = 20  # emails that wait for a list, on its page
blueprint = Blueprint("lists", __name__)


class ListPage(NamedTuple):
    """The data of the page of one list."""

    list: List
    members: Sequence[Member]
    waiting: Sequence[WaitingEmail]


@blueprint.get("/lists")
def show() -> Response:
    """Show a page of the lists, by name."""
    return _lists_page()


@blueprint.post("/lists")
def add() -> AnyResponse:
    """Create a list."""
    typed = read_page_form(request, ("name",)).get("name", "")
    try:
        name = clean_list_name(typed)
        added = in_database(lambda database: database.lists.add(name, datetime.now(UTC)))
    except (ValidationError, ListExists) as error:
        return _lists_page(typed=typed, wrong=_reason(error))
    flash(f"Created the list {added.name}. Add members below.")
    return redirect(f"/lists/{added.list_id}", 303)


@blueprint.get("/lists/<int:list_id>")
def show_one(list_id: int) -> AnyResponse:
    """Show a list and a page of its members."""
    return _list_page(list_id)


@blueprint.post("/lists/<int:list_id>/members")
def add_members(list_id: int) -> AnyResponse:
    """Add the addresses: all of them, or none if one is invalid."""
    text = read_page_form(request, ("addresses",)).get("addresses", "")
    addresses, refused = read_lines(text, single_label=current_settings().single_label_domains)
    if refused or not addresses:
        return _list_page(list_id, 400, typed=text, refused=refused, nothing_added=True)
    found = _get(list_id)
    if found is None:
        return error_answer(404, LIST_NOT_FOUND)
    added = in_database(
        lambda database: database.lists.add_members(found.name, addresses, datetime.now(UTC), added_by="page")
    )
    for sentence, category in members_added_sentences(added):
        flash(sentence, category)
    return redirect(f"/lists/{list_id}", 303)


@blueprint.post("/lists/<int:list_id>/members/<int:recipient_id>/remove")
def remove_member(list_id: int, recipient_id: int) -> AnyResponse:
    """Remove a member from a list. The recipient stays. Safe to repeat."""
    found = _get(list_id)
    if found is None:
        return error_answer(404, LIST_NOT_FOUND)
    removed = in_database(lambda database: _remove(database, found, recipient_id))
    if removed:
        flash(f"Removed {removed} from the list. They are still among the recipients.")
    else:
        flash("This recipient is no longer on the list.", "warning")
    return redirect(safe_path(request.form.get("next") or f"/lists/{list_id}"), 303)


@blueprint.post("/lists/<int:list_id>/rename")
def rename(list_id: int) -> AnyResponse:
    """Rename a list. Emails already scheduled for it still go to it."""
    typed = read_page_form(request, ("name",)).get("name", "")
    found = _get(list_id)
    if found is None:
        return error_answer(404, LIST_NOT_FOUND)
    try:
        name = clean_list_name(typed)
        in_database(lambda database: database.lists.rename(found.name, name, datetime.now(UTC)))
    except (ValidationError, ListExists) as error:
        return _list_page(list_id, 400, new_name=typed, wrong=_reason(error))
    flash(f"Renamed to {name}. Programs that use the name {found.name} must be changed.")
    return redirect(f"/lists/{list_id}", 303)


@blueprint.post("/lists/<int:list_id>/archive")
def archive(list_id: int) -> AnyResponse:
    """Archive a list: it accepts no new emails. Safe to repeat."""
    return _act(list_id, lambda database, name: database.lists.archive(name, datetime.now(UTC)), "Archived {}.")


@blueprint.post("/lists/<int:list_id>/unarchive")
def unarchive(list_id: int) -> AnyResponse:
    """Take a list back into use. Safe to repeat."""
    return _act(list_id, lambda database, name: database.lists.unarchive(name), "Unarchived {}.")


@blueprint.post("/lists/<int:list_id>/delete")
def delete(list_id: int) -> AnyResponse:
    """Delete a list. Its members remain recipients, and emails already scheduled for it are put on hold."""
    found = _get(list_id)
    if found is None:
        flash("This list was already deleted.", "warning")
        return redirect("/lists", 303)
    in_database(lambda database: database.lists.delete(found.name, datetime.now(UTC)))
    flash(f"Deleted the list {found.name}. Its members are still recipients.")
    return redirect("/lists", 303)


@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: ValidationError) -> AnyResponse:
    """Return 400 for a form that no browser would send."""
    return error_answer(400, str(error))


def _act(list_id: int, act: Callable[[Database, str], object], done: str) -> AnyResponse:
    found = _get(list_id)
    if found is None:
        return error_answer(404, LIST_NOT_FOUND)
    in_database(lambda database: act(database, found.name))
    flash(done.format(found.name))
    return redirect(f"/lists/{list_id}", 303)


def _lists_page(**more: object) -> Response:
    archived = request.args.get("archived") == "1"
    after = request.args.get("after", "")
    lists, counts = in_database(
        lambda database: (database.lists.page(after, PAGE_SIZE + 1, archived=archived), database.lists.counts())
    )
    following = (
        f"/lists?{urlencode({'archived': '1' if archived else '', 'after': lists[PAGE_SIZE - 1].name})}"
        if len(lists) > PAGE_SIZE
        else None
    )
    page = render_template(
        "lists.html",
        lists=lists[:PAGE_SIZE],
        counts=counts,
        archived=archived,
        after=after,
        following=following,
        **more,
    )
    return make_response(page, 400 if more else 200)


def _list_page(list_id: int, code: int = 200, **more: object) -> AnyResponse:
    try:
        after = clean_event_id(request.args.get("after") or "0")
    except ValidationError:
        raise BadRequest(INVALID_CURSOR) from None
    search = request.args.get("search", "").strip()
    try:
        words = clean_search(search) if search else ()
    except ValidationError as error:
        raise BadRequest(f"the search text {error.message}") from None
    data = in_database(lambda database: _load(database, list_id, words, after)) if list_id < 2**63 else None
    if data is None:
        return error_answer(404, LIST_NOT_FOUND)
    members = data.members[:PAGE_SIZE]
    has_more = len(data.members) > PAGE_SIZE
    searched = {"search": search} if search else {}
    last = members[-1].recipient.recipient_id if has_more else None
    page = render_template(
        "list.html",
        list=data.list,
        members=members,
        waiting=data.waiting,
        search=search,
        after=after,
        first=f"/lists/{list_id}?{urlencode(searched)}".removesuffix("?"),
        following=f"/lists/{list_id}?{urlencode({**searched, 'after': last})}" if last else None,
        **more,
    )
    return make_response(page, code)


def _load(database: Database, list_id: int, words: Sequence[Word], after: int) -> ListPage | None:
    found = database.lists.get_by_id(list_id)
    if found is None:
        return None
    waiting = database.lists.waiting_emails(list_id, MAX_WAITING)
    return ListPage(found, database.lists.members(found.name, after, PAGE_SIZE + 1, words), waiting)


def _get(list_id: int) -> List | None:
    if list_id >= 2**63:
        return None
    return in_database(lambda database: database.lists.get_by_id(list_id))


def _remove(database: Database, found: List, recipient_id: int) -> str | None:
    """Remove a member. Return the address, or None if it is not a member."""
    recipient = database.recipients.get(recipient_id)
    if recipient is None:
        return None
    address = stored_address(recipient.address)
    return recipient.address if database.lists.remove_member(found.name, address, datetime.now(UTC)) else None


def _reason(error: ValidationError | ListExists) -> str:
    return f"The name {error.message}." if isinstance(error, ValidationError) else str(error)
