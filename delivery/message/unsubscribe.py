"""The links by which recipients unsubscribe: signed, so that nobody can do it for another (RFC 8058, section 4).

A link says which recipient it is for, never the address. It is signed with keyed BLAKE2b (RFC 7693), since each
message needs a signature of its own: HMAC-SHA-256 takes three times as long.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from delivery.message.mime import LENGTH

PATH = "/unsubscribe/"

_TOKEN = re.compile(f"[A-Za-z0-9_-]{{{LENGTH}}}")
_PURPOSE = b"unsubscribe"
_SIGNATURE = 16  # octets; with 8 of a number they are LENGTH characters
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Links(NamedTuple):
    """What a message needs: its links are `prefix` and, behind it, the token of a recipient."""

    prefix: str
    token: Callable[[int], bytes]


class Tokens:
    """Makes and reads the tokens of one installation, which are valid for as long as its secret key."""

    def __init__(self, secret_key: str, installation: str) -> None:
        key = blake2b(f"{installation}\n{secret_key}".encode(), digest_size=32, person=_PURPOSE).digest()
        self._signer = blake2b(key=key, digest_size=_SIGNATURE, person=_PURPOSE)

    def links(self, public_url: str) -> Links:
        """Links to the service at this URL."""
        return Links(public_url + PATH, self.token)

    def token(self, recipient_id: int) -> bytes:
        """LENGTH letters, digits, `-` and `_`: always the same for this recipient."""
        number = recipient_id.to_bytes(8, "big")
        signer = self._signer.copy()
        signer.update(number)
        return b2a_base64(number + signer.digest(), newline=False).translate(_URL_SAFE)

    def recipient_id(self, token: str) -> int | None:
        """Return the recipient a token is for, or None if it was not made here or was damaged."""
        if not _TOKEN.fullmatch(token):
            return None
        recipient_id = int.from_bytes(urlsafe_b64decode(token)[:8], "big")
        return recipient_id if compare_digest(self.token(recipient_id), token.encode("ascii")) else None
