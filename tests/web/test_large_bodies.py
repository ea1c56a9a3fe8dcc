"""Bodies far larger than MAX_BODY are refused on every route, and the server's memory stays bounded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.web_server import TOKEN, Server
from tests.support.service import linux_only

pytestmark = linux_only
SIZE, PIECE = 20_000_000, 100_000
MOST = 30.0  # MiB: the part of a body that is read, up to MAX_BODY, and the objects made from it
WAYS = [
    ("POST", "/send-emails", "application/x-www-form-urlencoded"),
    ("POST", "/send-emails", "multipart/form-data; boundary=X"),
    ("PUT", "/api/emails/1", "application/json"),
    ("POST", "/api/emails", "application/json"),
    ("POST", "/api/emails", "application/x-ndjson"),
    ("POST", "/api/recipients", "application/json"),
    ("POST", "/api/recipients/import", "text/csv"),
    ("POST", "/login", "application/x-www-form-urlencoded"),
]


def most_memory(server: Server) -> float:
    """Return the peak memory of the worker, in MiB."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    status = Path(f"/proc/{children[-1]}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def answer_to(server: Server, head: str, pieces: Iterator[bytes]) -> bytes:
    """Return the first line of the response to a client that sends everything before it reads."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(piece)
        return connection.recv(1000).split(b"\r\n")[0]


def chunked() -> Iterator[bytes]:
    for _ in range(SIZE // PIECE):
        yield b"%x\r\n" % PIECE + b"[" * PIECE + b"\r\n"
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("form", ["told", "chunked"])
def test_twenty_megabytes_are_refused_and_cost_no_memory(server: Server, way: tuple[str, str, str], form: str) -> None:
    method, path, kind = way
    before = most_memory(server)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\n"
    if form == "told":
        pieces = (b"[" * PIECE for _ in range(SIZE // PIECE))
        answer = answer_to(server, head + f"Content-Length: {SIZE}\r\n\r\n", pieces)
    else:
        answer = answer_to(server, head + "Transfer-Encoding: chunked\r\n\r\n", chunked())
    assert answer.split(b" ")[1:2] in ([b"413"], [b"411"], [b"400"], [b"303"]), answer
    assert most_memory(server) - before < MOST
    assert server.request("GET", "/api/emails", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_compressed_bomb_is_not_unpacked(server: Server) -> None:
    before = most_memory(server)
    for method, path, kind in WAYS:
        headers = {"Content-Type": kind, "Content-Encoding": "gzip", "Authorization": f"Bearer {TOKEN}"}
        answer = server.request(method, path, b"\x1f\x8b\x08" + b"\0" * 100_000, headers)
        assert answer.status in (400, 413, 415), (path, answer)
    assert most_memory(server) - before < MOST
