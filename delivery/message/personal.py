"""An email with placeholders: rendered once, with each recipient's personal fields filled in.

`PersonalMessage` is what all recipients share. Its `for_recipient` checks that there is a value for each placeholder,
and returns the message to one recipient, which has the same methods as a `Message`.

How a value is escaped depends on where it is (`Context`) and on the part. In HTML it is escaped as text; in a URL it is
also percent-encoded. The plain-text part that is made from HTML has the values as they are, and URLs as in the HTML.

Nearly all values are plain: printable ASCII that HTML does not escape, without a dot at the beginning. If all values of
a recipient are plain and short, they go into the message as they are, and everything but the values in URLs and the
subject is prepared beforehand: `_Layout`. The others take the general path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote

from delivery.errors import MessageError
from delivery.message.footer import PLACEHOLDER as TOKEN_MARK
from delivery.message.footer import html_with_link, with_link
from delivery.message.header import field, text_words
from delivery.message.html_placeholders import parse_html
from delivery.message.message import Message
from delivery.message.mime import (
    MAX_PART_HEADER_BYTES,
    TOKEN_LENGTH,
    base64_length,
    check_characters,
    html_to_text,
    is_html,
    normalized,
)
from delivery.message.personal_encoding import Form, PersonalEntity, PersonalPart
from delivery.message.placeholders import UNSAFE, Context, Placeholder, Template, is_url, parse_text
from delivery.message.unsubscribe import Links

MAX_SUBJECT_BYTES = 998  # the limit of one unfolded header line (RFC 5322, section 2.1.1)
MAX_VALUE_BYTES = 12_000  # a value of 1,000 characters, percent-encoded

_HTML_SPECIAL = b"&<>\"'"
_is_unreserved = re.compile("[A-Za-z0-9._~-]*+").fullmatch  # RFC 3986, section 2.3
# Leaves printable ASCII as it is, and changes everything else, & < > " ' and =, which could complete a boundary.
_UNUSUAL_CHANGED = bytes(
    octet if 0x20 <= octet < 0x7F and octet not in b"&<>\"'=" else 0 if octet else 1 for octet in range(256)
)
_MAX_EXPANSION = 3  # octets for one in a percent-encoded URL
_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%-._~"  # what `quote` leaves alone in a whole URL (RFC 3986, section 2.2)
_SUBJECT_MARK = "{{ subject }}"
_SUBJECT_FIELD = b"Subject: {{ subject }}\r\n"
_URL_BEGINNING = "https://"  # of a URL that begins with a placeholder, while HTML is turned into plain text
TOKEN_SLOT = 0  # the index of the token in the escaped values, if there is one
_DIGITS = str.maketrans("0123456789", "abcdefghij")


Escaping = Callable[[bytes], bytes]


class MissingValue(MessageError):
    """A recipient has no value for a placeholder without a default."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no value for {{{{ {name} }}}}")
        self.name = name


class Preview(NamedTuple):
    """What a recipient will see. `html` is empty if the email is plain text.

    `missing` are the names for which there is no value; the placeholders stay visible. `problem` is why the recipient
    gets no message, or empty.
    """

    subject: str
    plain: str
    html: str
    missing: list[str]
    problem: str


class PersonalTexts(NamedTuple):
    """The parsed subject and content of an email with placeholders."""

    subject: Template
    content: Template

    @property
    def placeholders(self) -> list[Placeholder]:
        return [*self.subject.placeholders, *self.content.placeholders]

    def required_names(self) -> list[str]:
        """Return the names that every recipient must have a value for, in the order in which they first occur."""
        return list(dict.fromkeys(each.name for each in self.placeholders if each.default is None))


def parse_content(content: str) -> Template:
    """Return the template of an email's content. Raises PlaceholderError, or MessageError for invalid characters."""
    check_characters(content)
    return parse_html(content) if is_html(content) else parse_text(content)


def parse_texts(subject: str, content: str) -> PersonalTexts:
    """Return the templates of an email. Raises PlaceholderError."""
    return PersonalTexts(parse_text(subject), parse_content(content))


class PersonalMessage(Message):
    """One email with placeholders. As a Message, it is the message to a recipient without personal fields."""

    def __init__(
        self, *, subject: str, content: str, token: str, unsubscribe: Links | None = None, **others: Any
    ) -> None:
        """Render an email. The arguments are those of Message. Raises PlaceholderError, or another MessageError."""
        super().__init__(subject=_SUBJECT_MARK, content="", token=token, unsubscribe=unsubscribe, **others)
        self.texts = parse_texts(subject, content)
        self._wanted: dict[tuple[str, str | None], int] = {}  # an index for each name and default
        for each in self.texts.placeholders:
            self._wanted.setdefault((each.name, each.default), len(self._wanted))
        self._urls = {  # indices of the values that must be URLs
            self._index(each) for each in self.texts.placeholders if each.context is Context.WHOLE_URL
        }
        self._subject_indices = [self._index(each) for each in self.texts.subject.placeholders]
        self._named = list(self._wanted)
        self._layouts: dict[bool, _Layout | None] = {}  # None: plain values do not fit, either
        self._first_slot = 0 if unsubscribe is None else 1  # after the token
        self._slots: dict[tuple[int, Escaping | None], int] = {}  # an index for each value and way of escaping
        self._personal_parts = parts = self._parts_of(content, unsubscribe.prefix if unsubscribe else None)
        # The same without escaping for HTML, for recipients whose values have no characters that HTML escapes.
        self._plain_slots = [(index, None if escaping is _html else escaping) for index, escaping in self._slots]
        self._before_subject, _, after_subject = self._fields.partition(_SUBJECT_FIELD)
        if not self._subject_indices:
            self._before_subject += field("Subject", text_words(self.texts.subject.filled([])))
        self._entity = PersonalEntity(after_subject, parts, token)
        self._escaped_slots = [
            (index, escaping) for index, escaping in self._slots if escaping and escaping is not _html
        ]
        # What is needed for each recipient, in one attribute: an object with so many has no fast ones.
        self._plain_path: tuple[Callable[[Mapping[str, str]], Sequence[str]], int, bool, str, int] = (
            _getter([name for name, _ in self._named]),
            self._entity.room // (_MAX_EXPANSION if self._escaped_slots else 1),  # octets for which no line is too long
            bool(self._urls),
            self.sender_address,
            self.ready_at,
        )
        self.size += sum(map(_size_bound, parts)) + len(self._before_subject) + 4 * MAX_SUBJECT_BYTES

    @property
    def has_placeholders(self) -> bool:
        """Whether the message depends on the recipient's personal fields."""
        return bool(self._wanted)

    def for_recipient(self, fields: Mapping[str, str]) -> RecipientMessage:
        """Return the message to a recipient with these personal fields.

        Raises MissingValue, or MessageError if a value cannot be used.
        """
        values_of, room, has_urls, sender_address, ready_at = self._plain_path
        try:
            values = values_of(fields)
            text = "".join(values)
            octets = text.encode()
        except (KeyError, UnicodeEncodeError):
            return self._for_unusual(fields)
        if octets.translate(_UNUSUAL_CHANGED) != octets or len(octets) > room or "" in values:
            return self._for_unusual(fields)
        if "." in text and any(value[0] == "." for value in values):
            return self._for_unusual(fields)
        if has_urls:
            self._check_urls(values)
        return _new_recipient_message((self, values, True, False, sender_address, ready_at))

    def _for_unusual(self, fields: Mapping[str, str]) -> RecipientMessage:
        values = []
        changes_dots = False
        for name, default in self._named:
            value = fields.get(name) or default
            if value is None:
                raise MissingValue(name)
            values.append(value)
            changes_dots = changes_dots or value[:1] in "."  # so is an empty value
        if not "".join(values).isprintable():
            self._check_characters(values)
        if self._urls:
            self._check_urls(values)
        return self._message_with(values, changes_dots=changes_dots)

    def _message_with(self, values: Sequence[str], *, changes_dots: bool = False) -> RecipientMessage:
        return RecipientMessage(self, values, False, changes_dots, self.sender_address, self.ready_at)

    def sample(self) -> RecipientMessage:
        """Return a message that has the placeholders themselves in place of the values."""
        return self._message_with([_visible(name) for name, _ in self._named])

    def preview(self, fields: Mapping[str, str]) -> Preview:
        """Return what a recipient with these personal fields will see. In the unsubscribe link, x is the token."""
        missing = [name for name in self.texts.required_names() if not fields.get(name)]
        problem = ""
        try:
            self.for_recipient(fields)
        except MessageError as error:
            problem = str(error)
        shown = [fields.get(name) or (_visible(name) if default is None else default) for name, default in self._named]
        values = [UNSAFE.sub("\ufffd", value) for value in shown]
        escaped = self._escaped(values, None if self._links is None else b"x" * TOKEN_LENGTH)
        parts = {part.subtype: part.filled(escaped).decode("utf-8") for part in self._personal_parts}
        subject = self.texts.subject.filled([values[index] for index in self._subject_indices])
        return Preview(subject, parts[b"plain"], parts.get(b"html", ""), missing, problem)

    def as_bytes(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        return self.for_recipient({}).as_bytes(address, recipient_id, at, eight_bit=eight_bit)

    def smtp_data(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        return self.for_recipient({}).smtp_data(address, recipient_id, at, eight_bit=eight_bit)

    def filled(self, values: Sequence[str], address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """Return the message to `address` with these values, one for each name and default. Raises MessageError."""
        beginning, octets = self._beginning(values, address, recipient_id, at)
        return b"".join(beginning + self._entity.form_for(octets, eight_bit=eight_bit).filled(octets))

    def stuffed(
        self, values: Sequence[str], address: str, recipient_id: int, at: float, *, eight_bit: bool, changes_dots: bool
    ) -> bytes:
        """Return the same with dots stuffed, but without the final line.

        `changes_dots` says whether a value is empty or begins with a dot, so that other dots than those of the template
        may begin a line.
        """
        beginning, octets = self._beginning(values, address, recipient_id, at)
        form = self._entity.form_for(octets, eight_bit=eight_bit)
        if changes_dots and not form.is_encoded:
            return b"".join(beginning + form.filled(octets)).replace(b"\r\n.", b"\r\n..")
        return b"".join(beginning + form.stuffed(octets))

    def plain_data(
        self, values: Sequence[str], address: str, recipient_id: int, at: float, *, eight_bit: bool
    ) -> bytes | None:
        """Return what follows the 354 reply, or None if even plain values have to be encoded.

        `values` must be plain and short.
        """
        layout = self._layouts[eight_bit] if eight_bit in self._layouts else self._new_layout(eight_bit=eight_bit)
        if layout is None:
            return None
        pieces, escaped, links, has_subject, in_order = layout
        if escaped or links is not None or has_subject:
            values = [*values]
            for index, escaping in escaped:
                value = values[index]
                values.append(value if _is_unreserved(value) else escaping(value.encode()).decode("ascii"))
            if links is not None:
                values.append(links.token(recipient_id).decode("ascii"))
            if has_subject:
                values.append(self._subject_field(values).decode("ascii"))
        pieces = pieces.copy()
        pieces[1::2] = in_order(values)
        return self._first(address, recipient_id, at) + "".join(pieces).encode("latin-1")

    def _new_layout(self, *, eight_bit: bool) -> _Layout | None:
        """Return the layout for plain values, or None if they have to be encoded."""
        form = self._entity.form_for([b""], eight_bit=eight_bit)
        self._layouts[eight_bit] = layout = None if form.is_encoded else self._layout_of(form)
        return layout

    def _layout_of(self, form: Form) -> _Layout:
        end = len(self._named)
        places: dict[tuple[int, Escaping | None], int]
        places = {slot: end + number for number, slot in enumerate(self._escaped_slots)}
        of_slot = [places.get(slot, slot[0]) for slot in self._slots]
        end += len(places)
        segments: list[bytes | int] = []
        if self._links is not None:
            of_slot.insert(TOKEN_SLOT, end)
            segments.append(end)
            end += 1
        segments.append(self._before_subject)
        if self._subject_indices:
            segments.append(end)
        segments += [of_slot[each] if isinstance(each, int) else each for each in form.stuffed_segments()]
        pieces, order = [b""], []
        for segment in [*segments, b".\r\n"]:
            if isinstance(segment, int):
                pieces.append(b"")
                order.append(segment)
            else:
                pieces[-1] += segment
        between = [text for piece in pieces for text in (piece.decode("latin-1"), "")][:-1]
        return _Layout(between, self._escaped_slots, self._links, bool(self._subject_indices), _items(order))

    def _beginning(
        self, values: Sequence[str], address: str, recipient_id: int, at: float
    ) -> tuple[list[bytes], list[bytes]]:
        """Return what precedes the entity, in pieces, and the escaped values for the entity."""
        beginning = [self._first(address, recipient_id, at)]
        token = None if self._links is None else self._links.token(recipient_id)
        if token is not None:
            beginning.append(token)
        beginning.append(self._before_subject)
        if self._subject_indices:
            beginning.append(self._subject_field(values))
        return beginning, self._escaped(values, token)

    def _escaped(self, values: Sequence[str], token: bytes | None) -> list[bytes]:
        """Return the values as they are written in the parts, each once for each way of escaping, after the token."""
        raw = [value.encode("utf-8") for value in values]
        together = b"".join(raw)
        is_plain = len(together.translate(None, _HTML_SPECIAL)) == len(together)
        slots = self._plain_slots if is_plain else self._slots
        octets = [raw[index] if escaping is None else escaping(raw[index]) for index, escaping in slots]
        return octets if token is None else [token, *octets]

    def _check_characters(self, values: Sequence[str]) -> None:
        for (name, _), value in zip(self._named, values, strict=True):
            if unsafe := UNSAFE.search(value):
                raise MessageError(f"the value of {_visible(name)} contains U+{ord(unsafe.group()):04X}")

    def _check_urls(self, values: Sequence[str]) -> None:
        for index in self._urls:
            if not is_url(values[index]):
                name = _visible(self._named[index][0])
                raise MessageError(f"the value of {name} does not begin with https://, http:// or mailto:")

    def _index(self, placeholder: Placeholder) -> int:
        return self._wanted[placeholder.name, placeholder.default]

    def _subject_field(self, values: Sequence[str]) -> bytes:
        subject = self.texts.subject.filled([values[index] for index in self._subject_indices])
        if len(subject) > MAX_SUBJECT_BYTES // 4 and len(subject.encode()) > MAX_SUBJECT_BYTES:
            raise MessageError(f"the subject with this recipient's values is longer than {MAX_SUBJECT_BYTES} bytes")
        return field("Subject", text_words(subject))

    def _parts_of(self, content: str, link: str | None) -> list[PersonalPart]:
        template = self.texts.content
        marks = _Marks(content, len(template.placeholders))
        text = template.filled(marks.texts)
        if not is_html(content):
            return [self._part("plain", text if link is None else with_link(text, link), marks)]
        html = text if link is None else html_with_link(text, link)
        plain = self._plain_text(marks)
        return [
            self._part("plain", plain if link is None else with_link(plain, link), marks),
            self._part("html", html, marks),
        ]

    def _plain_text(self, marks: _Marks) -> str:
        """Return the content, which is HTML, as plain text with marks. A link that repeats its text is left out."""
        template = self.texts.content
        whole = [each.context is Context.WHOLE_URL for each in template.placeholders]
        marked = [(_URL_BEGINNING if is_url else "") + mark for is_url, mark in zip(whole, marks.texts, strict=True)]
        text = html_to_text(template.filled(marked))

        def without_repetition(match: re.Match[str]) -> str:
            label, target = (template.placeholders[marks.index(mark)] for mark in match.groups())
            return match[1] if self._index(label) == self._index(target) else match[0]

        text = re.sub(f"({marks.pattern}) <{_URL_BEGINNING}({marks.pattern})>", without_repetition, text)
        return re.sub(f"{_URL_BEGINNING}({marks.pattern})", r"\1", text)

    def _part(self, subtype: str, text: str, marks: _Marks) -> PersonalPart:
        escapes = _IN_HTML if subtype == "html" else _IN_TEXT
        split = re.split(f"({TOKEN_MARK}|{marks.pattern})", normalized(text).decode("utf-8"))
        slots = [TOKEN_SLOT if mark == TOKEN_MARK else self._slot(marks.index(mark), escapes) for mark in split[1::2]]
        lengths = {TOKEN_SLOT: TOKEN_LENGTH} if TOKEN_MARK in split else {}
        return PersonalPart(subtype.encode("ascii"), [piece.encode("utf-8") for piece in split[::2]], slots, lengths)

    def _slot(self, number: int, escapes: Mapping[Context, Escaping]) -> int:
        placeholder = self.texts.content.placeholders[number]
        value = self._index(placeholder), escapes.get(placeholder.context)
        return self._slots.setdefault(value, self._first_slot + len(self._slots))


class _Layout(NamedTuple):
    """How a message with plain values is joined after the fields of `_first`: as text, since that takes half the time.

    What goes between the pieces comes from one list: the values, those escaped in URLs, the token, the subject.
    """

    pieces: list[str]  # the octets that are the same for all recipients, with dots stuffed; every second is left empty
    escaped: list[tuple[int, Escaping]]
    links: Links | None
    has_subject: bool  # whether the subject has placeholders
    in_order: Callable[[Sequence[str]], Sequence[str]]


class RecipientMessage(NamedTuple):
    """The message to one recipient."""

    message: PersonalMessage
    values: Sequence[str]  # one for each name and default
    is_plain: bool  # whether all values are plain, and short
    changes_dots: bool  # see `stuffed`
    sender_address: str
    ready_at: int

    def message_id(self, recipient_id: int) -> str:
        """Return the Message-ID in angle brackets, as for a Message."""
        return self.message.message_id(recipient_id)

    def as_bytes(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """Return the message, as for a Message."""
        return self.message.filled(self.values, address, recipient_id, at, eight_bit=eight_bit)

    def smtp_data(self, address: str, recipient_id: int, at: float, *, eight_bit: bool) -> bytes:
        """Return what follows the 354 reply, as for a Message."""
        message, values, is_plain, changes_dots, _, _ = self
        if is_plain:
            data = message.plain_data(values, address, recipient_id, at, eight_bit=eight_bit)
            if data is not None:
                return data
        octets = message.stuffed(values, address, recipient_id, at, eight_bit=eight_bit, changes_dots=changes_dots)
        return octets + b".\r\n"


# As for an Envelope, faster than the generated constructor.
_new_recipient_message: Callable[[tuple[PersonalMessage, Sequence[str], bool, bool, str, int]], RecipientMessage] = (
    partial(tuple.__new__, RecipientMessage)
)


class _Marks:
    """Words in place of the placeholders while HTML is turned into plain text. The content contains none of them."""

    def __init__(self, content: str, number: int) -> None:
        beginning = "zqq"
        lower = content.lower()
        while beginning in lower:
            beginning += "q"
        self.texts = [beginning + f"{index:04}".translate(_DIGITS) for index in range(number)]
        self.pattern = f"{beginning}[a-j]{{4}}"
        self._index = {text: index for index, text in enumerate(self.texts)}

    def index(self, mark: str) -> int:
        """Return which placeholder a mark stands for."""
        return self._index[mark]


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, str]], Sequence[str]]:
    """Return a function that returns the values of these names. It raises KeyError."""
    if len(names) > 1:
        getter: Callable[[Mapping[str, str]], Sequence[str]] = itemgetter(*names)
        return getter
    return lambda fields: [fields[name] for name in names]


def _items(indices: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Return a function that returns the items at these indices."""
    if len(indices) > 1:
        getter: Callable[[Sequence[str]], Sequence[str]] = itemgetter(*indices)
        return getter
    return lambda values: [values[index] for index in indices]


def _visible(name: str) -> str:
    return f"{{{{ {name} }}}}"


def _html(octets: bytes) -> bytes:
    return escape(octets.decode("utf-8")).encode("utf-8")


def _url(octets: bytes) -> bytes:
    return quote(octets, safe="").encode("ascii")


def _mailto(octets: bytes) -> bytes:
    return quote(octets, safe="@").encode("ascii")


def _phone(octets: bytes) -> bytes:
    return quote(octets, safe="+").encode("ascii")


def _whole_url(octets: bytes) -> bytes:
    return quote(octets, safe=_URL_CHARACTERS).encode("ascii")


def _whole_url_in_html(octets: bytes) -> bytes:
    return _html(_whole_url(octets))


def _size_bound(part: PersonalPart) -> int:
    text = sum(map(len, part.pieces))
    quoted = 3 * MAX_VALUE_BYTES + TOKEN_LENGTH
    return MAX_PART_HEADER_BYTES + max(base64_length(text), 3 * text) + len(part.slots) * quoted


# How a value is escaped in each context; not at all in those that are left out.
_IN_TEXT: dict[Context, Escaping] = {Context.URL: _url, Context.WHOLE_URL: _whole_url}
_IN_HTML: dict[Context, Escaping] = {
    Context.HTML: _html,
    Context.MAILTO: _mailto,
    Context.PHONE: _phone,
    Context.URL: _url,
    Context.WHOLE_URL: _whole_url_in_html,
}
