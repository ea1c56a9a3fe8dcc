"""What is shown beside the form: the email as a recipient sees it, how many people it reaches, and what the time means.

It is made from an unfinished form, so an invalid field is a hint here, not an error. compose.js asks for it again when
something has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from flask import Response, render_template

from database import Audience, AudienceCount, Email
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html
from intake.email_fields import clean_content, clean_subject
from intake.email_options import FORM_NAMES, with_options
from intake.errors import ValidationError
from intake.fields import InvalidFields
from intake.placeholders import placeholders
from web.pages.audience_words import left_out_words
from web.pages.compose.form import LABELS, NOW, Form, Target, clean_time_in, is_personal, options_of, sentence
from web.pages.compose.review import UNSAVED, count_audience, sender_of, shown_as
from web.pages.compose.zones import clean_zone
from web.pages.email.shown import Shown
from web.pages.filters import dated, words_of_zone
from web.sendable import require_sendable
from web.services import current_settings, in_database


class Moment(NamedTuple):
    """The time in the form. Without `due_at`, `problem` says why there is none; it is empty if nothing was typed."""

    clock: str  # the time of day in the chosen zone, now
    zone: str
    due_at: datetime | None = None
    is_past: bool = False
    elsewhere: str = ""  # the time in the service's zone, if another one was chosen
    problem: str = ""


class Live(NamedTuple):
    """What is shown beside the form.

    `shown` is None if there is nothing to show yet, or if `problem` says why it cannot be shown.
    """

    moment: Moment
    goes_now: bool
    reached: AudienceCount | None  # None: not chosen yet, for the reason in `audience_problem`
    audience_problem: str
    left_out: str
    subject: str
    sender: str
    shown: Shown | None
    problem: str
    sees_tags: bool  # whether recipients will see HTML tags
    placeholders: list[str]  # those that recipients will see as written


def live_page(form: Form, target: Target) -> Response:
    """Return the parts of the page that compose.js replaces."""
    return Response(render_template("email_new_live.html", live=live_of(form), form=form, target=target))


def live_of(form: Form) -> Live:
    """Return what is shown beside the form."""
    audience, count, audience_problem = _audience(form)
    subject, content = form.get("email_subject", ""), form.get("email_content", "")
    shown, problem = None, ""
    email = Email(UNSAVED, subject, content, datetime.now(UTC), audience=audience, personal=is_personal(form))
    if content.strip():
        shown, problem = _shown(email, form, surveys=count is not None)
    preview = shown.preview if shown else None
    as_written = placeholders(subject, preview.plain, preview.html) if preview and not email.personal else []
    return Live(
        _moment(form),
        form.get("when") == NOW,
        count,
        audience_problem,
        left_out_words(count) if count else "",
        preview.subject if preview else subject,
        sender_of(form.get("email_from_name", "")),
        shown,
        problem,
        looks_like_html(content),
        as_written if not problem else [],
    )


def _moment(form: Form) -> Moment:
    own = current_settings().timezone
    try:
        zone = clean_zone(form.get("zone", ""))
    except ValidationError as error:
        return Moment(*_now_in(own), problem=sentence(LABELS["zone"], error.message))
    typed = form.get("timestamp", "")
    if not typed:
        return Moment(*_now_in(zone))
    try:
        due_at = clean_time_in(typed, zone, form)
    except ValidationError as error:
        return Moment(*_now_in(zone), problem=sentence(LABELS["timestamp"], error.message))
    elsewhere = f"{dated(due_at.astimezone(own))} in {words_of_zone(own)}" if zone.key != own.key else ""
    return Moment(*_now_in(zone), due_at, due_at <= datetime.now(UTC), elsewhere)


def _now_in(zone: ZoneInfo) -> tuple[str, str]:
    return f"{datetime.now(zone):%H:%M}", words_of_zone(zone)


def _audience(form: Form) -> tuple[Audience, AudienceCount | None, str]:
    """Return who the form selects and how many they are, or why that is not known."""
    empty = Email(UNSAVED, "", "", datetime.now(UTC))
    try:
        options = options_of(form.get("audience", ""), form)
        email = with_options(empty, options, FORM_NAMES, current_settings().default_audience)
        return email.audience, count_audience(email), ""
    except ValidationError as error:
        problems = [error]
    except InvalidFields as error:
        problems = list(error.errors)
    return empty.audience, None, sentence(LABELS.get(problems[0].field, "The choice"), problems[0].message)


def _shown(email: Email, form: Form, *, surveys: bool) -> tuple[Shown | None, str]:
    """Return what a recipient will see. If placeholders cannot be filled in, it is the text as written, and why."""
    problem = ""
    try:
        clean_content(email.content)
        clean_subject(email.subject)
        try:
            email = require_sendable(email)
        except ValidationError as error:
            problem = sentence(LABELS.get(error.field, "The email"), error.message)
            email = email._replace(personal=False)
        return in_database(lambda database: shown_as(database, email, form, surveys=surveys)), problem
    except ValidationError as error:
        return None, sentence(LABELS.get(error.field, "The email"), error.message)
    except MessageError as error:
        return None, f"This can’t be shown: {error}."
