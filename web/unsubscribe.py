"""/unsubscribe/<token>: the target of the link in a message (RFC 8058). Open to everyone who has the token.

GET changes nothing, because scanners follow links. POST unsubscribes, whether it comes from the button on the page or
from a mail provider. It reads neither body nor cookies, is never redirected, and is safe to repeat.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, make_response, render_template

from database import Database, DatabaseBusy, DatabaseUnavailable, Recipient
from sender.outgoing import unsubscribe_tokens
from web.middleware import request_id
from web.services import current_settings, in_database

AFTER_LINK = re.compile(
    r"""[.,;:!?'")>\]}*\u201d\u2019\u00bb]{0,3}/?\Z"""
)  # punctuation that mail programs add to a link in a text
blueprint = Blueprint("unsubscribe", __name__)


class ForgedToken(Exception):
    """The link was not created here, or is incomplete."""


@blueprint.get("/unsubscribe/<path:token>")
def ask(token: str) -> Response:
    """Show the page with the button. Changes nothing."""
    recipient = in_database(lambda database: _recipient(database, token))
    if recipient is None or recipient.status == "unsubscribed":
        return _page("done", recipient)
    return _page("ask", recipient)


@blueprint.post("/unsubscribe/<path:token>")
def unsubscribe(token: str) -> Response:
    """Unsubscribe the recipient of this token. Nothing more is sent to them, except a message already being sent."""
    try:
        recipient = in_database(lambda database: _unsubscribe(database, token))
    except DatabaseBusy:  # PostgreSQL aborts one side of a deadlock, such as this and a sender
        recipient = in_database(lambda database: _unsubscribe(database, token))
    return _page("done", recipient)


@blueprint.errorhandler(ForgedToken)
def answer_forged(_: ForgedToken) -> Response:
    """Return 404 for a link that is not valid."""
    return _page("forged", None, 404)


@blueprint.errorhandler(DatabaseUnavailable)
def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """Return 503. The error is only in the log, because anyone can see the page."""
    current_app.logger.error("%s unsubscribing failed: %s", request_id(), error)
    response = _page("unavailable", None, 503)
    response.headers["Retry-After"] = "60"
    return response


def masked(address: str) -> str:
    """Return enough of an address for its owner to recognise it."""
    return f"{address[0]}…@{address.rpartition('@')[2]}"


def _unsubscribe(database: Database, token: str) -> Recipient | None:
    recipient = _recipient(database, token)
    if recipient is not None:
        database.recipients.unsubscribe(recipient.recipient_id, datetime.now(UTC))
    return recipient


def _recipient(database: Database, token: str) -> Recipient | None:
    """Return the recipient of the token, or None if they have been removed. Raises ForgedToken."""
    recipient_id = unsubscribe_tokens(current_settings(), database).recipient_id(AFTER_LINK.sub("", token, count=1))
    if recipient_id is None:
        raise ForgedToken
    return database.recipients.get(recipient_id)


def _page(state: str, recipient: Recipient | None, status: int = 200) -> Response:
    address = masked(recipient.address) if recipient else None
    response = make_response(render_template("unsubscribe.html", state=state, address=address), status)
    response.headers["Referrer-Policy"] = "no-referrer"  # anyone with the URL of the page can unsubscribe
    return response
