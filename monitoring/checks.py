"""Run all checks for `flask check` and for pages. Each problem they find comes with its remedy.

Each check examines one subject and leaves nothing changed. The checks run in parallel threads, so together they take as
long as the slowest one, and at most CHECK_TIMEOUT.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from monitoring.clock import check_clock
from monitoring.configuration import check_setup
from monitoring.database_health import check_damage, check_database
from monitoring.disk import check_disk
from monitoring.finding import Finding, error
from monitoring.mail_server import check_mail_server, check_maildir
from monitoring.sending import check_sending
from settings import Settings

CHECK_TIMEOUT = 15.0  # seconds

Check = Callable[[Settings], Iterable[Finding]]
Checks = Sequence[tuple[str, Check]]
QUICK: Checks = (
    ("settings", check_setup),
    ("database", check_database),
    ("disk", check_disk),
    ("clock", check_clock),
    ("sending", check_sending),
    ("mail server", check_maildir),
)
MAIL_SERVER: Checks = (("mail server", check_mail_server),)
CHECKS: Checks = (*QUICK, ("damage", check_damage), *MAIL_SERVER)


def findings(settings: Settings, checks: Checks = CHECKS, limit: float = CHECK_TIMEOUT) -> list[Finding]:
    """Run the checks in parallel and return their findings in order. A check that exceeds `limit` is an error."""
    end = time.monotonic() + limit
    running = [(subject, _start(check, settings)) for subject, check in checks]
    return [finding for subject, results in running for finding in _results(subject, results, end, limit)]


def _start(check: Check, settings: Settings) -> queue.SimpleQueue[list[Finding]]:
    results: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(_run(check, settings)), daemon=True).start()
    return results


def _run(check: Check, settings: Settings) -> list[Finding]:
    try:
        return list(check(settings))
    except Exception as failure:  # noqa: BLE001 - the other checks are still reported
        return [error(check.__name__, f"the check itself failed: {failure!r}", "report this as a bug")]


def _results(subject: str, results: queue.SimpleQueue[list[Finding]], end: float, limit: float) -> list[Finding]:
    try:
        return results.get(timeout=max(0.0, end - time.monotonic()))
    except queue.Empty:
        return [error(subject, f"no response within {limit:.0f} s", "check that it is reachable")]
