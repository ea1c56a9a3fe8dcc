"""/api/lists/…/members: the members of a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response, request

from database import Address
from intake.address import clean_address, distinct
from intake.fields import Fields, number, text
from intake.list_names import clean_list_name
from web.api import serializers
from web.api.error_handlers import NotThere
from web.api.json_body import read_json
from web.api.params import DEFAULT_PAGE_SIZE, limit, page_response, query_fields
from web.api.recipients import find_address
from web.problem_details import json_response, no_content
from web.services import current_settings, in_database

MAX_MEMBERS = 50_000  # in one request
ADDED_BY = "program"
blueprint = Blueprint("list_members", __name__)


@blueprint.get("/lists/<list_name:name>/members")
def list_members(name: str) -> Response:
    """Return a page of the members of a list, and of those who left it."""
    clean_list_name(name)
    fields = query_fields(request, "limit", "after")
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", number, 0)
    fields.check()
    count = size.value
    rows = in_database(lambda database: database.lists.members(name, after.value, count + 1))
    cursor = rows[count - 1].recipient.recipient_id if len(rows) > count else None
    return page_response("members", [serializers.member(row) for row in rows[:count]], cursor)


@blueprint.post("/lists/<list_name:name>/members")
def add_members(name: str) -> Response:
    """Add addresses to a list, or none if one is invalid. Those who left the list are not added."""
    clean_list_name(name)
    addresses = _addresses(at_least=1)
    now = datetime.now(UTC)
    added = in_database(lambda database: database.lists.add_members(name, addresses, now, ADDED_BY))
    counts = {"added": added.added, "known": added.existing, "left": added.left, "created": added.created}
    return json_response(counts)


@blueprint.put("/lists/<list_name:name>/members")
def replace_members(name: str) -> Response:
    """Make these addresses the members of a list, in one transaction. Those who left the list are not added."""
    clean_list_name(name)
    addresses = _addresses(at_least=0)
    now = datetime.now(UTC)
    return json_response(
        in_database(lambda database: database.lists.replace_members(name, addresses, now, ADDED_BY))._asdict()
    )


@blueprint.delete("/lists/<list_name:name>/members/<recipient:recipient>")
def remove_member(name: str, recipient: str) -> Response:
    """Remove a member from a list. They stay a recipient, and can be added again."""
    clean_list_name(name)
    address = in_database(lambda database: find_address(database, recipient))
    now = datetime.now(UTC)
    if not in_database(lambda database: database.lists.remove_member(name, address, now)):
        raise NotThere(f"{address.text} is not a member of this list")
    return no_content()


def _addresses(at_least: int) -> Sequence[Address]:
    """Return the addresses in the body, each once. Raises InvalidFields."""
    fields = Fields(read_json(request, current_settings().max_body), ("addresses",))
    clean = partial(clean_address, single_label=current_settings().single_label_domains)
    given = fields.take_each("addresses", text(clean), MAX_MEMBERS, None, at_least)
    fields.check()
    return distinct(given.value)
