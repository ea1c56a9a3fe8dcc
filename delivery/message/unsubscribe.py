"""Unsubscribe links, signed so that nobody can unsubscribe someone else (RFC 8058, section 4).

Theory of operation
-------------------
The path of a link is `/unsubscribe/EVENT_ID/TOKEN`. It identifies the email and the recipient, so that one click leaves
the lists that this email went to. The token contains the recipient_id, never the address, and a signature of both
numbers. Until version 5 a link named no email: `/unsubscribe/TOKEN`. Those links stay valid, and mean every email.

The signature is keyed BLAKE2b (RFC 7693): each message needs its own, and HMAC-SHA-256 takes three times as long. The
signer of an email has already read the key and the event_id, so a message costs one copy and one update.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from hmac import compare_digest
from itertools import count
from typing import NamedTuple

from delivery.message.mime import TOKEN_LENGTH

PATH = "/unsubscribe/"

_TOKEN = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}")
_EVENT_ID = re.compile("0|-?[1-9][0-9]{0,18}")
_PURPOSE = b"unsubscribe"
SIGNATURE_BYTES = 16  # with the 8 bytes of the recipient_id, TOKEN_LENGTH characters of base64
MAX_CUT_OFF = 3  # hyphens that may be missing at the end of a token
_NOT_LAST = b"-_"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Links(NamedTuple):
    """The links of an email: `prefix` followed by the recipient's token. `token` takes the recipient_id."""

    prefix: str
    token: Callable[[int], bytes]


class Target(NamedTuple):
    """Who a link unsubscribes, and the email that it came with: None for links from before version 5."""

    recipient_id: int
    event_id: int | None


class Tokens:
    """Creates and verifies the links of one installation. They stay valid as long as its secret key is the same."""

    def __init__(self, secret_key: str, installation: str) -> None:
        key = blake2b(f"{installation}\n{secret_key}".encode(), digest_size=32, person=_PURPOSE).digest()
        self._signer = blake2b(key=key, digest_size=SIGNATURE_BYTES, person=_PURPOSE)

    def links(self, public_url: str, event_id: int) -> Links:
        """Return the links of an email, for a service at this URL."""
        return Links(f"{public_url}{PATH}{event_id}/", partial(_token, self._signer_of(event_id)))

    def token(self, recipient_id: int, event_id: int | None = None) -> bytes:
        """Return the recipient's token, which never changes: TOKEN_LENGTH letters, digits, `-` and `_`.

        It ends with a letter or a digit, because email clients drop other characters at the end of a link in plain
        text. Without an event_id it is the token of a link that means every email.
        """
        return _token(self._signer_of(event_id), recipient_id)

    def target(self, path: str) -> Target | None:
        """Return the target of the path behind PATH, or None if it is damaged or from another installation.

        Tokens of earlier versions could end with `-`, which some email clients cut off. They are accepted with and
        without it.
        """
        event, slash, token = path.rpartition("/")
        token = token.ljust(TOKEN_LENGTH, "-") if 0 <= TOKEN_LENGTH - len(token) <= MAX_CUT_OFF else token
        if not _TOKEN.fullmatch(token) or (slash and not _EVENT_ID.fullmatch(event)):
            return None
        event_id = int(event) if slash else None
        if event_id is not None and not -(2**63) <= event_id < 2**63:
            return None
        number = urlsafe_b64decode(token)[:8]
        recipient_id = int.from_bytes(number, "big")
        octets = token.encode("ascii")
        is_ours = compare_digest(self.token(recipient_id, event_id), octets)
        is_earlier = event_id is None and compare_digest(_signed(self._signer, number, b""), octets)
        return Target(recipient_id, event_id) if is_ours or is_earlier else None

    def _signer_of(self, event_id: int | None) -> blake2b:
        if event_id is None:
            return self._signer
        signer = self._signer.copy()
        signer.update(event_id.to_bytes(8, "big", signed=True))
        return signer


def _token(signer: blake2b, recipient_id: int) -> bytes:
    number = recipient_id.to_bytes(8, "big")
    copy = signer.copy()
    copy.update(number)
    token = b2a_base64(number + copy.digest(), newline=False).translate(_URL_SAFE)
    return token if token[-1] not in _NOT_LAST else _resigned(signer, number)


def _resigned(signer: blake2b, number: bytes) -> bytes:
    """Return the first token with a different signature that ends with a letter or digit. 1 in 32 needs this."""
    tokens = (_signed(signer, number, attempt.to_bytes(4, "big")) for attempt in count(1))
    return next(token for token in tokens if token[-1] not in _NOT_LAST)


def _signed(signer: blake2b, number: bytes, attempt: bytes) -> bytes:
    copy = signer.copy()
    copy.update(number + attempt)
    return b2a_base64(number + copy.digest(), newline=False).translate(_URL_SAFE)
