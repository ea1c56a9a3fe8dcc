"""The outbox: the messages in the Maildir, while EMAIL_URL names one instead of a mail server."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any, BinaryIO

from flask import Blueprint, Response, abort, render_template, request, send_file, url_for

from delivery.maildir.parsed_message import MAX_READ_BYTES, parse_message
from delivery.maildir.reader import VALID_NAME, open_message
from web.body_limits import READ_SIZE
from web.downloads import begin_download, send_in_parts
from web.pages.outbox_list import Page, Saved, count_by_email, grouped, read_page, saved_message
from web.sandbox import framed
from web.services import current_services, current_settings

LISTING_TIMEOUT = 0.3  # seconds
MAX_SEARCH_LENGTH = 254  # characters
VIEWS = ("html", "text", "fields")
blueprint = Blueprint("outbox", __name__)


@blueprint.get("/outbox")
def show() -> str:
    """Show the newest messages and the first of them, or where mail goes instead."""
    if current_settings().email_url.path is None:
        return render_template("outbox_unused.html", server=current_settings().email_url)
    return _panes(None)


@blueprint.get("/outbox/<name>")
def message(name: str) -> str:
    """Show a message beside the list."""
    return _panes(_read(name))


def _panes(chosen: Saved | None) -> str:
    """Show the list and a message: `chosen`, or the first of the list."""
    after, search = request.args.get("after"), request.args.get("q", "")[:MAX_SEARCH_LENGTH].strip()
    if after is not None and not VALID_NAME.fullmatch(after):
        abort(400, "after must be the name of a message")
    listed = _list(after, search)
    page: Page | None = listed.get("page")
    shown = chosen
    if page and page.messages and chosen is None:
        shown = _read_if_there(page.messages[0].name)
    newer, older = page.beside(shown.name) if page and shown else (None, None)
    keep: dict[str, Any] = {"q": search or None, "after": after}
    return render_template(
        "outbox.html",
        is_chosen=chosen is not None,
        after=after,
        search=search,
        max_length=MAX_SEARCH_LENGTH,
        link=lambda name, **more: url_for(".message", name=name, **{**keep, **more}),
        all_messages=url_for(".show", **keep),
        saved=shown,
        view=_view(shown),
        newer=newer,
        older=older,
        mailbox=mailbox,
        read=MAX_READ_BYTES,
        **listed,
    )


def _list(after: str | None, search: str) -> dict[str, Any]:
    """Return what the list shows: a page of it, or why there is none."""
    path, outbox = current_settings().email_url.path, current_services().outbox
    if path is None or outbox is None:
        abort(404)
    try:
        listing = outbox.latest(LISTING_TIMEOUT)
    except OSError as error:
        return {"fault": error.strerror}
    if listing is None:
        return {"is_looking": True}
    page, totals = read_page(path, listing, after, search), count_by_email(listing)
    return {
        "page": page,
        "groups": grouped(page.messages, totals),
        "emails": len(totals),
        "listing": listing,
        "seen_at": datetime.fromtimestamp(listing.seen_at, UTC),
        "most": len(listing.names),
        "first": url_for(".show", q=search or None) if after else None,
        "next": url_for(".show", q=search or None, after=page.following) if page.following else None,
    }


def _view(saved: Saved | None) -> str:
    """Return which part of a message to show: what the URL says if the message has that, else the first it has."""
    if saved is None:
        return ""
    has = {"html": saved.message.html is not None, "text": saved.message.text is not None, "fields": True}
    asked = request.args.get("view", "")
    return asked if has.get(asked) else next(view for view in VIEWS if has[view])


def mailbox(text: str) -> tuple[str, str]:
    """Split an address field into its name and its address. Either may be empty."""
    name, address = parseaddr(text)
    return (name, address) if address else (text, "")


def _read(name: str) -> Saved:
    with _opened(name) as file:
        return saved_message(name, parse_message(file.read(MAX_READ_BYTES)), file)


def _read_if_there(name: str) -> Saved | None:
    path = current_settings().email_url.path
    try:
        return _read(name) if path else None
    except FileNotFoundError:
        return None


@blueprint.get("/outbox/<name>/html")
def html(name: str) -> Response:
    """Return the HTML of a message, sandboxed."""
    with _opened(name) as file:
        message = parse_message(file.read(MAX_READ_BYTES))
    if message.html is None:
        abort(404)
    return framed(message.html)


@blueprint.get("/outbox/<name>/source")
def source(name: str) -> Response:
    with begin_download() as stack:
        file = stack.enter_context(_opened(name))
        response = send_file(file, mimetype="text/plain")
        return send_in_parts(response, iter(lambda: file.read(READ_SIZE), b""), stack.pop_all())


def _opened(name: str) -> BinaryIO:
    path = current_settings().email_url.path
    if path is None:
        abort(404)
    try:
        return open_message(path, name)
    except FileNotFoundError:
        abort(404)
