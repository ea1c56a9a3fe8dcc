"""Email -> the octets that go to a recipient (RFC 5322): rendered once, the few fields of each recipient put in.

What is the same for all recipients is one piece of bytes, its dots stuffed already; what a recipient costs is one
`join`. At full speed `smtp_data` runs 80,000 times a second while all connections wait: measure what you add to it.
"""

from __future__ import annotations

import re
import time

from delivery.address import domain_of, header_address
from delivery.body import entity, parts_of, size_bound
from delivery.errors import MessageError
from delivery.header import check_text, field, mailbox_words, split_mailbox, text_words

__all__ = ["Message", "MessageError"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL = re.compile(r"https?://[!#-;=?-~]{1,900}")
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
        reply_to: str | None,
        token: str,
    ) -> None:
        """`token` is the random value that is stored with the email; `reply_to` is a mailbox, named or not."""
        if not _TOKEN.fullmatch(token):
            raise MessageError(f"the token {token!a} does not fit into a Message-ID")
        sender = header_address(sender_address)
        self.event_id = event_id
        self.sender_address = sender.decode("utf-8")  # for the envelope; its domain is in A-labels
        self._token = token
        self._message_id = f"<{token}.%d@{domain_of(sender).replace('%', '%%')}>"
        self._parts = parts_of(content)
        self._fields = _common_fields(subject, sender_name, sender_address, reply_to)
        self.size = _RECIPIENT + len(self._fields) + size_bound(self._parts)  # no recipient gets more octets
        self._plain: dict[bool, bytes] = {}
        self._stuffed: dict[bool, bytes] = {}
        self._at = -1.0
        self._first_fields = b""  # with holes for the address and the recipient_id

    def message_id(self, recipient_id: int) -> str:
        """The value of Message-ID, in its angle brackets: the same whenever this email is sent to this recipient."""
        return self._message_id % recipient_id

    def octets(
        self, address: str, recipient_id: int, at: float, *, eight_bit: bool, unsubscribe: str | None = None
    ) -> bytes:
        """The message to `address`, sent `at` seconds since 1970 UTC, with CRLF line ends.

        Without `eight_bit` the content is ASCII. `unsubscribe` is the URL of one-click unsubscribe.
        """
        if eight_bit not in self._plain:
            self._plain[eight_bit] = self._render(eight_bit=eight_bit)
        return self._first(address, recipient_id, at, unsubscribe) + self._plain[eight_bit]

    def smtp_data(
        self, address: str, recipient_id: int, at: float, *, eight_bit: bool, unsubscribe: str | None = None
    ) -> bytes:
        """What follows the 354: `octets` with dots stuffed, and the line with a dot that ends it."""
        if eight_bit not in self._stuffed:
            # No field begins with a dot, and the content follows an empty line: all that need one are found.
            stuffed = self._render(eight_bit=eight_bit).replace(b"\r\n.", b"\r\n..")
            self._stuffed[eight_bit] = stuffed + b".\r\n"
        return self._first(address, recipient_id, at, unsubscribe) + self._stuffed[eight_bit]

    def _render(self, *, eight_bit: bool) -> bytes:
        return self._fields + entity(self._parts, self._token, eight_bit=eight_bit)

    def _first(self, address: str, recipient_id: int, at: float, unsubscribe: str | None) -> bytes:
        """The fields that each recipient has for itself."""
        if at != self._at:  # it is the same for all that are sent in one round
            self._at = at
            fields = f"Date: {_date(int(at))}\r\nTo: %b\r\nMessage-ID: {self._message_id}\r\n"
            self._first_fields = fields.encode("ascii")
        first = self._first_fields % (header_address(address), recipient_id)
        return first + _unsubscribe_fields(unsubscribe) if unsubscribe else first


def _common_fields(subject: str, sender_name: str, sender_address: str, reply_to: str | None) -> bytes:
    check_text("subject", subject)
    check_text("sender's name", sender_name)
    fields = [
        field("From", mailbox_words(sender_name, sender_address)),
        field("Subject", text_words(subject)),
        b"Auto-Submitted: auto-generated\r\n",
        b"MIME-Version: 1.0\r\n",
    ]
    if reply_to:
        check_text("Reply-To address", reply_to)
        fields.insert(1, field("Reply-To", mailbox_words(*split_mailbox(reply_to))))
    return b"".join(fields)


def _unsubscribe_fields(url: str) -> bytes:
    if not _URL.fullmatch(url):
        raise MessageError(f"{url[:80]!a} does not fit into List-Unsubscribe")
    field = f"List-Unsubscribe: <{url}>\r\n".encode("ascii")
    # One click is for https alone (RFC 8058, 3.1).
    return field + b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if url.startswith("https:") else field


def _date(second: int) -> str:
    """As RFC 5322 has it. Not `strftime`, which knows the host's language."""
    at = time.gmtime(second)
    date = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
    return f"{date} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
