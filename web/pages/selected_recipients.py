"""/recipients/selected: remove, unsubscribe or reactivate the selected recipients, after a confirmation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from flask import Blueprint, flash, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from database import Database, Recipient
from intake.address import stored_address
from intake.email_fields import clean_event_id
from intake.errors import ValidationError
from monitoring.humanize import pluralize
from web.auth.browsers import safe_path
from web.errors import error_answer
from web.form import read_page_form_with_options
from web.pages.undo import UNDO_SECONDS, flash_removal
from web.services import in_database

MAX_NAMED = 10  # addresses on the confirmation page
blueprint = Blueprint("selected_recipients", __name__)


class Act(NamedTuple):
    """An action on several recipients. `verb` is on its button, `done` is in the message afterwards."""

    verb: str
    done: str
    applies_to: Callable[[Recipient], bool]
    explanation: str


ACTS = {
    "remove": Act(
        "Remove",
        "Removed",
        lambda recipient: True,
        "They will receive no more emails, and their waiting messages will be cancelled. "
        f"You can undo this for {UNDO_SECONDS} seconds.",
    ),
    "unsubscribe": Act(
        "Unsubscribe",
        "Unsubscribed",
        lambda recipient: recipient.status != "unsubscribed",
        "They will receive no more emails, and their waiting messages will be cancelled.",
    ),
    "reactivate": Act(
        "Reactivate",
        "Reactivated",
        lambda recipient: recipient.status != "active",
        "They will receive emails again. Do this only if they have agreed.",
    ),
}


@blueprint.post("/recipients/selected")
def act_on_selected() -> AnyResponse:
    """Ask, and then do what was chosen for the selected recipients. Safe to repeat."""
    form = read_page_form_with_options(request, ("next", "act", "confirmed"), ("recipient",))
    back = safe_path(form.fields.get("next") or "/recipients")
    ids = sorted({clean_event_id(text) for text in form.options.get("recipient", ())})
    act = ACTS.get(form.fields.get("act", ""))
    if act is None:
        raise ValidationError("act", f"must be one of: {', '.join(ACTS)}")
    if not ids:
        flash("Select at least one recipient.", "warning")
        return redirect(back, 303)
    selected = in_database(lambda database: list(filter(None, map(database.recipients.get, ids))))
    chosen = [recipient for recipient in selected if act.applies_to(recipient)]
    if not chosen:
        flash("This has already been done for all of them. Nothing changed.", "warning")
        return redirect(back, 303)
    if form.fields.get("confirmed") != "yes":
        page = {"chosen": chosen, "shown": chosen[:MAX_NAMED], "others": len(ids) - len(chosen)}
        return AnyResponse(
            render_template("recipients_selected.html", act=act, name=form.fields["act"], back=back, **page),
            content_type="text/html; charset=utf-8",
        )
    if form.fields["act"] == "remove":
        flash_removal([recipient.recipient_id for recipient in chosen], pluralize(len(chosen), "recipient"), back)
    else:
        change = _unsubscribe if form.fields["act"] == "unsubscribe" else _reactivate
        flash(f"{act.done} {pluralize(in_database(lambda database: change(database, chosen)), 'recipient')}.")
    return redirect(back, 303)


@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: ValidationError) -> AnyResponse:
    """Return 400 for a form that no browser would send."""
    return error_answer(400, str(error))


def _unsubscribe(database: Database, recipients: Sequence[Recipient]) -> int:
    now = datetime.now(UTC)
    return sum(database.recipients.unsubscribe(recipient.recipient_id, now) for recipient in recipients)


def _reactivate(database: Database, recipients: Sequence[Recipient]) -> int:
    return sum(database.recipients.reactivate(stored_address(recipient.address)) for recipient in recipients)
