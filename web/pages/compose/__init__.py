"""/emails/new and /emails/<event_id>/edit: write an email, preview it, send a test, and save it.

All steps POST the same form to the same URL. The email is stored by the last step: each page contains all fields.
`form` has the fields, `writing` the page with them, `live` what stands beside them, `review` the last page before an
email is saved, with the test, and `steps` what each button does. A new email can be saved as a
draft (`drafts`), and its text as a template (`templates`).
"""

from __future__ import annotations

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from database import Email, EmailSummary, NoSuchEmail
from delivery.message.message import MessageError
from intake.email_fields import clean_event_id
from intake.errors import ValidationError
from operations import get_email, get_summary
from web.errors import CONTENT_PRUNED, error_answer
from web.pages.compose import drafts, steps, templates
from web.pages.compose.form import NOW, Target, fields_of, text_fields_of
from web.pages.compose.writing import form_page
from web.pages.email.view import not_started
from web.pages.email.wording import status_words
from web.services import in_database

blueprint = Blueprint("compose", __name__)
blueprint.register_blueprint(drafts.blueprint)
blueprint.register_blueprint(templates.blueprint)


@blueprint.get("/emails/new")
def show_new() -> AnyResponse:
    """Show an empty form, one for the list in the query, or one filled in from the email that the query names."""
    if "again" in request.args:
        return _filled(request.args["again"], {"when": NOW})
    if request.args.get("draft"):
        return drafts.open_draft(clean_event_id(request.args["draft"]))
    if request.args.get("template"):
        return templates.open_template(clean_event_id(request.args["template"]))
    if "copy" in request.args:
        return _filled(request.args["copy"], {})
    chosen = request.args.get("list", "")
    return form_page(Target(), {"audience": "lists", "email_list": chosen} if chosen else {})


@blueprint.post("/emails/new")
def take_new() -> AnyResponse:
    """Run the requested step. If a field is invalid, show the form again with an error at each field."""
    return steps.run(Target())


@blueprint.get("/emails/<event_id:event_id>/edit")
def show_edit(event_id: int) -> AnyResponse:
    """Show the form with everything that a scheduled email contains."""
    email, summary = _saved(event_id)
    if not not_started(summary):
        flash(f"This email can’t be edited any more: it is {status_words(summary)}.", "warning")
        return redirect(url_for("pages.email.show", event_id=event_id), 303)
    return form_page(Target(event_id), fields_of(email))


@blueprint.post("/emails/<event_id:event_id>/edit")
def take_edit(event_id: int) -> AnyResponse:
    """Run the requested step for an email that is saved already."""
    return steps.run(Target(event_id))


@blueprint.errorhandler(NoSuchEmail)
def answer_no_such_email(error: NoSuchEmail) -> Response:
    """Return 404."""
    return error_answer(404, str(error))


@blueprint.errorhandler(MessageError)
@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: MessageError | ValidationError) -> Response:
    """Return 400 for a form that no browser would send, or for HTML that cannot be sent."""
    return error_answer(400, str(error))


def _filled(event_id: str, more: dict[str, str]) -> AnyResponse:
    """Show the form for a new email, filled in from a saved one."""
    email, _ = _saved(clean_event_id(event_id))
    if email.content_digest is not None:
        return error_answer(410, CONTENT_PRUNED)
    return form_page(Target(), text_fields_of(email) | more)


def _saved(event_id: int) -> tuple[Email, EmailSummary]:
    return in_database(lambda database: (get_email(database, event_id), get_summary(database, event_id)))
