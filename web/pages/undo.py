"""What can be undone from a page for some seconds: an email that was sent now, and the removal of recipients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from flask import flash

from web.services import in_database

UNDO_SECONDS = 10


def undo_deadline() -> datetime:
    """Return when an email that is sent now is due: in UNDO_SECONDS, rounded up to a whole second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=UNDO_SECONDS + 1)


def flash_removal(recipient_ids: Sequence[int], who: str, back: str) -> bool:
    """Remove recipients, and flash a message with a button that undoes that. Return whether any were there.

    page.js shows the message as a toast for UNDO_SECONDS. Without scripts, it stays until another page is opened.
    """
    now = datetime.now(UTC)
    removal = in_database(lambda database: database.recipients.remove_undoably(recipient_ids, now))
    if not removal.removed:
        return False
    message = {
        "text": f"Removed {who}.",
        "action": "/recipients/undo",
        "fields": {"removal_id": str(removal.removal_id), "next": back},
        "until": (now + timedelta(seconds=UNDO_SECONDS)).isoformat(timespec="seconds"),
    }
    flash(message)  # type: ignore[arg-type]
    return True
