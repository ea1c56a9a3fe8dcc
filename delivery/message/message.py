"""Email -> the octets that go to a recipient (RFC 5322): rendered once, the few fields of each recipient put in.

What is the same for all recipients is one piece of bytes, its dots stuffed already; what a recipient costs is one
`join`. At full speed `smtp_data` runs 80,000 times a second while all connections wait: measure what you add to it.
"""

from __future__ import annotations

import re
import time

from delivery.errors import MessageError
from delivery.message.address import domain_of, header_address
from delivery.message.header import check_text, field, mailbox_words, text_words
from delivery.message.mime import Entity, Hole, entity, fill, parts_of, size_bound
from delivery.message.unsubscribe import Links

__all__ = ["Message", "MessageError"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(r"https?://[A-Za-z0-9._~%/:\[\]-]{1,600}")  # means the same in a header, a text and HTML
_RECIPIENT = 2048  # an upper bound of the fields that differ between recipients


class Message:
    """One email, rendered once. Raises MessageError when it cannot be built."""

    def __init__(
        self,
        *,
        event_id: int,
        subject: str,
        content: str,
        sender_name: str,
        sender_address: str,
        reply_to: tuple[str, str] | None,
        token: str,
        ready_at: int,
        unsubscribe: Links | None = None,
    ) -> None:
        """`token` is the random value that is stored with the email; `reply_to` is a name, which may be
        empty, and an address; `ready_at` is the second since 1970 UTC from which on the email could be sent.

        With `unsubscribe`, each recipient has a link in the header and at the end of the content.
        """
        if not _TOKEN.fullmatch(token):
            raise MessageError(f"the token {token!a} does not fit into a Message-ID")
        sender = header_address(sender_address)
        self.event_id = event_id
        self.ready_at = ready_at
        self.sender_address = sender.decode("utf-8")  # for the envelope; its domain is in A-labels
        self._token = token
        self._message_id = f"<{token}.%d@{domain_of(sender).replace('%', '%%')}>"
        self._links = unsubscribe
        self._parts = parts_of(content, unsubscribe.prefix if unsubscribe else None)
        self._fields = _common_fields(subject, sender_name, sender_address, reply_to)
        self.size = _RECIPIENT + len(self._fields) + size_bound(self._parts)  # no recipient gets more octets
        self._header_link, behind_token = _unsubscribe_fields(unsubscribe.prefix) if unsubscribe else (b"", b"")
        self._fields = behind_token + self._fields
        self._plain: dict[bool, Entity] = {}
        self._stuffed: dict[bool, Entity] = {}
        self._at = -1.0
        self._first_fields = b""  # with holes for the address and the recipient_id

    def message_id(self, recipient_id: int) -> str:
        """The value of Message-ID, in its angle brackets: the same whenever this email is sent to this recipient."""
        return self._message_id % recipient_id

    def octets(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """The message to `address`, sent `at` seconds since 1970 UTC, with CRLF line ends.

        Without `eight_bit` the content is ASCII.
        """
        if eight_bit not in self._plain:
            self._plain[eight_bit] = self._render(eight_bit=eight_bit)
        first, rest = self._first(address, recipient_id, at), self._plain[eight_bit]
        return first + rest[0][0] if self._links is None else fill(first, rest, self._links.token(recipient_id))

    def smtp_data(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """What follows the 354: `octets` with dots stuffed, and the line with a dot that ends it."""
        if eight_bit not in self._stuffed:
            self._stuffed[eight_bit] = _stuffed(self._render(eight_bit=eight_bit))
        first, rest = self._first(address, recipient_id, at), self._stuffed[eight_bit]
        return first + rest[0][0] if self._links is None else fill(first, rest, self._links.token(recipient_id))

    def _render(self, *, eight_bit: bool) -> Entity:
        """What follows the first fields and, with links, the token that ends these."""
        (first, *others), holes = entity(self._parts, self._token, eight_bit=eight_bit)
        named = [Hole(), *holes] if any(hole.is_base64 for hole in holes) else []
        return Entity([self._fields + first, *others], named)

    def _first(self, address: str, recipient_id: int, at: float) -> bytes:
        """The fields that each recipient has for itself, up to the first hole."""
        if at != self._at:  # it is the same for all that are sent in one round
            self._at = at
            fields = f"Date: {_date(int(at))}\r\nTo: %b\r\nMessage-ID: {self._message_id}\r\n"
            self._first_fields = fields.encode("ascii") + self._header_link
        return self._first_fields % (header_address(address), recipient_id)


def _stuffed(octets: Entity) -> Entity:
    """No field begins with a dot, the content follows an empty line, and no hole ends a line: all dots are found."""
    *others, last = [piece.replace(b"\r\n.", b"\r\n..") for piece in octets.pieces]
    return Entity([*others, last + b".\r\n"], octets.holes)


def _common_fields(subject: str, sender_name: str, sender_address: str, reply_to: tuple[str, str] | None) -> bytes:
    check_text("subject", subject)
    check_text("sender's name", sender_name)
    fields = [
        field("From", mailbox_words(sender_name, sender_address)),
        field("Subject", text_words(subject)),
        b"Auto-Submitted: auto-generated\r\n",
        b"MIME-Version: 1.0\r\n",
    ]
    if reply_to:
        check_text("Reply-To address", " ".join(reply_to))
        fields.insert(1, field("Reply-To", mailbox_words(*reply_to)))
    return b"".join(fields)


def _unsubscribe_fields(prefix: str) -> tuple[bytes, bytes]:
    """What stands before a token, with holes as in `_first`, and behind it."""
    if not _LINK.fullmatch(prefix):
        raise MessageError(f"{prefix[:80]!a} does not fit into List-Unsubscribe")
    # One click is for https alone (RFC 8058, 3.1).
    one_click = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if prefix.startswith("https:") else b""
    return f"List-Unsubscribe: <{prefix.replace('%', '%%')}".encode("ascii"), b">\r\n" + one_click


def _date(second: int) -> str:
    """As RFC 5322 has it. Not `strftime`, which knows the host's language."""
    at = time.gmtime(second)
    date = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
    return f"{date} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
