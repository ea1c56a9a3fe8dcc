"""Append the unsubscribe link to a text. PLACEHOLDER stands for the recipient's token."""

from __future__ import annotations

from delivery.message.html_tokens import TOKEN, unclosed_at
from delivery.message.inline_style import HIDING_TAGS, effects_of
from delivery.message.open_elements import MAKING_ROOM, VOID, OpenElements

PLACEHOLDER = "\0"  # never occurs in content
MAX_CLOSED = 500  # hidden elements; hostile markup may have a million
_VISIBLE = ' style="visibility:visible;font-size:13px"'


def with_link(text: str, prefix: str) -> str:
    """Append the link to plain text, as a separate paragraph."""
    line_end = "" if not text or text.endswith(("\r", "\n")) else "\r\n"
    return f"{text}{line_end}\r\nUnsubscribe: {prefix}{PLACEHOLDER}\r\n"


def html_with_link(html: str, prefix: str) -> str:
    """Add the link at the end of the HTML body, whether or not there is a `</body>`.

    It goes before any unclosed comment, style sheet or the like, which would swallow it. Elements that are still open
    there and would hide it are closed. If there are too many of them, it goes to the beginning of the body.
    """
    ends = {tag["tag"].lower(): tag.start() for tag in TOKEN.finditer(html) if tag["slash"]}
    end = ends["body"] if "body" in ends else ends["html"] if "html" in ends else unclosed_at(html)
    elements = _open_elements(html[:end])
    closed = elements.close_hidden()
    style = _VISIBLE if elements.state else ""
    link = f'\r\n<p{style}><small><a href="{prefix}{PLACEHOLDER}">Unsubscribe</a></small></p>\r\n'
    if len(closed) > MAX_CLOSED:
        start = _start_of_body(html)
        return html[:start] + link + html[start:]
    return html[:end] + "".join(f"</{tag}>" for tag in closed) + link + html[end:]


def _open_elements(html: str) -> OpenElements:
    """Return the elements that are open at the end."""
    elements = OpenElements(lambda _tag, _effects: None)
    for token in TOKEN.finditer(html):
        if token.lastgroup != "attributes":
            continue
        slash, tag, attributes = token.group("slash", "tag", "attributes")
        tag = tag.lower()
        if slash:
            elements.close(tag)
        elif tag not in VOID and not elements.ignores(tag):
            if tag in MAKING_ROOM:
                elements.make_room(tag)
            effects = effects_of(tag, attributes) if attributes or tag in HIDING_TAGS else None
            elements.open(tag, effects, was_followed=False)
    return elements


def _start_of_body(html: str) -> int:
    """Return the place after the first start tag of the body, or else of the page; 0 if there is none."""
    starts: dict[str, int] = {}
    for token in TOKEN.finditer(html):
        if token["tag"] and not token["slash"]:
            starts.setdefault(token["tag"].lower(), token.end())
    return starts.get("body", starts.get("html", 0))
