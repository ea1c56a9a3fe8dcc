"""One line for each sweep that sent something, in the log of a service that stays; never in the mail of cron."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from sender.result import Ended

OUTCOMES = ("sent", "deferred", "failed", "in_doubt")


def log_sweep(counts: Mapping[str, int], seconds: float, ended: Ended, log_format: str) -> None:
    """Write to stderr what came of a sweep; nothing if nothing did. `log_format` is LOG_FORMAT."""
    if log_format == "off" or not any(counts.values()):
        return
    facts = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": "sweep",
        **{outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        "seconds": round(seconds, 3),
        "ended": ended.name.lower(),
    }
    with suppress(OSError):  # a log that is gone must not stop the mail
        print(json.dumps(facts) if log_format == "json" else _as_text(facts), file=sys.stderr, flush=True)


def _as_text(facts: Mapping[str, object]) -> str:
    when, event, *others = facts.items()
    return f"{when[1]} {event[1]} " + " ".join(f"{name}={value}" for name, value in others)
