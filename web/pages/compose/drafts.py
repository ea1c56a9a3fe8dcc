"""/drafts: new emails that someone is writing. page.js saves them while they are typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from flask import Blueprint, Response, flash, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from database import Database, DraftChanged, DraftSummary, NoSuchDraft
from intake.email_fields import clean_event_id
from intake.errors import ValidationError
from intake.text import printable
from web.pages.compose.form import FORM_FIELDS, LIST_FIELDS, Form, Notice, Target, read_form
from web.pages.compose.writing import form_page
from web.pages.filters import clock
from web.problem_details import json_response
from web.services import in_database

PAGE_SIZE = 100  # rows
MAX_TITLE_LENGTH = 200  # characters
NOT_STORED = ("version", "draft_id", "draft_version", "shown_to")
CHANGED = "This draft was changed in another tab or by someone else. What you see here is not saved."
GONE = "This draft was deleted, or its email was scheduled. What you see here is not saved."
blueprint = Blueprint("drafts", __name__)


class DraftKey(NamedTuple):
    """A draft, and the version of it that a form was made from."""

    draft_id: int
    version: int


@blueprint.get("/drafts")
def show() -> Response:
    """Show a page of the drafts, newest first."""
    try:
        before = clean_event_id(request.args.get("before") or str(2**63 - 1))
    except ValidationError:
        raise BadRequest("before is not a valid cursor") from None
    drafts = in_database(lambda database: database.drafts.page(before, PAGE_SIZE + 1))
    following = f"/drafts?before={drafts[PAGE_SIZE - 1].draft_id}" if len(drafts) > PAGE_SIZE else None
    page = render_template(
        "drafts.html", drafts=drafts[:PAGE_SIZE], following=following, is_first="before" not in request.args
    )
    return Response(page)


@blueprint.post("/drafts")
def save_typed() -> Response:
    """Save the form for a script. The response is 409 if that would replace text that this form has not seen."""
    try:
        saved = store(read_form())
    except (DraftChanged, NoSuchDraft) as error:
        return json_response({"error": _reason(error), "draft_id": error.draft_id}, 409)
    key = {"draft_id": saved.draft_id, "version": saved.version}
    return json_response({**key, "saved_at": clock(saved.updated_at)})


@blueprint.post("/drafts/<int:draft_id>/delete")
def delete(draft_id: int) -> AnyResponse:
    """Delete a draft. Safe to repeat."""
    deleted = draft_id < 2**63 and in_database(lambda database: database.drafts.delete(draft_id))
    if deleted:
        flash("Deleted the draft.")
    else:
        flash("This draft was already deleted.", "warning")
    return redirect("/drafts", 303)


@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: ValidationError) -> Response:
    """Return 400 for a form that no browser would send."""
    return json_response({"error": str(error)}, 400)


def save_draft(form: Form, target: Target) -> AnyResponse:
    """Save the form as a draft, and show it."""
    try:
        saved = store(form)
    except (DraftChanged, NoSuchDraft) as error:
        is_there = isinstance(error, DraftChanged)
        path = f"/emails/new?draft={error.draft_id}" if is_there else ""
        notice = Notice("warning", _reason(error), path, "Open the saved draft", offers_draft=True)
        return form_page(target, form, notice=notice, code=409)
    flash("Draft saved.")
    return redirect(f"/emails/new?draft={saved.draft_id}", 303)


def save_as_new_draft(form: Form, target: Target) -> AnyResponse:
    """Save the form as another draft."""
    return save_draft({name: value for name, value in form.items() if not name.startswith("draft_")}, target)


def store(form: Form) -> DraftSummary:
    """Save the form in the draft that it names, or in a new one. Raises DraftChanged or NoSuchDraft."""
    fields = {
        name: value for name in (*FORM_FIELDS, *LIST_FIELDS) if name not in NOT_STORED and (value := form.get(name))
    }
    title = printable(form.get("email_subject", ""), MAX_TITLE_LENGTH)
    key, now = key_of(form), datetime.now(UTC)

    def save(database: Database) -> DraftSummary:
        if key is None:
            return database.drafts.add(title, fields, now)
        return database.drafts.save(*key, title, fields, now)

    return in_database(save)


def key_of(form: Form) -> DraftKey | None:
    """Return the draft that the form was made from, if there is one. Raises ValidationError."""
    if not form.get("draft_id"):
        return None
    return DraftKey(clean_event_id(form["draft_id"]), clean_event_id(form.get("draft_version") or "0"))


def open_draft(draft_id: int) -> AnyResponse:
    """Show the form, filled in from a draft."""
    draft = in_database(lambda database: database.drafts.get(draft_id))
    if draft is None:
        flash("This draft was deleted, or its email was scheduled.", "warning")
        return redirect("/drafts", 303)
    key = {"draft_id": str(draft.draft_id), "draft_version": str(draft.version)}
    return form_page(Target(), draft.fields | key, saved_at=draft.updated_at)


def _reason(error: DraftChanged | NoSuchDraft) -> str:
    return CHANGED if isinstance(error, DraftChanged) else GONE
