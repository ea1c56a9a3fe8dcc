"""The page with the form, filled in, and with an error at each field that is invalid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from flask import Response, make_response, render_template

from database import List, name_key
from intake.email_fields import clean_local_time
from intake.errors import RepeatedTime, ValidationError
from intake.fields import InvalidFields
from web.pages.compose.form import (
    AS_WRITTEN,
    LABELS,
    LIST_FIELDS,
    Form,
    Notice,
    Target,
    free_number,
    is_personal,
    names_in,
    sentence,
)
from web.pages.compose.live import live_of
from web.pages.compose.zones import choices, clean_zone
from web.pages.filters import day, offset
from web.pages.undo import UNDO_SECONDS
from web.services import current_settings, in_database

MAX_SHOWN_LISTS = 1_000
MAX_COUNTED_DRAFTS = 100


def form_page(
    target: Target,
    form: Form,
    error: InvalidFields | None = None,
    *,
    notice: Notice | None = None,
    saved_at: datetime | None = None,
    code: int = 200,
) -> Response:
    """Return the page with the form, filled in. `saved_at` is when its draft was saved, if it shows just that."""
    errors = {each.field: sentence(LABELS[each.field], each.message) for each in (error.errors if error else ())}
    lists = in_database(lambda database: database.lists.page(limit=MAX_SHOWN_LISTS, archived=False))
    selected = {name: {name_key(each): each for each in names_in(form, name)} for name in LIST_FIELDS}
    date, _, time = form.get("timestamp", "").replace(" ", "T").partition("T")
    page = render_template(
        "email_new.html",
        target=target,
        form={"proposed": free_number(), **form},
        date=date,
        time=time,
        zones=choices(),
        chosen_zone=form.get("zone") or current_settings().timezone.key,
        errors=errors,
        notice=notice,
        saved_at=saved_at,
        drafts=in_database(lambda database: database.drafts.count(MAX_COUNTED_DRAFTS)),
        readings=_readings(form),
        recipients=in_database(lambda database: database.recipients.counts())["active"],
        as_written=AS_WRITTEN,
        has_braces=is_personal({**form, "email_personal": ""}),
        lists=lists,
        selected=selected,
        missing={name: _missing(selected[name], lists) for name in LIST_FIELDS},
        name_key=name_key,
        undo_seconds=UNDO_SECONDS,
        live=live_of(form),
    )
    return make_response(page, 400 if errors else code)


def _missing(selected: Mapping[str, str], lists: list[List]) -> list[str]:
    """Return the names of selected lists that the form would not offer: they are archived or deleted."""
    offered = {name_key(each.name) for each in lists}
    return [name for key, name in selected.items() if key not in offered]


def _readings(form: Form) -> dict[str, str]:
    """Return the two meanings of a local time that occurs twice, by their offsets."""
    try:
        zone = clean_zone(form.get("zone", ""))
        clean_local_time(form.get("timestamp", ""), zone)
    except RepeatedTime as error:
        both = [instant.astimezone(zone) for instant in error.readings]
        return {offset(local): f"{day(local)} {local:%H:%M} {offset(local)}" for local in both}
    except ValidationError:
        pass
    return {}
