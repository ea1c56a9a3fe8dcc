"""Recipients by name, in lists."""

from __future__ import annotations

from datetime import timedelta

from database import Address, Database
from tests.support.deliveries import NOON

LATER = NOON + timedelta(minutes=1)


def people(*names: str) -> tuple[Address, ...]:
    return tuple(Address(f"{name}@example.com", f"{name.lower()}@example.com") for name in names)


def recipient_id(database: Database, name: str) -> int:
    found = database.recipients.find(people(name)[0])
    assert found is not None
    return found.recipient_id


def leave(database: Database, name: str, *lists: str) -> int:
    """Let a recipient leave these lists, a minute after NOON."""
    found = [database.lists.require(each).list_id for each in lists]
    return database.lists.leave(recipient_id(database, name), found, LATER)
