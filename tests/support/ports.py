"""TCP ports for the servers that tests start.

A port that the kernel picks may go to another process before the server listens on it. So each test process locks its
own block of ports, below the range from which the kernel picks, and uses them in turn.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache
from typing import IO

from tests.support.machine_lock import open_lock

FIRST_PORT, BLOCK_SIZE, BLOCKS = 20_000, 200, 60


def unused_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens, and that no other test process will use."""
    return next(port for port in _block()[1] if _is_free(port))


@cache
def _block() -> tuple[IO[str], Iterator[int]]:
    """Return the locked file, which must stay open, and an endless iterator over the ports of its block."""
    for number in range(BLOCKS):
        lock = open_lock(f"ports-{os.getuid()}-{number}")  # open until this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        first = FIRST_PORT + number * BLOCK_SIZE
        return lock, itertools.cycle(range(first, first + BLOCK_SIZE))
    raise RuntimeError(f"all {BLOCKS} blocks of ports are in use")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Return whether a server listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
