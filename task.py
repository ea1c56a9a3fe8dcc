"""Send everything that is due. Run by cron every minute, by the Redis queue, or by hand.

Usage: python task.py [--ahead SECONDS | --watch | --retry-failed EVENT_ID] [--clock-is-right]

Without an option, this sends the emails that are due now and exits. Any number of sweeps may run at the same time on
one database; SENDERS limits how many of them send. The exit code is 0, or 1 if there was any error. Errors are on
stderr and in tasklog.log.
"""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from settings import SettingsError, load_settings
from storage.idle import idle_sweep

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with _idle_sweep(arguments) as is_idle:
        if is_idle:
            return 0
        return _full_program(arguments)


def run_due() -> None:
    """Run a sweep for the Redis queue, which calls this function by name, and schedule the next wake-up."""
    _full_program(None)


def _full_program(arguments: list[str] | None) -> int:
    """Run the command line, or, if `arguments` is None, a sweep for the Redis queue. Return the exit code."""
    # The rest of the program is imported only here, because nearly every cron sweep has nothing to do.
    from sender.sweeper import run_command, run_queued

    if arguments is None:
        run_queued()
        return 0
    return run_command(arguments, __doc__ or "")


def _idle_sweep(arguments: list[str]) -> AbstractContextManager[bool]:
    """Return the fast path for a plain sweep with SQLite and cron. For anything else, the context yields False."""
    seconds = _seconds_ahead(arguments)
    if seconds is None:
        return nullcontext(False)
    try:
        settings = load_settings()
    except SettingsError:
        return nullcontext(False)  # the full program reports it
    if settings.database_path is None or settings.scheduler != "cron":
        return nullcontext(False)
    return idle_sweep(settings.database_path, seconds, settings.keep_for)


def _seconds_ahead(arguments: list[str]) -> int | None:
    if not arguments:
        return 0
    match = re.fullmatch("--ahead[ =]([0-9]{1,4})", " ".join(arguments))
    return int(match[1]) if match else None


if __name__ == "__main__":
    sys.exit(main())
