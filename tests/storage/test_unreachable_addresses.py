"""The addresses of mail servers that did not respond."""

from __future__ import annotations

from database import Database
from storage.senders.unreachable_addresses import MEMORY_SECONDS

NOW = 1_800_000_000


def test_an_address_is_remembered_for_a_day(database: Database) -> None:
    assert database.unreachable_addresses.all(NOW) == {}
    database.unreachable_addresses.add(["[192.0.2.1]:25"], NOW)
    database.unreachable_addresses.add(["[2001:db8::1]:25"], NOW + 60)
    assert set(database.unreachable_addresses.all(NOW + 60)) == {"[192.0.2.1]:25", "[2001:db8::1]:25"}
    assert set(database.unreachable_addresses.all(NOW + MEMORY_SECONDS)) == {"[2001:db8::1]:25"}
    assert database.unreachable_addresses.all(NOW + MEMORY_SECONDS + 60) == {}


def test_an_address_that_still_does_not_answer_is_remembered_longer(database: Database) -> None:
    for now in (NOW, NOW + 60):
        database.unreachable_addresses.add(["[192.0.2.1]:25"], now)
    assert database.unreachable_addresses.all(NOW + MEMORY_SECONDS) == {"[192.0.2.1]:25": NOW + 60 + MEMORY_SECONDS}


def test_addresses_that_are_forgotten_leave_no_rows(database: Database) -> None:
    database.unreachable_addresses.add(["[192.0.2.1]:25"], NOW)
    database.unreachable_addresses.add(["[192.0.2.2]:25"], NOW + MEMORY_SECONDS)
    assert database.connection.fetch_all("SELECT address FROM unreachable_addresses") == [("[192.0.2.2]:25",)]
