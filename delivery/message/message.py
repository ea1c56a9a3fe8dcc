"""Turn an email into the bytes sent to a recipient (RFC 5322): rendered once, with a few fields filled in for each.

Everything that is the same for all recipients is one bytes object, with its dots already stuffed. Each recipient costs
one `join`. `smtp_data` can run 80,000 times a second, and all connections wait for it: measure what you add to it.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from delivery.errors import MessageError
from delivery.message.address import domain_of, header_address
from delivery.message.header import check_text, field, mailbox_words, phrase_words, text_words
from delivery.message.mime import Entity, Placeholder, entity, fill, parts_of, size_bound
from delivery.message.unsubscribe import Links

__all__ = ["MailingList", "Message", "MessageError"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(r"https?://[A-Za-z0-9._~%/:\[\]-]{1,600}")  # needs no escaping in a header, in text or in HTML
_MAX_RECIPIENT_BYTES = 2048  # an upper bound for the fields that differ between recipients


class MailingList(NamedTuple):
    """The list of an email to exactly one list. `label` identifies it within the sender's domain, and never changes."""

    name: str
    label: str


class Message:
    """One email, rendered once. Raises MessageError if it cannot be built."""

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
        mailing_list: MailingList | None = None,
    ) -> None:
        """Render an email.

        `token` is the random value stored with the email. `reply_to` is a name, which may be empty, and an address.
        `ready_at` is when the email could first be sent, in seconds since 1970 UTC. With `unsubscribe`, each recipient
        gets a link in the header and at the end of the content. `mailing_list` is set if the email goes to one list.
        """
        if not _TOKEN.fullmatch(token):
            raise MessageError(f"the token {token!a} cannot be used in a Message-ID")
        sender = header_address(sender_address)
        self.event_id = event_id
        self.ready_at = ready_at
        self.sender_address = sender.decode("utf-8")  # for the envelope, with its domain as A-labels
        self._token = token
        self._message_id = f"<{token}.%d@{domain_of(sender).replace('%', '%%')}>"
        # Some providers, such as Amazon SES and Brevo, replace the Message-ID but keep this field.
        self._delivery_id = f"X-Email-Delivery: {token}.%d"
        self._links = unsubscribe
        self._parts = parts_of(content, unsubscribe.prefix if unsubscribe else None)
        self._fields = _common_fields(subject, sender_name, sender_address, reply_to)
        self._fields += _fields_for_filters(event_id, mailing_list, domain_of(sender))
        self.size = _MAX_RECIPIENT_BYTES + len(self._fields) + size_bound(self._parts)  # octets, an upper bound
        self._header_link, after_token = _unsubscribe_fields(unsubscribe.prefix) if unsubscribe else (b"", b"")
        self._fields = after_token + self._fields
        self._plain: dict[bool, Entity] = {}
        self._stuffed: dict[bool, Entity] = {}
        self._at = -1.0
        self._first_fields = b""  # with placeholders for the address and the recipient_id

    def message_id(self, recipient_id: int) -> str:
        """Return the Message-ID in angle brackets. It is the same for every attempt to send to this recipient."""
        return self._message_id % recipient_id

    def as_bytes(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """Return the message to `address`, dated `at` (seconds since 1970 UTC), with CRLF line ends.

        Unless `eight_bit` is true, the content is ASCII.
        """
        if eight_bit not in self._plain:
            self._plain[eight_bit] = self._render(eight_bit=eight_bit)
        first, rest = self._first(address, recipient_id, at), self._plain[eight_bit]
        return first + rest[0][0] if self._links is None else fill(first, rest, self._links.token(recipient_id))

    def smtp_data(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """Return what follows the 354 reply: `as_bytes` with dots stuffed, then the line with the final dot."""
        if eight_bit not in self._stuffed:
            self._stuffed[eight_bit] = _stuffed(self._render(eight_bit=eight_bit))
        first, rest = self._first(address, recipient_id, at), self._stuffed[eight_bit]
        return first + rest[0][0] if self._links is None else fill(first, rest, self._links.token(recipient_id))

    def _render(self, *, eight_bit: bool) -> Entity:
        """Return everything after the fields of `_first` and, if there are links, after the token at their end."""
        (first, *others), placeholders = entity(self._parts, self._token, eight_bit=eight_bit)
        named = [Placeholder(), *placeholders] if any(placeholder.is_base64 for placeholder in placeholders) else []
        return Entity([self._fields + first, *others], named)

    def _first(self, address: str, recipient_id: int, at: float) -> bytes:
        """Return the fields of one recipient, up to the first placeholder."""
        if at != self._at:  # all messages of a round of the delivery loop have the same time
            self._at = at
            fields = f"Date: {_date(int(at))}\r\nTo: %b\r\nMessage-ID: {self._message_id}\r\n{self._delivery_id}\r\n"
            self._first_fields = fields.encode("ascii") + self._header_link
        return self._first_fields % (header_address(address), recipient_id, recipient_id)


def _stuffed(octets: Entity) -> Entity:
    """Stuff dots (RFC 5321, section 4.5.2).

    Searching for line breaks within each piece finds every dot: no field begins with one, a blank line precedes the
    content, and no placeholder ends a line.
    """
    *others, last = [piece.replace(b"\r\n.", b"\r\n..") for piece in octets.pieces]
    return Entity([*others, last + b".\r\n"], octets.placeholders)


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


def _fields_for_filters(event_id: int, mailing_list: MailingList | None, domain: str) -> bytes:
    """Return the fields by which email clients and providers sort messages.

    A List-Id (RFC 2919) must stay the same when its list is renamed, so the name is only the phrase before it.
    """
    fields = field("X-Event-Id", [b"%d" % event_id])
    if mailing_list is None:
        return fields
    check_text("list's name", mailing_list.name)
    # An address literal is not a domain; the RFC has `localhost` for lists without one (section 3).
    namespace = "localhost" if domain.startswith("[") else domain
    identifier = f"<{mailing_list.label}.{namespace}>".encode("ascii")
    return field("List-Id", [*phrase_words(mailing_list.name), identifier]) + fields


def _unsubscribe_fields(prefix: str) -> tuple[bytes, bytes]:
    """Return the fields before a token, as a template for `_first`, and the fields after it."""
    if not _LINK.fullmatch(prefix):
        raise MessageError(f"{prefix[:80]!a} cannot be used in List-Unsubscribe")
    # One-click unsubscribing requires https (RFC 8058, section 3.1).
    one_click = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if prefix.startswith("https:") else b""
    return f"List-Unsubscribe: <{prefix.replace('%', '%%')}".encode("ascii"), b">\r\n" + one_click


def _date(second: int) -> str:
    """Format a date (RFC 5322, section 3.3). `strftime` would depend on the locale."""
    at = time.gmtime(second)
    date = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
    return f"{date} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
