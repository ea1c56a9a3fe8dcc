"""Exceptions of the API routes → problem documents."""

from __future__ import annotations

from flask import Blueprint, Response

from database import NoActiveRecipients, NoSuchEmail, NoSuchRecipient, NotInDoubt, WrongStatus
from intake.errors import ValidationError
from intake.fields import InvalidFields
from web.problem_details import CONFLICT, INVALID, NOT_FOUND, problem


class NotThere(Exception):
    """There is no such thing; the text says which."""


def register(blueprint: Blueprint) -> None:
    """Answer what the routes of `blueprint` raise."""
    blueprint.register_error_handler(InvalidFields, answer_invalid)
    blueprint.register_error_handler(ValidationError, lambda error: answer_invalid(InvalidFields([error])))
    blueprint.register_error_handler(NotThere, answer_not_found)
    blueprint.register_error_handler(NoSuchEmail, answer_not_found)
    blueprint.register_error_handler(NoSuchRecipient, answer_not_found)
    blueprint.register_error_handler(WrongStatus, answer_wrong_status)
    blueprint.register_error_handler(NotInDoubt, answer_not_in_doubt)
    blueprint.register_error_handler(NoActiveRecipients, answer_conflict)


def answer_invalid(error: InvalidFields) -> Response:
    """400: nothing was changed, and each wrong field is named."""
    return problem(400, str(error), INVALID, "The request is not valid", errors=error.as_json())


def answer_not_found(error: Exception) -> Response:
    """There is no such email, delivery or recipient."""
    return problem(404, str(error), NOT_FOUND, "There is no such thing")


def answer_conflict(error: Exception, **more: object) -> Response:
    """Nothing was changed: it cannot be done now."""
    return problem(409, str(error), CONFLICT, "It cannot be done in this state", **more)


def answer_wrong_status(error: WrongStatus) -> Response:
    """The email's status does not allow it."""
    return answer_conflict(error, email_status=error.status)


def answer_not_in_doubt(error: NotInDoubt) -> Response:
    """The delivery is not there, or not unknown."""
    if error.status is None:
        return answer_not_found(error)
    return answer_conflict(error, delivery_status=error.status)
