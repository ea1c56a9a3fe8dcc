"""Build emails, recipients and deliveries for tests of the data layer."""

from __future__ import annotations

from datetime import UTC, datetime

from database import Accepted, Address, Claim, Database, Delivery, DeliveryKey, DeliveryUpdate, Email, SendIntent

NOON = datetime(2026, 11, 25, 4, 0, 0, tzinfo=UTC)
NOW = int(NOON.timestamp())
EMAIL = Email(7, "Hello", "A line\n", NOON)


def addresses(count: int) -> list[Address]:
    return [Address(f"p{n}@example.com", f"p{n}@example.com") for n in range(count)]


def in_doubt(delivery: Delivery) -> DeliveryUpdate:
    return DeliveryUpdate(delivery.event_id, delivery.recipient_id, "in_doubt", "queued", "died", NOW, NOW)


def sent(claim: Claim, sender_id: int) -> Accepted:
    return (*key(claim), sender_id, "250 ok", NOW)


def failed(claim: Claim) -> DeliveryUpdate:
    return DeliveryUpdate(*key(claim), "failed", "failed", "550 no", NOW)


def key(claim: Claim) -> DeliveryKey:
    return claim[:2]


def ending(claim: Claim, sender_id: int) -> SendIntent:
    return (*key(claim), sender_id)


def address(claim: Claim) -> Address:
    return Address(claim[2], claim[2])


def start(database: Database, recipients: int = 3, email: Email = EMAIL, now: int = NOW) -> None:
    """Add recipients, and save and start an email to them."""
    database.recipients.add(addresses(recipients), NOON)
    database.emails.save(email, NOON)
    assert not any(begun.held_because for begun in database.progress.start_due_emails(now))


def enter(database: Database) -> int:
    sender_id = database.senders.register(9, NOW, in_doubt)
    assert sender_id is not None
    return sender_id


def send_all(database: Database, sender_id: int) -> None:
    while claimed := database.claims.claim(sender_id, 0, NOW, 10):
        database.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claimed])
        database.deliveries.record(sender_id, [sent(claim, sender_id) for claim in claimed], [], [])


def status(database: Database, event_id: int = 7) -> str:
    email = database.emails.get(event_id)
    assert email is not None
    return email.status
