"""TLS in memory: the conversations of `tests/unit/smtp/test_smtp_session.py`, with the ciphertext split in any way."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from delivery.interface import Envelope
from delivery.smtp.errors import ProtocolError
from delivery.smtp.transport import Tls, tls_context
from tests.support.samples.smtp_conversations import (
    AT,
    CONVERSATIONS,
    Owner,
    Result,
    at_once,
    cut_at,
    new_session,
    one_by_one,
    script,
    to,
)
from tests.support.servers.smtp_server import Script

CUTS = 6  # random splits per conversation, in addition to none and octet by octet

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]  # the client's, the server's


@pytest.fixture(scope="session")
def contexts(certificate: str) -> Contexts:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return tls_context(certificate), server


class Tunnel:
    """Both ends of TLS. Server output is buffered until the handshake is complete."""

    def __init__(self, contexts: Contexts) -> None:
        self.ours = Tls(contexts[0], "localhost")
        self.ours.handshake()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._theirs = contexts[1].wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self._waiting = b""

    def hears(self, wire: bytes) -> bytes:
        """Return the plain bytes that reach the server."""
        self._incoming.write(wire)
        plain = b""
        try:
            if not self._ready:
                self._theirs.do_handshake()
                self._ready = True
            while piece := self._theirs.read(65536):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        return plain

    def says(self, plain: bytes) -> bytes:
        """Return what the client receives when the server sends `plain`."""
        self._waiting += plain
        if self._ready and self._waiting:
            self._theirs.write(self._waiting)
            self._waiting = b""
        return self._outgoing.read() if self._outgoing.pending else b""


class TlsOwner(Owner):
    """An `Owner` that communicates over TLS. Its input, which is split, is ciphertext."""

    def __init__(self, contexts: Contexts, script: Script, todo: list[Envelope]) -> None:
        self._tunnel: Tunnel | None = None
        super().__init__(new_session(), script, todo)
        greeting, self.incoming = bytes(self.incoming), bytearray()
        self._tunnel = Tunnel(contexts)
        self._exchange(self._tunnel)
        self.incoming += self._tunnel.says(greeting)

    def _write(self) -> None:
        if self._tunnel and self._tunnel.ours.ready:
            data = self.session.data_to_send()
            self.session.bytes_sent += len(data)
            self._exchange(self._tunnel, data)

    def _receive(self, size: int) -> None:
        piece = bytes(self.incoming[:size])
        del self.incoming[:size]
        self.read += len(piece)
        assert self._tunnel is not None
        plain = self._tunnel.ours.feed(piece)
        self._exchange(self._tunnel)
        try:
            self.session.receive(plain or b"", AT)
        except ProtocolError as error:
            self.session.fail(str(error), AT)
        self._act()

    def _exchange(self, tunnel: Tunnel, data: bytes = b"") -> None:
        """Pass our output to the server, and TLS's own replies back."""
        plain = tunnel.hears(tunnel.ours.encrypt(data))
        self.incoming += tunnel.says(b"")
        if plain and self.eof is None:
            self._take(self.peer.feed(plain))

    def _take(self, actions: Any) -> None:
        start = len(self.incoming)
        super()._take(actions)
        if self._tunnel is not None:
            said = bytes(self.incoming[start:])
            del self.incoming[start:]
            self.incoming += self._tunnel.says(said)


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    return seed


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_under_tls_outcomes_are_the_same_however_the_ciphertext_is_cut(
    name: str, pipelining: bool, contexts: Contexts, seed: int
) -> None:
    on, addresses, _ = CONVERSATIONS[name]
    todo = to(*addresses)

    def talk(cuts: Callable[[int], int]) -> Result:
        return TlsOwner(contexts, script(pipelining, on=on), todo).run(cuts)

    plain = Owner(new_session(), script(pipelining, on=on), todo).run(at_once)
    whole = talk(at_once)
    assert whole.read > plain.read, "this was no TLS"
    some = random.Random(seed).sample(range(1, whole.read), CUTS)
    for other in (whole, talk(one_by_one), *(talk(cut_at(position)) for position in some)):
        assert (other.kinds, other.replies, other.returned) == (plain.kinds, plain.replies, plain.returned)
        assert [one.recipient for one in other.peer.script.accepted] == [
            one.recipient for one in plain.peer.script.accepted
        ]


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one by one"])
def test_a_tls_connection_that_breaks_anywhere_gives_each_envelope_its_one_outcome(
    pipelining: bool, contexts: Contexts
) -> None:
    todo = to("a", "b", "c")
    length = TlsOwner(contexts, script(pipelining), todo).run(at_once).read
    for position in range(1, length, 3):
        owner = TlsOwner(contexts, script(pipelining), todo)
        result = owner.run(at_once, stop_after=position)
        sent = [address for address, kind in result.kinds if kind.value == "sent"]
        in_doubt = [address for address, kind in result.kinds if kind.value == "in_doubt"]
        accepted = [one.recipient.decode() for one in owner.peer.script.accepted]
        assert len(result.kinds) + len(result.returned) == result.session.message_count
        assert len(in_doubt) <= 1
        assert set(sent) <= set(accepted) <= {*sent, *in_doubt}
