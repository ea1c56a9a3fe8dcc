"""What each button of the form does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flask import flash, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

import operations
from database import (
    Database,
    Email,
    EmailChanged,
    EmailSummary,
    EventIdUsed,
    NotReplaceable,
    ReplaceResult,
    SaveResult,
    UnusableList,
)
from intake.address import clean_typed_address
from intake.email_options import FORM_NAMES, invalid_list
from intake.errors import ValidationError
from intake.fields import InvalidFields, invalid
from operations import get_email, get_summary
from web.auth.access import limits
from web.pages.compose.drafts import key_of, save_as_new_draft, save_draft
from web.pages.compose.form import (
    AS_WRITTEN,
    LABELS,
    Form,
    Notice,
    Target,
    clean,
    free_number,
    is_sent_now,
    read_form,
    sentence,
)
from web.pages.compose.live import live_page
from web.pages.compose.review import frame_page, review_page, try_email
from web.pages.compose.templates import save_template
from web.pages.compose.writing import form_page
from web.pages.email.view import not_started
from web.pages.email.wording import in_mode
from web.pages.filters import format_datetime
from web.pages.undo import undo_deadline
from web.services import current_services, current_settings, in_database, perform

STARTED = {  # with and without a mail server
    "sending": ("is already being sent", "is already being saved in the outbox"),
    "sent": ("has already been sent", "is already in the outbox"),
    "held": ("has already been sent to some people", "is already partly in the outbox"),
    "cancelled": ("has been cancelled",) * 2,
}


def run(target: Target) -> AnyResponse:
    """Run the step of the submitted form. If a field is invalid, show the form again with an error at each field."""
    form = read_form()
    try:
        return STEPS.get(form.get("step", ""), check)(form, target)
    except InvalidFields as error:
        return form_page(target, form, error)


def change(form: Form, target: Target) -> AnyResponse:
    """Show the form again, as it was filled in."""
    return form_page(target, form)


def show_html(form: Form, target: Target) -> AnyResponse:
    """Return the content as HTML, for the frame."""
    return frame_page(form)


def show_live(form: Form, target: Target) -> AnyResponse:
    """Return what compose.js shows beside the form."""
    return live_page(form, target)


def check(form: Form, target: Target) -> AnyResponse:
    """Show the preview. If the email ID is in use, report it, or replace it if it was generated."""
    email = clean(form, target)
    if target.event_id is not None:
        return _conflict(form, target.event_id) or review_page(target, email, form)
    match _compare(email, form):
        case SaveResult.IDENTICAL:
            return _saved_before(email, form)
        case SaveResult.DIFFERENT if form.get("event_id"):
            raise invalid("event_id", "is in use; leave it empty to generate one")
        case SaveResult.DIFFERENT:
            email = email._replace(event_id=free_number())
    return review_page(target, email, form)


def check_as_written(form: Form, target: Target) -> AnyResponse:
    """Show the preview of the email with its braces as written."""
    return check({**form, "email_personal": AS_WRITTEN}, target)


def save(form: Form, target: Target) -> AnyResponse:
    """Save the email. Safe to repeat. What is sent now is due in ten seconds, so that it can be undone."""
    email = clean(form, target)
    goes_now = is_sent_now(email, form)
    if goes_now:
        email = email._replace(due_at=undo_deadline())
    try:
        if target.event_id is not None:
            return _replaced(email, form, goes_now)
        _save_new(email, form)
    except EventIdUsed:
        return _saved_before(email, form) if _compare(email, form) is SaveResult.IDENTICAL else check(form, target)
    except UnusableList as error:
        raise InvalidFields([invalid_list(email, error, FORM_NAMES)]) from error
    if goes_now:
        return _to_email(email, "?undo=now")
    flash(Markup("Scheduled for {}.").format(format_datetime(email.due_at)))
    return _to_email(email)


def send_test(form: Form, target: Target) -> AnyResponse:
    """Send the email to one address now, and show the result."""
    email = clean(form, target)
    try:
        single_label = current_settings().single_label_domains
        address = clean_typed_address(form.get("address", ""), single_label=single_label)
    except ValidationError as error:
        return review_page(target, email, form, address_error=sentence(LABELS["address"], error.message))
    wait = limits().seconds_until_trial(request.remote_addr or "")
    if wait:
        return review_page(target, email, form, address_error=f"Too many tests. Try again in {wait} s.")
    return review_page(target, email, form, notice=try_email(email, form, address.text))


def _save_new(email: Email, form: Form) -> None:
    """Save a new email, and delete its draft in the same transaction."""
    key = key_of(form)
    if key is None:
        current_services().save_email(email)
    elif not perform(operations.save_from_draft, email, datetime.now(UTC), *key):
        left = in_database(lambda database: database.drafts.get(key.draft_id))
        if left is not None:
            flash("The draft was kept, because it was changed in another tab or by someone else.", "warning")


STEPS: dict[str, Callable[[Form, Target], AnyResponse]] = {
    "as_written": check_as_written,
    "change": change,
    "draft": save_draft,
    "html": show_html,
    "live": show_live,
    "new_draft": save_as_new_draft,
    "schedule": save,
    "template": save_template,
    "test": send_test,
}


def _compare(email: Email, form: Form) -> SaveResult | None:
    """Compare the email with the saved one. If it is sent now, each step has another time, which does not count."""
    if not is_sent_now(email, form):
        return in_database(lambda database: database.emails.compare(email))
    saved = in_database(lambda database: database.emails.get(email.event_id))
    if saved is None:
        return None
    is_same = saved._replace(due_at=email.due_at).version == email.version
    return SaveResult.IDENTICAL if is_same else SaveResult.DIFFERENT


def _replaced(email: Email, form: Form, goes_now: bool) -> AnyResponse:
    """Save the email in place of the saved one, unless that has been changed or started since the form was opened."""
    try:
        result = perform(operations.replace_email, email, datetime.now(UTC), form.get("version", ""))
    except (NotReplaceable, EmailChanged):
        if _compare(email, form) is SaveResult.IDENTICAL:
            return _to_email(email)  # the same form was submitted twice
        target = Target(email.event_id)
        return _conflict(form, email.event_id) or review_page(target, email, form)
    if goes_now:
        return _to_email(email, "?undo=now")
    if result is ReplaceResult.UNCHANGED:
        flash("Nothing changed.")
    else:
        flash(Markup("Saved. It will be sent {}.").format(format_datetime(email.due_at)))
    return _to_email(email)


def _conflict(form: Form, event_id: int) -> AnyResponse | None:
    """Show the form with what was written, if the saved email has been started, or changed since it was opened."""

    def saved(database: Database) -> tuple[Email, EmailSummary]:
        return get_email(database, event_id), get_summary(database, event_id)

    email, summary = in_database(saved)
    path = f"/emails/{event_id}"
    if not not_started(summary):
        text = f"Your changes were not saved, because this email {in_mode(*STARTED[summary.status])}."
        return form_page(Target(event_id), form, notice=Notice("error", text, path, offers_new=True), code=409)
    if email.version != form.get("version"):
        text = "Your changes are not saved yet. Someone else has changed this email since you opened it. "
        notice = Notice("warning", f"{text}If you continue, your version replaces theirs.", path)
        return form_page(Target(event_id), {**form, "version": email.version}, notice=notice, code=409)
    return None


def _saved_before(email: Email, form: Form) -> AnyResponse:
    key = key_of(form)
    if key is not None:
        in_database(lambda database: database.drafts.delete(*key))
    flash("This email is already scheduled. Nothing changed.")
    return _to_email(email)


def _to_email(email: Email, query: str = "") -> AnyResponse:
    return redirect(f"/emails/{email.event_id}{query}", 303)
