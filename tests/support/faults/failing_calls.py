"""Make the N-th database call or socket call of this process fail."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from storage.sqlite.connection import driver  # type: ignore[attr-defined]


class Fault:
    """Fails on call `number` only or, with `for_good`, on every call from there on."""

    def __init__(self, number: int, error: Callable[[], Exception], *, for_good: bool = False) -> None:
        self.calls = 0
        self._number = number
        self._error = error
        self._for_good = for_good

    @property
    def happened(self) -> bool:
        return self.calls >= self._number

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._number or (self._for_good and self.happened):
            raise self._error()


class Calls(Protocol):
    def __call__(self) -> None: ...


class FailingDriver:
    """A connection of the SQLite driver whose statements, including COMMIT, may fail."""

    def __init__(self, real: Any, fault: Calls) -> None:
        self._real = real
        self._fault = fault

    def execute(self, *arguments: Any) -> Any:
        self._fault()
        return self._real.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._fault()
        return self._real.executemany(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class FailingSocket:
    """A socket whose calls may fail. With `half`, a failing `send` sends half of its data and shuts it down."""

    def __init__(self, real: socket.socket, fault: Calls, *, half: bool) -> None:
        self._real = real
        self._fault = fault
        self._half = half

    def send(self, data: Any) -> int:
        if not self._half:
            self._fault()
            return self._real.send(data)
        try:
            self._fault()
        except OSError:
            self._real.send(bytes(data[: len(data) // 2 or 1]))
            self._real.shutdown(socket.SHUT_RDWR)
            return len(data) // 2 or 1
        return self._real.send(data)

    def recv(self, size: int) -> bytes:
        self._fault()
        return self._real.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def broken_disk() -> Exception:
    error = driver.OperationalError("this was made to fail")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    return error


def connection_reset() -> Exception:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
