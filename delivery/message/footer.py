"""Append the unsubscribe link to a text. PLACEHOLDER stands for the recipient's token."""

from __future__ import annotations

from delivery.message.html_tokens import TOKEN, unclosed_at

PLACEHOLDER = "\0"  # never occurs in content


def with_link(text: str, prefix: str) -> str:
    """Append the link to plain text, as a separate paragraph."""
    line_end = "" if not text or text.endswith(("\r", "\n")) else "\r\n"
    return f"{text}{line_end}\r\nUnsubscribe: {prefix}{PLACEHOLDER}\r\n"


def html_with_link(html: str, prefix: str) -> str:
    """Add the link at the end of the HTML body, whether or not there is a `</body>`.

    It goes before any unclosed comment, style sheet or the like, which would swallow it.
    """
    ends = {tag["tag"].lower(): tag.start() for tag in TOKEN.finditer(html) if tag["slash"]}
    end = ends["body"] if "body" in ends else ends["html"] if "html" in ends else unclosed_at(html)
    link = f'\r\n<p><small><a href="{prefix}{PLACEHOLDER}">Unsubscribe</a></small></p>\r\n'
    return html[:end] + link + html[end:]
