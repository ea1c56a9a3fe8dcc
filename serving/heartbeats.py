"""A worker that answers nothing is replaced: the main process of the web server kills it, and granian starts another.

Each worker writes its process id into a pipe once a second, unless all of its threads have been busy with the same
requests since the last time. So no beat comes from a worker that was stopped, whose interpreter is held by a loop in C,
or whose threads all wait for something that does not happen. Only where workers are forks of the main process.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

BEAT_INTERVAL = 1.0  # seconds
STUCK_TIMEOUT = 30.0  # seconds without a beat
TRACEBACK_TIME = 0.5  # seconds for a worker to write where it is stuck
PID_SIZE = 4  # bytes


class Heartbeats:
    """The pipe, and the worker processes that have written to it."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._main = os.getpid()
        self._seen: dict[int, float] = {}

    def watch(self) -> None:
        """Kill stuck workers from now on, in a thread of the main process."""
        threading.Thread(target=self._watch, name="heartbeats", daemon=True).start()

    def beat(self, requests: Callable[[], Collection[object]], threads: int) -> None:
        """Beat from now on, in a thread of a worker. `requests` returns those that are being dealt with."""
        if os.getppid() == self._main:
            faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)
            threading.Thread(target=self._beat, args=(requests, threads), name="heartbeat", daemon=True).start()

    def _beat(self, requests: Callable[[], Collection[object]], threads: int) -> None:
        before: frozenset[object] = frozenset()
        while True:
            active = frozenset(requests())
            if len(active) < threads or active != before:
                os.write(self._writer, os.getpid().to_bytes(PID_SIZE, "little"))
            before = active
            time.sleep(BEAT_INTERVAL)

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while True:
            ready, _, _ = select.select([self._reader], [], [], BEAT_INTERVAL)
            now = time.monotonic()
            if now - looked_at > 2 * BEAT_INTERVAL:  # this process was stopped as well
                self._seen = dict.fromkeys(self._seen, now)
            looked_at = now
            if ready:
                beats = os.read(self._reader, 1024 * PID_SIZE)
                for start in range(0, len(beats), PID_SIZE):
                    self._seen[int.from_bytes(beats[start : start + PID_SIZE], "little")] = now
            for pid in [pid for pid, at in self._seen.items() if now - at > STUCK_TIMEOUT]:
                del self._seen[pid]
                self._replace(pid)

    def _replace(self, pid: int) -> None:
        if _parent_of(pid) != self._main:
            return  # it has ended
        print(
            f"A worker of the web server answered nothing for {STUCK_TIMEOUT:.0f} s and is replaced.", file=sys.stderr
        )
        with suppress(OSError):
            os.kill(pid, signal.SIGUSR1)
            time.sleep(TRACEBACK_TIME)
            os.kill(pid, signal.SIGKILL)


def _parent_of(pid: int) -> int:
    """Return the parent of a process, or 0 if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
