"""/unsubscribe/EVENT_ID/TOKEN: the target of the link in a message (RFC 8058). Open to everyone who has the link.

GET changes nothing, because scanners follow links. POST leaves the lists that the email went to, whether it comes from
a mail provider or from the button on the page. If the email went to everyone or to named addresses, or the link is from
before version 5 and names no email, POST unsubscribes from everything. The page also offers each list: `what=some`
with the IDs of the lists, or `what=all` for everything. Any other body means the same as none.

POST reads no cookies, is never redirected, and is safe to repeat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from flask import Blueprint, Response, current_app, make_response, render_template, request
from markupsafe import Markup
from werkzeug.datastructures import MultiDict

from database import Database, DatabaseBusy, DatabaseUnavailable, Email, Membership, Recipient
from sender.outgoing import unsubscribe_tokens
from web import compression
from web.middleware import request_id
from web.services import current_settings, in_database
from web.translation import Translation, preferred

AFTER_LINK = re.compile(
    r"""[.,;:!?'")>\]}*\u201d\u2019\u00bb]{0,3}/?\Z"""
)  # punctuation that email clients add to a link in a text
MAX_FORM_BYTES = 65_536
HOW_ADDED = {  # the name of a text, by the first word of `added_by`
    "import": "by_import",
    "program": "by_program",
    "page": "by_organiser",
    "command": "by_organiser",
}
MIN_MASKED_LENGTH = 4  # characters before the @; of shorter ones, the last one is hidden too
blueprint = Blueprint("unsubscribe", __name__)
compression.register(blueprint)


@blueprint.app_template_filter()
def in_bold(name: str) -> Markup:
    """Return a name as HTML that stands out, whatever its writing direction."""
    return Markup('<b class="break"><bdi>{}</bdi></b>').format(name)


class ForgedToken(Exception):
    """The link was not created here, or is incomplete."""


class Added(NamedTuple):
    """Why a recipient gets an email: when and how the address was added, to a list or to all recipients (None)."""

    on: str  # a day, in the reader's language
    how: str  # the name of a text; empty if unknown
    list_name: str | None


class Subscription(NamedTuple):
    """What a link is about: its recipient, its email, and the lists that the recipient is on.

    `email` is None for links from before version 5, and if the email no longer exists. `list_ids` are the lists that it
    went to: none if it went to everyone or to named addresses. `here` are those of them that the recipient is in,
    `elsewhere` are the recipient's other lists. Neither includes lists that the recipient has left.
    """

    recipient: Recipient
    email: Email | None
    list_ids: Sequence[int]
    here: Sequence[Membership]
    elsewhere: Sequence[Membership]


@blueprint.get("/unsubscribe/<path:link>")
def ask(link: str) -> Response:
    """Show the page with the buttons. Changes nothing."""
    return _page(in_database(lambda database: _subscription(database, link)))


@blueprint.post("/unsubscribe/<path:link>")
def unsubscribe(link: str) -> Response:
    """Leave lists, or unsubscribe. Nothing more is sent, except a message that is already being sent."""
    form = _form()
    if form.get("what") == "some" and not form.getlist("list"):
        return _page(in_database(lambda database: _subscription(database, link)), none_selected=True)
    try:
        return _page(in_database(lambda database: _leave(database, link, form)))
    except DatabaseBusy:  # PostgreSQL aborts one side of a deadlock, such as this and a sender
        return _page(in_database(lambda database: _leave(database, link, form)))


@blueprint.errorhandler(ForgedToken)
def answer_forged(_: ForgedToken) -> Response:
    """Return 404 for a link that is not valid."""
    return _render("forged", 404)


@blueprint.errorhandler(DatabaseUnavailable)
def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """Return 503. The error is only in the log, because anyone can see the page."""
    current_app.logger.error("%s unsubscribing failed: %s", request_id(), error)
    response = _render("unavailable", 503)
    response.headers["Retry-After"] = "60"
    return response


def masked(address: str) -> str:
    """Return enough of an address for its owner to recognise it."""
    local, _, domain = address.rpartition("@")
    return f"{local[0]}…{local[-1] if len(local) >= MIN_MASKED_LENGTH else ''}@{domain}"


def _form() -> MultiDict[str, str]:
    """Return the form of the page. Providers send another body, or none, and what nobody needs is not read."""
    size = request.content_length or 0
    is_form = request.mimetype == "application/x-www-form-urlencoded" and size <= MAX_FORM_BYTES
    return request.form if is_form else MultiDict()


def _leave(database: Database, link: str, form: MultiDict[str, str]) -> Subscription | None:
    """Do what the link and the form say. Return what is left."""
    subscription = _subscription(database, link)
    if subscription is None:
        return None
    recipient_id, now = subscription.recipient.recipient_id, datetime.now(UTC)
    if form.get("what") == "some":
        memberships = (*subscription.here, *subscription.elsewhere)
        selected = set(form.getlist("list"))
        left = [each.list.list_id for each in memberships if str(each.list.list_id) in selected]
        database.lists.leave(recipient_id, left, now)
    elif subscription.list_ids and form.get("what") != "all":
        database.lists.leave(recipient_id, subscription.list_ids, now)
    else:
        database.recipients.unsubscribe(recipient_id, now)
    return _subscription(database, link)


def _subscription(database: Database, link: str) -> Subscription | None:
    """Return what the link is about, or None if the recipient has been removed. Raises ForgedToken."""
    target = unsubscribe_tokens(current_settings(), database).target(AFTER_LINK.sub("", link, count=1))
    if target is None:
        raise ForgedToken
    recipient = database.recipients.get(target.recipient_id)
    if recipient is None:
        return None
    email = None if target.event_id is None else database.emails.get(target.event_id)
    list_ids = database.lists.ids_of_email(email.event_id) if email else []
    memberships = [each for each in database.lists.lists_of(recipient.recipient_id) if each.left_at is None]
    here = [each for each in memberships if each.list.list_id in list_ids]
    return Subscription(recipient, email, list_ids, here, [each for each in memberships if each not in here])


def _page(subscription: Subscription | None, *, none_selected: bool = False) -> Response:
    if subscription is None:
        return _render("removed")
    recipient = subscription.recipient
    is_done = recipient.status == "unsubscribed" or (subscription.list_ids and not subscription.here)
    return _render(
        "done" if is_done else "ask",
        address=in_bold(masked(recipient.address)),
        name=_sender_name(subscription.email),
        everything=recipient.status == "unsubscribed",
        none_selected=none_selected,
        added=_added(subscription),
        **subscription._asdict(),
    )


def _sender_name(email: Email | None) -> str:
    return (email.from_name if email else None) or current_settings().service_name


def _added(subscription: Subscription) -> Added:
    """Return why the recipient gets the email."""
    if subscription.here:
        membership = min(subscription.here, key=lambda each: each.joined_at)
        return Added(_day(membership.joined_at), _how(membership.added_by), membership.list.name)
    recipient = subscription.recipient
    return Added(_day(recipient.created_at), _how(recipient.added_by), None)


def _day(moment: datetime) -> str:
    return _translation().day(moment.astimezone(current_settings().timezone))


def _how(added_by: str | None) -> str:
    kind = (added_by or "").partition(" ")[0]
    return HOW_ADDED.get(kind, "")


def _translation() -> Translation:
    """Return the texts in the reader's language."""
    return preferred(language for language, quality in request.accept_languages if quality)


def _render(state: str, status: int = 200, **values: object) -> Response:
    root = "../" * (request.path.count("/") - 1)  # relative, because PUBLIC_URL may have a path that a proxy removes
    say = _translation()
    page = render_template("unsubscribe.html", state=state, root=root, say=say, language=say.language, **values)
    response = make_response(page, status)
    response.headers["Content-Language"] = say.language
    response.headers["Referrer-Policy"] = "no-referrer"  # anyone with the URL of the page can unsubscribe
    return response
