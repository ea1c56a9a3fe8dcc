"""Every status that a row of each noun may have, in the order of its life."""

from __future__ import annotations

EMAIL_STATUSES = ("scheduled", "sending", "sent", "held", "cancelled")
DELIVERY_STATUSES = ("queued", "claimed", "sending", "sent", "failed", "unknown", "cancelled")
RECIPIENT_STATUSES = ("active", "unsubscribed", "rejected")
