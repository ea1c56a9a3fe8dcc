"""A proxy for PostgreSQL that forwards the N-th COMMIT, but not the reply to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

COMMITTED = b"COMMIT\0"  # the command tag in the server's reply


class CuttingProxy:
    """Listens on `port`. Cuts the connection that sent COMMIT number `number` once the server has replied."""

    def __init__(self, server_port: int, number: int) -> None:
        self.commits = 0
        self._number = number
        self._server_port = server_port
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            for source, target, from_server in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, target, from_server), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_server and COMMITTED in data and self._is_the_one():
                    break  # the server has committed, but the client never learns it
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_the_one(self) -> bool:
        with self._lock:
            self.commits += 1
            return self.commits == self._number
