"""A scripted DNS server, and programs that use no other."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pytest

# A loopback address on which neither a system resolver nor another test process listens.
HOST = ".".join(map(str, (127 << 24 | 1 << 23 | os.getpid()).to_bytes(4, "big")))
LOOPBACK = bytes([127, 0, 0, 1])
SERVFAIL = b""
ADDRESS = (HOST, 53)
THE_END = b"the end"
Answer = Callable[[], bytes | None]  # returns an IPv4 address, SERVFAIL, or None to send no response


class NameServer:
    """Answers each query for an IPv4 address with what `answer` returns. Needs root."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.questions = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        try:
            self._socket.bind(ADDRESS)
        except PermissionError:
            self._socket.close()
            pytest.skip("only root can serve names")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(THE_END, ADDRESS)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if query == THE_END:
                return
            self._reply(query, client)

    def _reply(self, query: bytes, client: tuple[str, int]) -> None:
        end = query.index(0, 12) + 5  # the name ends with a zero byte; type and class follow
        for_ipv4 = query[end - 4 : end - 2] == b"\0\1"
        self.questions += for_ipv4
        address = self.answer()
        if address is None:
            return
        records = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + address if for_ipv4 and address else b""
        code = b"\x81\x80" if address else b"\x81\x82"
        counts = bytes([0, 1, 0, bool(records), 0, 0, 0, 0])
        self._socket.sendto(query[:2] + code + counts + query[12:end] + records, client)


def asking_it(folder: Path, program: Sequence[str], *, timeout: int) -> list[str]:
    """Return a command that runs `program` with this as its only name server: one attempt, `timeout` in seconds."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {HOST}\noptions timeout:{timeout} attempts:1\n")
    private = ["unshare", "-m", "sh", "-c", f'mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && exec "$@"']
    if subprocess.run([*private, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a resolv.conf")
    return [*private, "sh", *program]
