"""The outbox: the messages in the Maildir, while EMAIL_URL names one instead of a mail server."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from flask import Blueprint, Response, abort, render_template, request, send_file, url_for

from delivery.maildir.parsed_message import MAX_HEADER_BYTES, MAX_READ_BYTES, ParsedMessage, parse_fields, parse_message
from delivery.maildir.reader import VALID_NAME, Listing, open_message
from web.body_limits import READ_SIZE
from web.downloads import begin_download, send_in_parts
from web.sandbox import framed
from web.services import current_services, current_settings

PAGE_SIZE = 50
LISTING_TIMEOUT = 0.3  # seconds
blueprint = Blueprint("outbox", __name__)


class Saved(NamedTuple):
    """A message in the Maildir."""

    name: str
    message: ParsedMessage
    saved_at: datetime
    size: int


@blueprint.get("/outbox")
def show() -> str:
    """Show the newest messages, or where mail goes instead."""
    after = request.args.get("after")
    if after is not None and not VALID_NAME.fullmatch(after):
        abort(400, "after must be the name of a message")
    url, outbox = current_settings().email_url, current_services().outbox
    if url.path is None or outbox is None:
        return render_template("outbox.html", server=url)
    try:
        listing = outbox.latest(LISTING_TIMEOUT)
    except OSError as error:
        return render_template("outbox.html", path=url.path, fault=error.strerror)
    if listing is None:
        return render_template("outbox.html", path=url.path, is_looking=True)
    return _page(url.path, listing, after)


def _page(path: Path, listing: Listing, after: str | None) -> str:
    names = listing.before(after, PAGE_SIZE)
    more = bool(names) and bool(listing.before(names[-1], 1))
    return render_template(
        "outbox.html",
        path=path,
        listing=listing,
        seen_at=datetime.fromtimestamp(listing.seen_at, UTC),
        rows=[row for row in (_row(path, name) for name in names) if row],
        most=len(listing.names),
        first=url_for(".show") if after else None,
        next=url_for(".show", after=names[-1]) if more else None,
    )


def _row(path: Path, name: str) -> Saved | None:
    """Return a row of the list, or None if the message no longer exists."""
    try:
        with open_message(path, name) as file:
            return _saved(name, parse_fields(file.read(MAX_HEADER_BYTES)), file)
    except FileNotFoundError:
        return None


def _saved(name: str, message: ParsedMessage, file: BinaryIO) -> Saved:
    status = os.fstat(file.fileno())
    return Saved(name, message, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


@blueprint.get("/outbox/<name>")
def message(name: str) -> str:
    """Show a message: its header fields, its text, and its HTML in a frame."""
    with _opened(name) as file:
        saved = _saved(name, parse_message(file.read(MAX_READ_BYTES)), file)
    return render_template("outbox_message.html", saved=saved, message=saved.message, read=MAX_READ_BYTES)


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
