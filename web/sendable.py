"""Check that an email can be sent before it is saved, so that every saved email can be built and shown."""

from __future__ import annotations

from database import Email
from delivery.errors import MessageError
from delivery.message.mime import check_content
from intake.errors import ValidationError


def require_sendable(email: Email) -> Email:
    """Return an email whose fields are clean. Raises ValidationError if no message can be built from it.

    Only the content can fail here: the subject has been checked for everything that a header rejects, and the rest of a
    message comes from the settings. Plain text needs no rendering, so it costs a POST almost nothing.
    """
    try:
        check_content(email.content)
    except MessageError as error:
        raise ValidationError("email_content", f"cannot be sent: {error}") from error
    return email
