"""Is everything as it has to be? For `flask check`, and for pages: findings, each with its remedy.

Each check looks at one subject and changes nothing that lasts. All of them run at once, in threads of their own,
so that the whole takes no longer than the slowest, and that one no longer than CHECK_TIMEOUT.
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
    """Run the checks at once; return their findings in order. One that takes longer than `limit` is an error."""
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
    except Exception as failure:  # noqa: BLE001 - one check that fails hides none of the others
        return [error(check.__name__, f"the check itself failed: {failure!r}", "report this as a bug")]


def _results(subject: str, results: queue.SimpleQueue[list[Finding]], end: float, limit: float) -> list[Finding]:
    try:
        return results.get(timeout=max(0.0, end - time.monotonic()))
    except queue.Empty:
        return [error(subject, f"no answer within {limit:.0f} s", "see whether what it names answers at all")]
