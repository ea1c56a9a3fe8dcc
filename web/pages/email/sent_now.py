"""An email that is sent now from a page leaves a few seconds later, so that it can be undone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

UNDO_SECONDS = 10


def undo_deadline() -> datetime:
    """Return when an email that is sent now is due: in UNDO_SECONDS, rounded up to a whole second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=UNDO_SECONDS + 1)
