"""/emails/<event_id:event_id>: the status of an email, its deliveries and failures, and actions on it."""

from __future__ import annotations

from flask import Blueprint, Response

from database import NoSuchEmail
from intake.fields import InvalidFields
from web.errors import error_answer
from web.pages.email import actions, content
from web.pages.email.view import email_page, read_query

blueprint = Blueprint("email", __name__)
blueprint.register_blueprint(content.blueprint)
blueprint.register_blueprint(actions.blueprint)


@blueprint.get("/emails/<event_id:event_id>")
def show(event_id: int) -> Response:
    return email_page(read_query(event_id))


@blueprint.errorhandler(NoSuchEmail)
def answer_no_such_email(error: NoSuchEmail) -> Response:
    """Return 404."""
    return error_answer(404, str(error))


@blueprint.errorhandler(InvalidFields)
def answer_invalid(error: InvalidFields) -> Response:
    """Return 400 for a URL or form that this page did not create."""
    return error_answer(400, str(error))
