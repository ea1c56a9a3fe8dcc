"""/emails/<event_id>: what becomes of one email: who got it, who did not and why, and what a person does about it."""

from __future__ import annotations

from flask import Blueprint, Response

from database import NoSuchEmail
from intake.fields import InvalidFields
from web.errors import error_answer
from web.pages import email_acts, email_content
from web.pages.email_shown import email_page, wanted

blueprint = Blueprint("email", __name__)
blueprint.register_blueprint(email_content.blueprint)
blueprint.register_blueprint(email_acts.blueprint)


@blueprint.get("/emails/<event_id>")
def show(event_id: str) -> Response:
    """The page."""
    return email_page(wanted(event_id))


@blueprint.errorhandler(NoSuchEmail)
def answer_no_such_email(error: NoSuchEmail) -> Response:
    """There is no such email."""
    return error_answer(404, str(error))


@blueprint.errorhandler(InvalidFields)
def answer_invalid(error: InvalidFields) -> Response:
    """The address, or the form, was not made by this page."""
    return error_answer(400, str(error))
