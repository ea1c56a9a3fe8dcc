"""Fixtures: a real crontab and a real cron daemon.

The crontab is that of whoever runs the tests. It is touched only if it does not exist; afterwards it does
not exist again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.machine_lock import open_lock
from tests.support.project_copy import missing
from wakeup.cron import daemon_is_running


class Crontab:
    """The crontab of the user who runs the tests, by the real command."""

    def read(self) -> bytes | None:
        """Its bytes, or None if there is none."""
        environment = {**os.environ, "LC_ALL": "C", "VISUAL": "cat"}
        listed = subprocess.run(["crontab", "-l"], capture_output=True, env=environment)
        assert listed.returncode == 0 or b"no crontab for" in listed.stderr, listed.stderr
        if listed.returncode != 0:
            return None
        # What -l shows is not always what is there: Debian's shows a carriage return as \r.
        return subprocess.run(["crontab", "-e"], capture_output=True, env=environment, check=True).stdout

    def write(self, text: bytes) -> None:
        """Replace all of it."""
        subprocess.run(["crontab", "-"], input=text, check=True)

    def remove(self) -> None:
        """Leave none."""
        subprocess.run(["crontab", "-r"], input=b"y\n", capture_output=True)

    def wait_for(self, files: Iterable[Path]) -> None:
        """Wait until the daemon's next minute has made all of `files`."""
        # The daemon sees by a time in whole seconds that something changed: give the last change its own.
        time.sleep(1.1)
        self.write(self.read() or b"")
        deadline, waiting = time.monotonic() + 75, list(files)
        while waiting := [file for file in waiting if not file.exists()]:
            assert time.monotonic() < deadline, f"cron has not made {waiting}"
            time.sleep(0.2)


@pytest.fixture
def own_crontab() -> Iterator[Crontab]:
    """This user's crontab, for this test alone on this machine."""
    if shutil.which("crontab") is None:
        missing("there is no crontab command (apt install cron)")
    crontab = Crontab()
    with open_lock(f"crontab-{os.getuid()}") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if crontab.read():
            missing("this user has a crontab, which the tests leave alone")
        try:
            yield crontab
        finally:
            crontab.remove()


@pytest.fixture
def cron_daemon(own_crontab: Crontab) -> Iterator[None]:
    """A running cron daemon: the one of this machine, or one started for this test.

    It is needed by one test at a time, the one that holds the crontab: no test stops a daemon that another one uses.
    """
    if daemon_is_running():
        yield
        return
    daemon = subprocess.Popen(_daemon_command())
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


def _daemon_command() -> list[str]:
    if os.geteuid() != 0:
        missing("no cron daemon is running, and only root can start one")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    cron, crond = shutil.which("cron", path=path), shutil.which("crond", path=path)
    if cron is None and crond is None:
        missing("there is no cron daemon (apt install cron)")
    return [cron, "-f"] if cron else [str(crond), "-n"]
