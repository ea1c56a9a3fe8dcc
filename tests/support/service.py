"""The whole service, started as a user would. `/proc` shows every process that it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.environment import CLEAN_ENVIRONMENT

linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


def give_venv(project: Path) -> None:
    """Create a `.venv` as an earlier start would have left it. It borrows the packages of these tests, to save time."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    (site_packages,) = (project / ".venv").glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.copy(project / "requirements.txt", project / ".venv" / "installed-requirements.txt")


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Return whether `condition` became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes_marked(mark: str) -> dict[int, str]:
    """Return the live processes with this `NAME=value` in their environment: PID and command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has just exited, or we may not read it
    return found


class Service:
    """One run of `./start_flask.sh`. A mark in the environment identifies its processes."""

    def __init__(self, project: Path, *arguments: str, **environ: str) -> None:
        self.mark = f"TEST_MARK={uuid.uuid4().hex}"
        self.log = project.parent / f"{self.mark[-8:]}.log"
        marked = CLEAN_ENVIRONMENT | environ | dict([self.mark.split("=")])
        with self.log.open("wb") as log:
            command = [str(project / "start_flask.sh"), *arguments]
            self.process = subprocess.Popen(
                command, cwd="/", env=marked, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def has_printed(self, text: str, seconds: float = 60.0) -> bool:
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds)
        return text in self.output

    def processes(self) -> dict[int, str]:
        """Return the live processes of this run, including orphans: PID and command line."""
        return processes_marked(self.mark)

    def pid_of(self, part: str) -> int:
        """Return the PID of 'supervisor', 'sender', 'web' (granian's main process) or its 'worker'."""
        if part == "supervisor":
            return self.process.pid
        pids = [
            pid
            for pid, command in self.processes().items()
            if f" serving.part {part.replace('worker', 'web')}" in command
        ]
        parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in pids}
        return next(pid for pid, parent in parents.items() if (parent == self.process.pid) == (part != "worker"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def leaves_nothing(self, seconds: float = 20.0) -> bool:
        return wait_until(lambda: not self.processes(), seconds)

    def clean_up(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):  # it exits when its parent does
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def started(project: Path, *arguments: str, **environ: str) -> Iterator[Service]:
    service = Service(project, *arguments, **environ)
    try:
        yield service
    finally:
        service.clean_up()
