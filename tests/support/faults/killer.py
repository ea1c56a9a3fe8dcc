"""Kill a sender at a chosen moment: by an action of a scripted server, or before its N-th system call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.installation import TASK, Installation
from tests.support.servers.smtp_server import Call
from tests.support.warm_python import start

STRACE = shutil.which("strace")
SHORT_LEASE = Path(__file__).with_name("short_lease.py")


class Victim:
    """A sender that a scripted server can stop, wake or kill. `kill` and the like are actions for a script."""

    def __init__(self) -> None:
        self.kill = Call(self._kill)
        self.freeze = Call(self._freeze)
        self.terminate = Call(lambda: self._signal(signal.SIGTERM))
        self.interrupt = Call(lambda: self._signal(signal.SIGINT))
        self._process: subprocess.Popen[str] | None = None
        self._started = threading.Event()

    def run(self, installation: Installation) -> int:
        """Run `task.py`, and return its exit code, or minus the signal that killed it."""
        return self.wait(installation.start_task())

    def start(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._started.set()

    def wait(self, process: subprocess.Popen[str]) -> int:
        self.start(process)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
        return process.returncode

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def state(self) -> str:
        """Return the process state from the kernel: R, S, T (stopped), Z (dead), …"""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    @property
    def pid(self) -> int:
        self._started.wait(20)
        assert self._process is not None
        return self._process.pid

    def _signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        wait_until(lambda: self.state() in "TZ")

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        wait_until(self._is_dead)

    def _is_dead(self) -> bool:
        try:
            return self.state() == "Z"
        except FileNotFoundError:
            return True


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.0005)


def in_shell(installation: Installation, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which "$@" is `task.py`."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *TASK],
        env=installation.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def killed_before(installation: Installation, call: str, number: int, program: Sequence[str] = TASK) -> bool:
    """Run `program`, and kill it before its `number`-th `call` system call. Return False if it made fewer."""
    killed = start(program, installation.environment, traced=True)
    command = [STRACE or "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=KILL:when={number}", "-p", f"{killed.pid}"]
    try:
        subprocess.run(command, capture_output=True, check=False, timeout=60)
        _, stderr = killed.communicate(timeout=20)
    finally:
        killed.kill()
    if killed.returncode == 0:
        return False
    assert killed.returncode == -signal.SIGKILL, stderr
    return True


def start_with_lease(installation: Installation, seconds: float) -> subprocess.Popen[str]:
    """Start `task.py` with a lease of `seconds` instead of a minute."""
    return start((sys.executable, str(SHORT_LEASE), str(seconds)), installation.environment)
