"""The parts of the service, which start and end together.

Each part is a process group of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which then
lets all finish what is in flight. Whatever is left of a part after that is killed: no process stays behind.
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

FINISH = 75.0  # seconds; a sender takes up to 60 to finish a message, the web server for its requests
LOOK = 0.1
REST = 2.0  # seconds from one start of a part to its next


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


class Part:
    """One part as the supervisor sees it: a process that leads a group, and the pipe that keeps it alive.

    One that `restarts` may die, as those do that live with Redis; the death of any other ends the service.
    """

    def __init__(self, name: str, *arguments: str, restarts: bool = False) -> None:
        self.name = name
        self._arguments = arguments
        self._restarts = restarts
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        command = [sys.executable, "-m", "serving.part", *self._arguments]
        if sys.platform == "win32":
            group = subprocess.CREATE_NEW_PROCESS_GROUP
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=FOLDER, creationflags=group)
        else:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=FOLDER, start_new_session=True)

    def goes_on(self) -> bool:
        """Whether it runs, or will again: it is started anew once nothing is left of it."""
        if self.is_running():
            return True
        if self._restarts:
            self.ask_to_stop()  # what it has left behind
            if time.monotonic() > self._started + REST and self.is_gone():
                say(f"The {self.name} {self.cause_of_death()}; it is started again.")
                self._start()
        return self._restarts

    def cause_of_death(self) -> str:
        code = self.process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def is_gone(self) -> bool:
        """Whether no process of its group is left, the workers of a killed web server among them."""
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


def run_together(parts: list[Part], stop: StopSignals, once_up: Callable[[], None], is_up: Callable[[], bool]) -> int:
    """Watch the parts until a stop is asked for (0) or one of them dies for good (1), and end all."""
    announced = False
    while not stop.count and all(part.goes_on() for part in parts):
        if not announced and is_up():
            announced = True
            once_up()
        time.sleep(LOOK)
    time.sleep(LOOK)  # where everything was told to stop at once, our own signal may come a moment later
    dead = None if stop.count else next(part for part in parts if not part.goes_on())
    say("Stopping: what is in flight is finished first." if dead is None else _cause(dead))
    return end(parts, stop) or int(dead is not None)


def _cause(dead: Part) -> str:
    return f"The {dead.name} {dead.cause_of_death()}; all other parts are stopped too."


def end(parts: list[Part], stop: StopSignals) -> int:
    """End what is left of the parts: 0, or 1 if one had to be killed. A second Ctrl-C kills at once."""
    for part in parts:
        part.ask_to_stop()
    deadline = time.monotonic() + FINISH
    left = parts
    while left := [part for part in left if not part.is_gone()]:
        if stop.count > 1 or time.monotonic() > deadline:
            break
        time.sleep(LOOK / 2)
    for part in left:
        part.kill()
        say(f"The {part.name} did not finish and was killed; what it had in flight is looked at by the next start.")
    return int(bool(left))
