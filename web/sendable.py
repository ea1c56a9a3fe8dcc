"""Whether an email can be sent, asked before it is saved: what is accepted can be built, shown and sent."""

from __future__ import annotations

from database import Email
from delivery.errors import MessageError
from delivery.message.mime import check_content
from intake.errors import ValidationError


def require_sendable(email: Email) -> Email:
    """Return an email whose fields are clean. Raises ValidationError if no message can be built from it.

    Of a message, only the content can fail that late: the subject was checked for everything that a header refuses, and
    the rest comes from the settings. So plain text, which needs no rendering, costs a POST next to nothing.
    """
    try:
        check_content(email.content)
    except MessageError as error:
        raise ValidationError("email_content", f"cannot be sent: {error}") from error
    return email
