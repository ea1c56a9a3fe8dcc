"""Text -> the same with a link at its end, by which a recipient unsubscribes. HOLE stands for the recipient's token."""

from __future__ import annotations

from delivery.message.plain_text import TOKEN

HOLE = "\0"  # no content holds one


def with_link(text: str, prefix: str) -> str:
    """Plain text, and the link in a paragraph of its own."""
    line_end = "" if not text or text.endswith(("\r", "\n")) else "\r\n"
    return f"{text}{line_end}\r\nUnsubscribe: {prefix}{HOLE}\r\n"


def html_with_link(html: str, prefix: str) -> str:
    """HTML, and the link at the end of its body, whether or not that is marked."""
    ends = {tag["tag"].lower(): tag.start() for tag in TOKEN.finditer(html) if tag["slash"]}
    end = ends.get("body", ends.get("html", len(html)))
    link = f'\r\n<p><small><a href="{prefix}{HOLE}">Unsubscribe</a></small></p>\r\n'
    return html[:end] + link + html[end:]
