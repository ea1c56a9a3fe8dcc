"""/api/recipients: list, add, show, remove and reactivate recipients."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from database import RECIPIENT_STATUSES, Address, Database, Recipient
from intake.address import clean_address, distinct, fold, stored_address
from intake.email_fields import UNSTORABLE, UNSTORABLE_MESSAGE
from intake.errors import ValidationError
from intake.fields import choice, number, recipient_number, text
from web.api import serializers
from web.api.error_handlers import NotThere
from web.api.json_body import read_json
from web.api.params import DEFAULT_PAGE_SIZE, answer_format, cursor_of, email_cursor, limit, page_response, query_fields
from web.api.recipient_entries import names_lists, read_entries
from web.api.recipients_csv import export
from web.errors import RECIPIENT_NOT_FOUND
from web.problem_details import json_response, no_content
from web.services import current_settings, in_database

ADDED_BY = "program"
blueprint = Blueprint("recipients", __name__)


@blueprint.get("/recipients")
def list_recipients() -> Response:
    """Return a page of recipients, or all of them as CSV."""
    fields = query_fields(request, "status", "address_begins", "address_contains", "limit", "after", "format")
    status = fields.take_or("status", choice(*RECIPIENT_STATUSES), None)
    begins = fields.take_or("address_begins", text(partial(_folded, "address_begins")), None)
    contains = fields.take_or("address_contains", text(partial(_folded, "address_contains")), None)
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", number, 0)
    wanted = answer_format(fields)
    fields.check()
    filters = {"status": status.value, "address_begins": begins.value, "address_contains": contains.value}
    if wanted.value == "csv":
        return export(after.value, **filters)
    count = size.value
    rows = in_database(lambda database: database.recipients.page(after.value, count + 1, **filters))
    cursor = rows[count - 1].recipient_id if len(rows) > count else None
    return page_response("recipients", in_database(lambda database: _documents(database, rows[:count])), cursor)


@blueprint.post("/recipients")
def add_recipients() -> Response:
    """Add or update recipients, or none if one is invalid. Unsubscribed and rejected recipients keep their status."""
    settings = current_settings()
    body = read_json(request, settings.max_body)
    lists = in_database(lambda database: database.lists.ids()) if names_lists(body) else {}
    entries = read_entries(body, lists, single_label=settings.single_label_domains)
    now = datetime.now(UTC)
    added = in_database(
        lambda database: database.recipients.add(entries.addresses, now, ADDED_BY, field_names=entries.field_names)
    )
    addresses = distinct(entries.addresses)
    recipients = in_database(lambda database: _documents(database, map(database.recipients.find, addresses)))
    counts = {"added": added.added, "known": added.existing}
    if entries.are_objects:
        counts |= {"joined": added.joined, "left": added.left}
    return json_response({**counts, "recipients": recipients})


@blueprint.get("/recipients/<recipient:recipient>")
def show_recipient(recipient: str) -> Response:
    """Return a recipient by recipient_id or address."""
    query_fields(request).check()
    return json_response(in_database(lambda database: _document(database, recipient)))


@blueprint.get("/recipients/<recipient:recipient>/deliveries")
def list_history(recipient: str) -> Response:
    """Return a page of a recipient's deliveries, latest email first."""
    fields = query_fields(request, "limit", "after")
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", email_cursor, None)
    fields.check()
    page = in_database(
        lambda database: database.recipients.deliveries(
            find_recipient(database, recipient).recipient_id, after.value, size.value
        )
    )
    cursor = cursor_of(*page.next_after) if page.next_after else None
    return page_response("deliveries", [serializers.history(row) for row in page.rows], cursor)


@blueprint.delete("/recipients/<recipient:recipient>")
def remove_recipient(recipient: str) -> Response:
    """Remove a recipient and cancel its waiting deliveries. An unsubscribe is remembered."""
    now = datetime.now(UTC)
    in_database(lambda database: database.recipients.remove([_address(find_recipient(database, recipient))], now))
    return no_content()


@blueprint.post("/recipients/<recipient:recipient>/reactivate")
def reactivate_recipient(recipient: str) -> Response:
    """Reactivate a recipient who has unsubscribed or was rejected."""
    address = in_database(lambda database: _address(find_recipient(database, recipient)))
    in_database(lambda database: database.recipients.reactivate(address))
    return json_response(in_database(lambda database: _document(database, recipient)))


def _document(database: Database, recipient: str) -> serializers.Document:
    return _documents(database, [find_recipient(database, recipient)])[0]


def _documents(database: Database, recipients: Iterable[Recipient | None]) -> list[serializers.Document]:
    """Return the documents of those recipients that are not None."""
    found = [each for each in recipients if each is not None]
    lists = database.lists.names_of([each.recipient_id for each in found])
    return [serializers.recipient(each, lists.get(each.recipient_id, ())) for each in found]


def find_address(database: Database, recipient: str) -> Address:
    """Return the address of the recipient in a path. Raises NotThere or ValidationError."""
    return _address(find_recipient(database, recipient))


def _folded(name: str, part: str) -> str:
    """Return a part of an address in the form used for comparison. Raises ValidationError."""
    if UNSTORABLE.search(part):
        raise ValidationError(name, UNSTORABLE_MESSAGE)
    return fold(part)


class RecipientConverter(BaseConverter):
    """A recipient_id or an address in a path. A local part may contain a slash, encoded or not; a domain cannot."""

    regex = r"[0-9]+|[\s\S]*@[^/]*"
    part_isolating = False


def find_recipient(database: Database, recipient: str) -> Recipient:
    """Return a recipient, given their recipient_id or address. Raises NotThere, or ValidationError."""
    if "@" in recipient:
        result = _find_address(database, recipient)
    else:
        result = database.recipients.get(recipient_number(recipient))
    if result is None:
        raise NotThere(RECIPIENT_NOT_FOUND)
    return result


def _find_address(database: Database, address: str) -> Recipient | None:
    """Find a recipient by address, even if today's rules would refuse the address. Raises ValidationError."""
    try:
        return database.recipients.find(clean_address(address, single_label=True))
    except ValidationError:
        if UNSTORABLE.search(address) or not (saved := database.recipients.find(stored_address(address))):
            raise
        return saved


def _address(recipient: Recipient) -> Address:
    return stored_address(recipient.address)
