"""Check that an email can be sent before it is saved, so that every saved email can be built and shown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches

from database import Database, Email
from delivery.errors import MessageError
from delivery.message.mime import check_content
from delivery.message.personal import PersonalTexts, parse_content
from delivery.message.placeholders import Placeholder, PlaceholderError, Template, parse_text
from intake.errors import ValidationError
from web.services import in_database

MAX_NAMES_SHOWN = 10  # in an error; if there are more, those that are most like the unknown one


def require_sendable(email: Email) -> Email:
    """Return an email whose fields are clean. Raises ValidationError if no message can be built from it.

    Only the content can fail here, or the placeholders of an email with personal fields: the subject has been checked
    for everything that a header rejects, and the rest of a message comes from the settings. Plain text needs no
    rendering, so it costs a POST almost nothing.
    """
    try:
        check_content(email.content)
    except MessageError as error:
        raise ValidationError("email_content", f"cannot be sent: {error}") from error
    if email.personal:
        check_personal(email.subject, email.content, in_database(_known_names))
    return email


def check_personal(subject: str, content: str, known_names: Collection[str]) -> PersonalTexts:
    """Return the templates of an email with personal fields.

    Raises ValidationError for a broken placeholder, or for a name that no recipient has ever had a value for. It says
    where that is.
    """
    return PersonalTexts(
        _checked("email_subject", subject, parse_text, known_names),
        _checked("email_content", content, parse_content, known_names),
    )


def _checked(field: str, text: str, parse: Callable[[str], Template], known_names: Collection[str]) -> Template:
    try:
        template = parse(text)
    except PlaceholderError as error:
        raise ValidationError(
            field, f"has an error on line {error.line}, column {error.column}: {error.reason}"
        ) from error
    for placeholder in template.placeholders:
        if placeholder.name not in known_names:
            raise ValidationError(field, _unknown(placeholder, known_names))
    return template


def _unknown(placeholder: Placeholder, known_names: Collection[str]) -> str:
    where = f"line {placeholder.line}, column {placeholder.column}"
    names = sorted(known_names)
    if not names:
        return f"has {{{{ {placeholder.name} }}}} on {where}, but no recipient has personal fields"
    if len(names) > MAX_NAMES_SHOWN:
        closest = get_close_matches(placeholder.name, names, MAX_NAMES_SHOWN, 0.5) or names[:MAX_NAMES_SHOWN]
        rest = f"{', '.join(closest)} and {len(names) - len(closest):,} more"
    else:
        rest = ", ".join(names)
    return f"has an unknown placeholder, {{{{ {placeholder.name} }}}}, on {where}; known names: {rest}"


def _known_names(database: Database) -> list[str]:
    return database.personal_fields.names()
