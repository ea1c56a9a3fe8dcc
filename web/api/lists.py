"""/api/lists: create, list, show, rename, archive and delete lists."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from database import Database, List
from intake.fields import Fields, choice, invalid, text, true_or_false
from intake.list_names import clean_list_name
from web.api import serializers
from web.api.json_body import read_json
from web.api.params import DEFAULT_PAGE_SIZE, limit, page_response, query_fields
from web.problem_details import json_response, no_content
from web.services import current_settings, in_database

blueprint = Blueprint("lists", __name__)


class ListNameConverter(BaseConverter):
    """The name of a list in a path. It may contain a slash, encoded or not, but not `/members` before another slash."""

    regex = r"(?:(?!/members(?:/|\Z))[\s\S])+"
    part_isolating = False


@blueprint.get("/lists")
def list_lists() -> Response:
    """Return a page of lists, by name."""
    fields = query_fields(request, "archived", "limit", "after")
    archived = fields.take_or("archived", choice("true", "false"), None)
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", text(clean_list_name), "")
    fields.check()
    count, only = size.value, None if archived.value is None else archived.value == "true"
    rows = in_database(lambda database: database.lists.page(after.value, count + 1, only))
    cursor = rows[count - 1].name if len(rows) > count else None
    return page_response("lists", [serializers.list_(row) for row in rows[:count]], cursor)


@blueprint.post("/lists")
def add_list() -> Response:
    """Create a list without members."""
    fields = Fields(read_json(request, current_settings().max_body), ("name",))
    name = fields.take("name", text(clean_list_name))
    fields.check()
    now = datetime.now(UTC)
    return json_response(serializers.list_(in_database(lambda database: database.lists.add(name.value, now))), 201)


@blueprint.get("/lists/<list_name:name>")
def show_list(name: str) -> Response:
    """Return a list."""
    query_fields(request).check()
    clean_list_name(name)
    return json_response(serializers.list_(in_database(lambda database: database.lists.require(name))))


@blueprint.patch("/lists/<list_name:name>")
def change_list(name: str) -> Response:
    """Rename, archive or unarchive a list."""
    clean_list_name(name)
    fields = Fields(read_json(request, current_settings().max_body), ("name", "archived"))
    new_name = fields.take_or("name", text(clean_list_name), None)
    archived = fields.take_or("archived", true_or_false, None)
    fields.check()
    if new_name.value is None and archived.value is None:
        raise invalid("body", "must contain name or archived")
    changed = in_database(lambda database: _change(database, name, new_name.value, archived.value))
    return json_response(serializers.list_(changed))


@blueprint.delete("/lists/<list_name:name>")
def delete_list(name: str) -> Response:
    """Delete a list. Its members remain recipients, and emails already scheduled for it are put on hold."""
    clean_list_name(name)
    in_database(lambda database: database.lists.delete(name, datetime.now(UTC)))
    return no_content()


def _change(database: Database, name: str, new_name: str | None, archived: bool | None) -> List:
    """Rename first, because only that can fail."""
    now = datetime.now(UTC)
    if new_name is not None:
        name = database.lists.rename(name, new_name, now).name
    if archived:
        database.lists.archive(name, now)
    elif archived is not None:
        database.lists.unarchive(name)
    return database.lists.require(name)
