"""Supervises the processes of the service, which start and stop together.

Each of them leads a process group of its own, so that Ctrl-C in the terminal reaches only the supervisor, which then
lets all of them finish what is in flight. Whatever is left of a group after that is killed: no process stays behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from settings import FOLDER

STOP_TIMEOUT = 75.0  # seconds; a sender takes up to 60 to finish a message, the web server for its requests
POLL_INTERVAL = 0.1  # seconds
RESTART_INTERVAL = 2.0  # seconds, at least, from one start of a process to its next
LASTING = 60.0  # seconds; a process that ran for so long is started again without a pause
GROUP_TIMEOUT = 10.0  # seconds that the rest of a group has to end, before the process is started again


def say(text: str) -> None:
    """Print a line. A terminal that is gone must not end the service in the middle of its work."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process


class StopSignals:
    """Counts how often the service was asked to stop: Ctrl-C, SIGTERM, or the terminal closed."""

    def __init__(self) -> None:
        self.count = 0
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class ManagedProcess:
    """A process of the service: it leads a process group, and runs until the pipe to its stdin is closed.

    If it dies, it is started again, after pauses that grow up to `max_restart_interval` seconds while it does not last.
    With 0, the service ends instead.
    """

    def __init__(self, name: str, *arguments: str, max_restart_interval: float = 0.0) -> None:
        self.name = name
        self.max_restart_interval = max_restart_interval
        self._arguments = arguments
        self._restart_interval = RESTART_INTERVAL / 2
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self._died: float | None = None
        command = [sys.executable, "-m", "serving.part", *self._arguments]
        if sys.platform == "win32":
            group = subprocess.CREATE_NEW_PROCESS_GROUP
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=FOLDER, creationflags=group)
        else:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=FOLDER, start_new_session=True)

    def keep_running(self) -> bool:
        """Start the process again if it has died and may be. Return whether it runs or will run again."""
        if self.is_running():
            return True
        if self.max_restart_interval:
            now = time.monotonic()
            if self._died is None:
                self._died = now
                self._plan_restart(now)
            if not self.is_gone() and now > self._died + GROUP_TIMEOUT:
                self.kill()
            elif now >= self._started + self._restart_interval and self.is_gone():
                self._start()
        return self.max_restart_interval > 0

    def _plan_restart(self, now: float) -> None:
        self.ask_to_stop()  # what is left of its group
        lasted = now - self._started
        if lasted > LASTING:
            self._restart_interval = RESTART_INTERVAL
        else:
            self._restart_interval = min(2 * self._restart_interval, self.max_restart_interval)
        pause = self._restart_interval - lasted
        say(f"The {self.name} {self.cause_of_death()}; it is started again{f' in {pause:.0f} s' if pause > 1 else ''}.")

    def cause_of_death(self) -> str:
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def is_gone(self) -> bool:
        """Whether no process of its group is left, including workers of a web server that was killed."""
        if self.is_running():
            return False
        if sys.platform == "win32":
            return True
        with suppress(ChildProcessError):  # an orphan is our child where we are a container's first process
            os.waitpid(-self.process.pid, os.WNOHANG)
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def kill(self) -> None:
        if sys.platform == "win32":
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def supervise(
    processes: list[ManagedProcess], stop: StopSignals, once_up: Callable[[], None], is_up: Callable[[], bool]
) -> int:
    """Run until a stop is requested or a process dies for good, then stop all. Return the exit code: 0 or 1."""
    announced = False
    while not stop.count and all(process.keep_running() for process in processes):
        if not announced and is_up():
            announced = True
            once_up()
        time.sleep(POLL_INTERVAL)
    time.sleep(POLL_INTERVAL)  # where everything was told to stop at once, our own signal may come a moment later
    dead = None if stop.count else next(process for process in processes if not process.keep_running())
    say("Stopping: what is in flight is finished first." if dead is None else _cause(dead))
    return stop_all(processes, stop) or int(dead is not None)


def _cause(dead: ManagedProcess) -> str:
    return f"The {dead.name} {dead.cause_of_death()}; all other parts are stopped too."


def stop_all(processes: list[ManagedProcess], stop: StopSignals) -> int:
    """Stop the processes; return 1 if one had to be killed, else 0. A second Ctrl-C kills them at once."""
    for process in processes:
        process.ask_to_stop()
    deadline = time.monotonic() + STOP_TIMEOUT
    left = processes
    while left := [process for process in left if not process.is_gone()]:
        if stop.count > 1 or time.monotonic() > deadline:
            break
        time.sleep(POLL_INTERVAL / 2)
    for process in left:
        process.kill()
        say(f"The {process.name} did not finish and was killed; what it had in flight is looked at by the next start.")
    return int(bool(left))
