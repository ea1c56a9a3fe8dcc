"""The event_id in the URL of a page."""

from __future__ import annotations

from werkzeug.routing import BaseConverter, ValidationError

from intake.email_fields import clean_event_id
from intake.errors import ValidationError as InvalidField


class EventIdConverter(BaseConverter):
    """A 64-bit integer. With anything else, a path is wrong, and so 404 before anything else is checked."""

    regex = "[+-]?[0-9]{1,40}"

    def to_python(self, value: str) -> int:
        """Raises ValidationError."""
        try:
            return clean_event_id(value)
        except InvalidField:
            raise ValidationError from None
