"""/unsubscribe/<token>: where the link in a message leads (RFC 8058). Open to everyone: the token says who may.

GET changes nothing, since scanners follow links. POST unsubscribes, whether it comes from the button of the page or
from a mail provider; it reads neither body nor cookies, is never redirected, and may be repeated.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, make_response, render_template

from database import Database, DatabaseBusy, DatabaseUnavailable, Recipient
from sender.outgoing import unsubscribe_tokens
from web.middleware import request_id
from web.services import current_settings, in_database

AFTER_LINK = re.compile(r"""[.,;:!?'")>\]}*\u201d\u2019\u00bb]{0,3}/?\Z""")  # what a text may have behind a link
blueprint = Blueprint("unsubscribe", __name__)


class ForgedToken(Exception):
    """The link was not made here, or not all of it arrived."""


@blueprint.get("/unsubscribe/<path:token>")
def ask(token: str) -> Response:
    """The page with the button."""
    recipient = in_database(lambda database: _recipient(database, token))
    if recipient is None or recipient.status == "unsubscribed":
        return _page("done", recipient)
    return _page("ask", recipient)


@blueprint.post("/unsubscribe/<path:token>")
def unsubscribe(token: str) -> Response:
    """Unsubscribe the recipient of this token; nothing that has not begun to leave is sent to them."""
    try:
        recipient = in_database(lambda database: _unsubscribe(database, token))
    except DatabaseBusy:  # PostgreSQL breaks off one of two that wait for each other, such as this and a sender
        recipient = in_database(lambda database: _unsubscribe(database, token))
    return _page("done", recipient)


@blueprint.errorhandler(ForgedToken)
def answer_forged(_: ForgedToken) -> Response:
    """Nothing is known of this link."""
    return _page("forged", None, 404)


@blueprint.errorhandler(DatabaseUnavailable)
def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """Nothing was changed. The page does not show the error, because anyone can see it; the log does."""
    current_app.logger.error("%s unsubscribing failed: %s", request_id(), error)
    response = _page("unavailable", None, 503)
    response.headers["Retry-After"] = "60"
    return response


def masked(address: str) -> str:
    """Enough of an address for its owner to know it again."""
    return f"{address[0]}…@{address.rpartition('@')[2]}"


def _unsubscribe(database: Database, token: str) -> Recipient | None:
    recipient = _recipient(database, token)
    if recipient is not None:
        database.recipients.unsubscribe(recipient.recipient_id, datetime.now(UTC))
    return recipient


def _recipient(database: Database, token: str) -> Recipient | None:
    """Whom the token is for; None when that recipient was removed meanwhile."""
    recipient_id = unsubscribe_tokens(current_settings(), database).recipient_id(AFTER_LINK.sub("", token, count=1))
    if recipient_id is None:
        raise ForgedToken
    return database.recipients.get(recipient_id)


def _page(state: str, recipient: Recipient | None, status: int = 200) -> Response:
    address = masked(recipient.address) if recipient else None
    response = make_response(render_template("unsubscribe.html", state=state, address=address), status)
    response.headers["Referrer-Policy"] = "no-referrer"  # the address of the page is the right to unsubscribe
    return response
