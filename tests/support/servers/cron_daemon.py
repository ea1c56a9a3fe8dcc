"""Fixtures: a real crontab and a real cron daemon.

If this user can mount, each test has its own crontab folder. It is mounted over the system's in a mount namespace that
only the commands under test see. So tests do not wait for each other, and the user's crontab is not touched. Otherwise
tests use the user's crontab, one test at a time. They require that it is empty, and leave it empty.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from schedulers.cron.install import daemon_is_running
from tests.support.machine_lock import open_lock
from tests.support.project_copy import missing
from tests.support.service import wait_until

SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron")  # Debian, SUSE, others
ODD_FOLDERS = [
    "with space",
    "100%",
    "%\\%back\\\\%slash\\",
    'it\'s "quoted"',
    "$HOME `id` $(id)",
    "ünï 日本",
    os.fsdecode(b"latin-1 \xf6"),
    "a\ttab; #hash & | < > * ? [x] {y} ~ ! (z) \r",
    "-dash=eq",
]
"""Folder names that are hard to quote in a crontab."""

# Hides the system's jobs and the lock of its daemon.
_ALONE = """
mount -t tmpfs tmpfs /run
: >/run/empty
[ ! -e /etc/crontab ] || mount --bind /run/empty /etc/crontab
[ ! -d /etc/cron.d ] || mount -t tmpfs -o mode=755 tmpfs /etc/cron.d
"""


class Crontab:
    """The crontab of the user who runs the tests, through the real command. `spool` is its folder."""

    def __init__(self, spool: Path | None) -> None:
        self.spool = spool

    def read(self) -> bytes | None:
        """Return the crontab, or None if there is none."""
        environment = {**os.environ, "LC_ALL": "C", "VISUAL": "cat"}
        listed = subprocess.run(["crontab", "-l"], capture_output=True, env=environment)
        assert listed.returncode == 0 or b"no crontab for" in listed.stderr, listed.stderr
        if listed.returncode != 0:
            return None
        # Debian's `crontab -l` prints a carriage return as \r, so read the file through an editor.
        return subprocess.run(["crontab", "-e"], capture_output=True, env=environment, check=True).stdout

    def write(self, text: bytes) -> None:
        """Replace the whole crontab."""
        subprocess.run(["crontab", "-"], input=text, check=True)

    def remove(self) -> None:
        """Remove the crontab."""
        subprocess.run(["crontab", "-r"], input=b"y\n", capture_output=True)

    def wait_for(self, files: Iterable[Path]) -> None:
        """Wait until the jobs of the next minute have created all of `files`."""
        # The daemon detects changes by a time in whole seconds. Write again in a second with no other change.
        time.sleep(1.1)
        self.write(self.read() or b"")
        deadline, waiting = time.monotonic() + 75, list(files)
        while waiting := [file for file in waiting if not file.exists()]:
            assert time.monotonic() < deadline, f"cron has not made {waiting}"
            time.sleep(0.2)


@pytest.fixture
def own_crontab() -> Iterator[Crontab]:
    """This user's crontab, for this test alone."""
    with crontab_for_this_test() as crontab:
        yield crontab


@pytest.fixture
def cron_daemon(own_crontab: Crontab) -> Iterator[None]:
    """A running cron daemon that reads `own_crontab`."""
    with running_daemon(own_crontab):
        yield


@contextmanager
def crontab_for_this_test() -> Iterator[Crontab]:
    """Yield a crontab in its own folder, or this user's crontab, locked against other tests."""
    if shutil.which("crontab") is None:
        missing("there is no crontab command (apt install cron)")
    with tempfile.TemporaryDirectory() as folder:
        if _can_mount():
            with _private(Path(folder)) as crontab:
                yield crontab
        else:
            with _shared() as crontab:
                yield crontab


@contextmanager
def running_daemon(crontab: Crontab) -> Iterator[None]:
    """Run a cron daemon that reads this crontab."""
    if crontab.spool is None and daemon_is_running():
        yield
        return
    with subprocess.Popen(_daemon_command(crontab.spool)) as daemon:
        try:
            assert wait_until(lambda: daemon_is_running() or daemon.poll() is not None) and daemon.poll() is None
            yield
        finally:
            daemon.terminate()


@contextmanager
def _private(folder: Path) -> Iterator[Crontab]:
    """Put a `crontab` command first on PATH that runs the real one in a mount namespace."""
    spool = folder / "spool"
    spool.mkdir()
    command = shlex.join(_in_namespace(spool, "", shutil.which("crontab") or "crontab"))
    (folder / "crontab").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / "crontab").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield Crontab(spool)


@contextmanager
def _shared() -> Iterator[Crontab]:
    crontab = Crontab(None)
    with open_lock(f"crontab-{os.getuid()}") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if crontab.read():
            missing("this user has a crontab, which the tests leave alone")
        try:
            yield crontab
        finally:
            crontab.remove()


@cache
def _can_mount() -> bool:
    """Return whether this user can mount, and one of the folders exists."""
    if _spool() is None or shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    return os.geteuid() == 0 and subprocess.run(trial, capture_output=True).returncode == 0


def _spool() -> str | None:
    return next((spool for spool in SPOOLS if Path(spool).is_dir()), None)


def _in_namespace(spool: Path, script: str, *command: str) -> list[str]:
    """Return a command line that mounts `spool` as the crontab folder, runs `script`, then runs `command`."""
    script = f'set -e\nmount --bind "$1" "$2"\nshift 2\n{script}\nexec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(spool), str(_spool()), *command]


def _daemon_command(spool: Path | None) -> list[str]:
    if os.geteuid() != 0:
        missing("no cron daemon is running, and only root can start one")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    cron, crond = shutil.which("cron", path=path), shutil.which("crond", path=path)
    if cron is None and crond is None:
        missing("there is no cron daemon (apt install cron)")
    command = [cron, "-f"] if cron else [str(crond), "-n"]
    return command if spool is None else _in_namespace(spool, _ALONE, *command)
