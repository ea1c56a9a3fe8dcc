"""Log one line for each sweep of a long-running service that attempted a delivery. Cron jobs do not log this."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from sender.result import SweepResult

OUTCOMES = ("sent", "deferred", "failed", "in_doubt")


def log_sweep(counts: Mapping[str, int], seconds: float, result: SweepResult, log_format: str) -> None:
    """Write the result of a sweep to stderr, if anything was attempted. `log_format` is the setting LOG_FORMAT."""
    if log_format == "off" or not any(counts.values()):
        return
    facts = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": "sweep",
        **{outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        "seconds": round(seconds, 3),
        "ended": result.value,
    }
    with suppress(OSError):  # a log that cannot be written must not stop the mail
        print(json.dumps(facts) if log_format == "json" else _as_text(facts), file=sys.stderr, flush=True)


def _as_text(facts: Mapping[str, object]) -> str:
    when, event, *others = facts.items()
    return f"{when[1]} {event[1]} " + " ".join(f"{name}={value}" for name, value in others)
