"""Unsubscribe links, signed so that nobody can unsubscribe someone else (RFC 8058, section 4).

A link contains the recipient_id, never the address. It is signed with keyed BLAKE2b (RFC 7693): each message needs its
own signature, and HMAC-SHA-256 takes three times as long.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from itertools import count
from typing import NamedTuple

from delivery.message.mime import TOKEN_LENGTH

PATH = "/unsubscribe/"

_TOKEN = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}")
_PURPOSE = b"unsubscribe"
SIGNATURE_BYTES = 16  # with the 8 bytes of the recipient_id, TOKEN_LENGTH characters of base64
MAX_CUT_OFF = 3  # hyphens that may be missing at the end of a token
_NOT_LAST = b"-_"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Links(NamedTuple):
    """The links of a message: `prefix` followed by the recipient's token. `token` takes the recipient_id."""

    prefix: str
    token: Callable[[int], bytes]


class Tokens:
    """Creates and verifies the tokens of one installation. They stay valid as long as its secret key is the same."""

    def __init__(self, secret_key: str, installation: str) -> None:
        key = blake2b(f"{installation}\n{secret_key}".encode(), digest_size=32, person=_PURPOSE).digest()
        self._signer = blake2b(key=key, digest_size=SIGNATURE_BYTES, person=_PURPOSE)

    def links(self, public_url: str) -> Links:
        """Return the links for a service at this URL."""
        return Links(public_url + PATH, self.token)

    def token(self, recipient_id: int) -> bytes:
        """Return the recipient's token, which never changes: TOKEN_LENGTH letters, digits, `-` and `_`.

        It ends with a letter or a digit, because mail programs drop other characters at the end of a link in plain
        text.
        """
        number = recipient_id.to_bytes(8, "big")
        signer = self._signer.copy()
        signer.update(number)
        token = b2a_base64(number + signer.digest(), newline=False).translate(_URL_SAFE)
        return token if token[-1] not in _NOT_LAST else self._resigned(number)

    def recipient_id(self, token: str) -> int | None:
        """Return the recipient_id of a token, or None if the token is damaged or from another installation.

        Tokens of earlier versions could end with `-`, which some mail programs cut off. They are accepted with and
        without it.
        """
        token = token.ljust(TOKEN_LENGTH, "-") if 0 <= TOKEN_LENGTH - len(token) <= MAX_CUT_OFF else token
        if not _TOKEN.fullmatch(token):
            return None
        octets = token.encode("ascii")
        number = urlsafe_b64decode(token)[:8]
        recipient_id = int.from_bytes(number, "big")
        is_ours = compare_digest(self.token(recipient_id), octets)
        is_earlier = compare_digest(self._signed(number, b""), octets)
        return recipient_id if is_ours or is_earlier else None

    def _resigned(self, number: bytes) -> bytes:
        """Return the first token with a different signature that ends with a letter or digit. 1 in 32 needs this."""
        tokens = (self._signed(number, attempt.to_bytes(4, "big")) for attempt in count(1))
        return next(token for token in tokens if token[-1] not in _NOT_LAST)

    def _signed(self, number: bytes, attempt: bytes) -> bytes:
        signer = self._signer.copy()
        signer.update(number + attempt)
        return b2a_base64(number + signer.digest(), newline=False).translate(_URL_SAFE)
