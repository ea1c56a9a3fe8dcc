"""The addresses of mail servers that did not answer."""

from __future__ import annotations

from database import Database
from storage.senders.unreachable_addresses import MAX_ADDRESSES, MEMORY_SECONDS

NOW = 1_800_000_000


def test_an_address_is_remembered_for_a_day(database: Database) -> None:
    assert database.unreachable_addresses.all(NOW) == {}
    database.unreachable_addresses.add(["[192.0.2.1]:25"], NOW)
    database.unreachable_addresses.add(["[2001:db8::1]:25"], NOW + 60)
    assert set(database.unreachable_addresses.all(NOW + 60)) == {"[192.0.2.1]:25", "[2001:db8::1]:25"}
    assert set(database.unreachable_addresses.all(NOW + MEMORY_SECONDS)) == {"[2001:db8::1]:25"}
    assert database.unreachable_addresses.all(NOW + MEMORY_SECONDS + 60) == {}


def test_the_memory_is_bounded_and_a_damaged_one_is_empty(database: Database) -> None:
    database.unreachable_addresses.add([f"[192.0.2.1]:{port}" for port in range(1000)], NOW)
    assert len(database.unreachable_addresses.all(NOW)) == MAX_ADDRESSES
    for damaged in ("", "[]", "{", '{"a": "b"}', "null"):
        database.connection.execute(
            "UPDATE meta SET value = :value WHERE name = 'unreachable_addresses'", value=damaged
        )
        assert database.unreachable_addresses.all(NOW) == {}
    database.unreachable_addresses.add(["[192.0.2.1]:25"], NOW)
    assert len(database.unreachable_addresses.all(NOW)) == 1
