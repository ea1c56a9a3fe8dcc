"""Turn exceptions of the API routes into problem documents."""

from __future__ import annotations

from flask import Blueprint, Response

from database import ListExists, NoActiveRecipients, NoSuchEmail, NoSuchList, NoSuchRecipient, NotInDoubt, WrongStatus
from intake.errors import ValidationError
from intake.fields import InvalidFields
from web.problem_details import CONFLICT, INVALID, NOT_FOUND, problem


class NotThere(Exception):
    """The object does not exist. The message says which."""


def register(blueprint: Blueprint) -> None:
    """Handle the exceptions of the routes of `blueprint`."""
    blueprint.register_error_handler(InvalidFields, answer_invalid)
    blueprint.register_error_handler(ValidationError, lambda error: answer_invalid(InvalidFields([error])))
    blueprint.register_error_handler(NotThere, answer_not_found)
    blueprint.register_error_handler(NoSuchEmail, answer_not_found)
    blueprint.register_error_handler(NoSuchRecipient, answer_not_found)
    blueprint.register_error_handler(NoSuchList, answer_not_found)
    blueprint.register_error_handler(ListExists, answer_conflict)
    blueprint.register_error_handler(WrongStatus, answer_wrong_status)
    blueprint.register_error_handler(NotInDoubt, answer_not_in_doubt)
    blueprint.register_error_handler(NoActiveRecipients, answer_conflict)


def answer_invalid(error: InvalidFields) -> Response:
    """Return 400 with a list of the invalid fields. Nothing was changed."""
    return problem(400, str(error), INVALID, "Invalid request", errors=error.as_json())


def answer_not_found(error: Exception) -> Response:
    """Return 404 for an email, delivery, recipient or list that does not exist."""
    return problem(404, str(error), NOT_FOUND, "Not found")


def answer_conflict(error: Exception, **more: object) -> Response:
    """Return 409. Nothing was changed."""
    return problem(409, str(error), CONFLICT, "Not possible in the current state", **more)


def answer_wrong_status(error: WrongStatus) -> Response:
    """Return 409 with the email's status."""
    return answer_conflict(error, email_status=error.status)


def answer_not_in_doubt(error: NotInDoubt) -> Response:
    """Return 404 if the delivery does not exist, or 409 if its status is not `unknown`."""
    if error.status is None:
        return answer_not_found(error)
    return answer_conflict(error, delivery_status=error.status)
