"""POST /send-emails: save an email from form fields, durably before the response."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.globals import request_ctx

from database import EventIdUsed, UnusableList
from intake.email_fields import FIELDS, clean_email
from intake.email_options import FORM_NAMES, REQUIRED, form_options, invalid_list, with_options
from intake.errors import BadEventId, BadTimestamp, MissingFields, ValidationError
from web.errors import plain_text
from web.form import read_form
from web.sendable import require_sendable
from web.services import current_services

blueprint = Blueprint("send_emails", __name__)


@blueprint.post("/send-emails")
def send_emails() -> Response:
    """Save the email in this form."""
    services = current_services()
    settings = services.settings
    form = read_form(request_ctx.request, FIELDS, settings.max_body, FORM_NAMES)
    email = clean_email(form.fields, settings.timezone)
    if form.options or settings.default_audience == REQUIRED:
        options = form_options(form.options, single_label=settings.single_label_domains)
        email = with_options(email, options, FORM_NAMES, settings.default_audience)
    try:
        services.save_email(require_sendable(email))
    except UnusableList as error:
        raise invalid_list(email, error, FORM_NAMES) from error
    return plain_text("Successful")


@blueprint.errorhandler(ValidationError)
def answer_invalid(error: ValidationError) -> Response:
    """Return 400. Nothing was saved."""
    if isinstance(error, MissingFields | BadEventId | BadTimestamp):
        return plain_text(str(error), 400)
    return plain_text(f"Error: {error}", 400)


@blueprint.errorhandler(EventIdUsed)
def answer_used(error: EventIdUsed) -> Response:
    """Return 400 with `UNIQUE constraint`, and whether the saved email is identical or different."""
    return plain_text(f"Error: {error}", 400)
