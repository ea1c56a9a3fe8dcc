"""Recipients: the list and its search, adding, removing, reactivating, and one recipient's email history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

import operations
from database import (
    RECIPIENT_STATUSES,
    Address,
    Database,
    MembersAdded,
    NoSuchList,
    NoSuchRecipient,
    NoSuchRemoval,
    Recipient,
    UnusableList,
)
from intake.address import clean_typed_address, fold, split_addresses, stored_address
from intake.email_fields import UNSTORABLE, clean_event_id
from intake.errors import ValidationError
from intake.fields import Fields, InvalidFields, number
from intake.search import clean_search, clean_searched_domain
from intake.text import printable
from monitoring.humanize import pluralize
from web.api.params import cursor_of, email_cursor
from web.auth.browsers import login_return_url, safe_path
from web.errors import LIST_NOT_FOUND, RECIPIENT_NOT_FOUND, error_answer
from web.form import read_page_form, read_page_form_with_options
from web.pages.undo import UNDO_SECONDS, flash_removal
from web.services import current_settings, in_database, perform

PAGE_SIZE = 100  # rows
MAX_SHOWN_LISTS = 1_000
MAX_ADDRESSES = 1_000  # that can be added with one form
MAX_NAMED = 3  # in one message, which is stored in a cookie
ADDED_BY = "page"
USE_REACTIVATE = "{}. Use Reactivate to change that."
INVALID_CURSOR = "after is not a valid cursor"
blueprint = Blueprint("recipients", __name__)


class Filters(NamedTuple):
    """Which recipients the list shows."""

    search: str | None = None
    list: str | None = None  # a name
    status: str | None = None
    domain: str | None = None
    address_begins: str | None = None
    address_contains: str | None = None
    after: int = 0

    @property
    def text(self) -> str:
        """What to show in the search box."""
        domain = f"@{self.domain.removeprefix('@')}" if self.domain else None
        return self.search or domain or self.address_contains or self.address_begins or ""

    @property
    def is_any(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.list or self.status)

    @property
    def by_address(self) -> bool:
        """Whether the list is in the order of addresses."""
        return bool(self.address_begins) and not (self.search or self.domain or self.list)

    def query(self, **changes: object) -> str:
        """Return the filters as a query string, for the first page unless `after` is given."""
        named = {**self._asdict(), "after": 0, **changes}
        return "?" + urlencode({name: value for name, value in named.items() if value})


class Refused(NamedTuple):
    """An entry that is not a valid address, its line, and the reason."""

    line: int
    text: str
    reason: str


@blueprint.get("/recipients")
def show() -> AnyResponse:
    """Show a page of the list."""
    filters = _filter()
    try:
        return Response(_page(filters))
    except NoSuchList:
        return error_answer(404, LIST_NOT_FOUND)
    except NoSuchRecipient:
        flash("That recipient has been removed. Showing the list from the start.", "warning")
        return redirect(f"/recipients{filters.query()}", 303)


@blueprint.post("/recipients")
def add() -> AnyResponse:
    """Add the addresses that are valid. Show the page again with the others, so that they can be corrected.

    Addresses are separated by commas, semicolons, spaces or line breaks, with or without names.
    """
    text = read_page_form(request, ("addresses",)).get("addresses", "")
    addresses, refused = read_lines(text, single_label=current_settings().single_label_domains)
    for sentence, category in _sentences(in_database(lambda database: _add(database, addresses))) if addresses else ():
        flash(sentence, category)
    if refused or not addresses:
        rest = "\n".join(each.text for each in refused)
        page = _page(Filters(), typed=rest if addresses else text, refused=refused, wrong=True, added=len(addresses))
        return Response(page, 200 if addresses else 400)
    return redirect("/recipients", 303)


@blueprint.errorhandler(InvalidFields)
@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: InvalidFields | ValidationError) -> AnyResponse:
    """Return 400 for a form that no browser would send."""
    return error_answer(400, str(error))


@blueprint.get("/recipients/<int:recipient_id>")
def show_one(recipient_id: int) -> AnyResponse:
    """Show a recipient and a page of their deliveries, latest email first."""
    try:
        after = email_cursor(request.args["after"]) if request.args.get("after") else None
    except ValidationError:
        raise BadRequest(INVALID_CURSOR) from None
    recipient = _get(recipient_id)
    if recipient is None:
        return error_answer(404, RECIPIENT_NOT_FOUND)
    page = in_database(lambda database: database.recipients.deliveries(recipient_id, after, PAGE_SIZE))
    memberships = in_database(lambda database: database.lists.lists_of(recipient_id))
    following = f"?after={cursor_of(*page.next_after)}" if page.next_after else None
    lists = in_database(lambda database: database.lists.names(MAX_SHOWN_LISTS))
    joined = {each.list.name for each in memberships}
    shown = {"recipient": recipient, "memberships": memberships, "rows": page.rows, "after": after}
    others = [name for name in lists if name not in joined]
    more = {"following": following, "other_lists": others, "undo_seconds": UNDO_SECONDS}
    return Response(render_template("recipient.html", **shown, **more))


@blueprint.post("/recipients/add-to-list")
def add_to_list() -> AnyResponse:
    """Add the selected recipients to a list. Those who left it are not added."""
    form = read_page_form_with_options(request, ("next", "list"), ("recipient",))
    back = redirect(safe_path(form.fields.get("next") or "/recipients"), 303)
    selected = [recipient for text in form.options.get("recipient", ()) if (recipient := _get(clean_event_id(text)))]
    name = form.fields.get("list", "")
    if not selected or not name:
        flash("Select at least one recipient and a list.", "warning")
        return back
    addresses = [_address(recipient) for recipient in selected]
    try:
        added = in_database(
            lambda database: database.lists.add_members(name, addresses, datetime.now(UTC), added_by=ADDED_BY)
        )
    except UnusableList as error:
        flash(str(error), "warning")
        return back
    for sentence, category in members_added_sentences(added):
        flash(sentence, category)
    return back


def members_added_sentences(added: MembersAdded) -> list[tuple[str, str]]:
    """Return the messages about people who were added to a list, each with its category."""
    sentences = []
    if added.added:
        new = f", {added.created:,} of them new" if added.created else ""
        sentences.append((f"Added {pluralize(added.added, 'recipient')} to the list{new}.", "message"))
    if added.existing:
        sentences.append((f"Already on the list: {added.existing:,}.", "message"))
    if added.left:
        sentences.append((f"Not added, because they left this list: {added.left:,}.", "warning"))
    return sentences


@blueprint.post("/recipients/<int:recipient_id>/remove")
def remove(recipient_id: int) -> AnyResponse:
    """Remove a recipient, and cancel their waiting deliveries. Safe to repeat."""
    recipient = _get(recipient_id)
    back = safe_path(request.form.get("next") or "/recipients")
    if recipient is None or not flash_removal([recipient_id], recipient.address, back):
        flash("This recipient was already removed.", "warning")
    return redirect(back, 303)


@blueprint.post("/recipients/undo")
def undo_removal() -> AnyResponse:
    """Restore the recipients who were removed last. Safe to repeat."""
    fields = Fields({"removal_id": request.form.get("removal_id", "")}, ("removal_id",))
    removal_id = fields.take("removal_id", number)
    fields.check()
    try:
        restored = perform(operations.undo_removal, removal_id.value, datetime.now(UTC))
    except NoSuchRemoval:
        flash("Too late to undo. Add the address again instead.", "warning")
    else:
        flash(f"Restored {pluralize(restored.recipients, 'recipient')}.")
        if restored.cancelled:
            one = restored.cancelled == 1
            messages = pluralize(restored.cancelled, "message")
            flash(f"{messages} to them {'stays' if one else 'stay'} cancelled.", "warning")
    return redirect(safe_path(request.form.get("next") or "/recipients"), 303)


@blueprint.post("/recipients/<int:recipient_id>/reactivate")
def reactivate(recipient_id: int) -> AnyResponse:
    """Reactivate a recipient who has unsubscribed or was rejected. Safe to repeat."""
    recipient = _get(recipient_id)
    if recipient is None:
        flash("This recipient has been removed. Add the address again instead.", "warning")
        return redirect("/recipients", 303)
    address = _address(recipient)
    changed = in_database(lambda database: database.recipients.reactivate(address))
    flash(f"Reactivated {address.text}." if changed else f"{address.text} is already active.")
    return redirect(safe_path(request.form.get("next") or f"/recipients/{recipient_id}"), 303)


def _filter() -> Filters:
    status = request.args.get("status") or None
    search, name, domain, begins, contains = (
        request.args.get(part, "").strip() or None
        for part in ("search", "list", "domain", "address_begins", "address_contains")
    )
    if status not in (None, *RECIPIENT_STATUSES):
        raise BadRequest(f"status must be one of: {', '.join(RECIPIENT_STATUSES)}")
    if UNSTORABLE.search(f"{search}{name}{domain}{begins}{contains}"):
        raise BadRequest("the search text contains an invalid character")
    try:
        after = clean_event_id(request.args.get("after") or "0")
    except ValidationError:
        raise BadRequest(INVALID_CURSOR) from None
    return Filters(search, name, status, domain, begins, contains, after)


def _wanted(filters: Filters) -> dict[str, Any]:
    """Return the filters as arguments of `Recipients.page`."""
    begins, contains = (part and fold(part) for part in (filters.address_begins, filters.address_contains))
    try:
        words = clean_search(filters.search) if filters.search else ()
        domain = clean_searched_domain(filters.domain) if filters.domain else None
    except ValidationError as error:
        raise BadRequest(f"the search text {error.message}") from None
    return {
        "status": filters.status,
        "address_begins": begins,
        "address_contains": contains,
        "words": words,
        "domain": domain,
        "list_name": filters.list,
    }


def _page(filters: Filters, **more: object) -> str:
    counts = in_database(lambda database: database.recipients.counts())
    wanted = _wanted(filters)
    rows = in_database(lambda database: database.recipients.page(filters.after, PAGE_SIZE + 1, **wanted))
    following = filters.query(after=rows[PAGE_SIZE - 1].recipient_id) if len(rows) > PAGE_SIZE else None
    back = login_return_url(request) if request.method == "GET" else "/recipients"
    lists = in_database(lambda database: database.lists.names(MAX_SHOWN_LISTS))
    shown = rows[:PAGE_SIZE]
    memberships = in_database(lambda database: database.lists.names_of([each.recipient_id for each in shown]))
    return render_template(
        "recipients.html",
        counts=counts,
        rows=shown,
        memberships=memberships,
        filters=filters,
        following=following,
        back=back,
        lists=lists,
        undo_seconds=UNDO_SECONDS,
        **more,
    )


def read_lines(text: str, *, single_label: bool) -> tuple[list[Address], list[Refused]]:
    """Return each address once, and the entries that are not valid addresses."""
    addresses: dict[str, Address] = {}
    refused = []
    for line, entry in split_addresses(text):
        try:
            address = clean_typed_address(entry, single_label=single_label)
        except ValidationError as error:
            refused.append(Refused(line, entry, f"{printable(entry, 80)} {error.message}"))
            continue
        if address.key not in addresses and len(addresses) >= MAX_ADDRESSES:
            reason = f"more than {MAX_ADDRESSES:,} addresses; import a file instead"
            return [], [*refused, Refused(line, entry, reason)]
        addresses.setdefault(address.key, address)
    return list(addresses.values()), refused


def _add(database: Database, addresses: Sequence[Address]) -> dict[str, list[str]]:
    """Add the addresses. Return them grouped by the outcome."""
    existing = {address.key for address in addresses if database.recipients.find(address)}
    database.recipients.add(addresses, datetime.now(UTC), ADDED_BY)
    outcomes: dict[str, list[str]] = {"added": [], "existing": [], "unsubscribed": [], "rejected": []}
    for address in addresses:
        recipient = database.recipients.find(address)
        status = recipient.status if recipient else "active"
        outcome = status if status != "active" else "existing" if address.key in existing else "added"
        outcomes[outcome].append(address.text)
    return outcomes


def _sentences(outcomes: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the messages about an addition, each with its category."""
    forms = {
        "added": ("Added {}: {}.", "message"),
        "existing": ("Already added: {}.", "message"),
        "unsubscribed": (f"Not reactivated, because they unsubscribed: {USE_REACTIVATE}", "warning"),
        "rejected": (f"Not reactivated, because the mailbox does not exist: {USE_REACTIVATE}", "warning"),
    }
    return [
        (form.format(*_counted(outcome, outcomes[outcome]), _named(outcomes[outcome])), category)
        for outcome, (form, category) in forms.items()
        if outcomes[outcome]
    ]


def _counted(outcome: str, addresses: Sequence[str]) -> list[str]:
    return [pluralize(len(addresses), "recipient")] if outcome == "added" else []


def _named(addresses: Sequence[str]) -> str:
    named = ", ".join(printable(address, 60) for address in addresses[:MAX_NAMED])
    return named if len(addresses) <= MAX_NAMED else f"{named} and {len(addresses) - MAX_NAMED:,} more"


def _get(recipient_id: int) -> Recipient | None:
    if recipient_id >= 2**63:
        return None
    return in_database(lambda database: database.recipients.get(recipient_id))


def _address(recipient: Recipient) -> Address:
    return stored_address(recipient.address)
