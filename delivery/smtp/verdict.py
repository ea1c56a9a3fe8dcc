"""What a reply means for the message it is about (RFC 5321 section 4.2.1).

Replies are judged by their first digit. The exceptions: 552 to RCPT without an enhanced code is the old
"too many recipients" and temporary; a 5yz to MAIL speaks of the session (the sender, a login that is missing)
unless it speaks of this message's size, parameters or content.
"""

from __future__ import annotations

from delivery.interface import Kind
from delivery.smtp.command import Step
from delivery.smtp.reply import Reply


def verdict(step: Step, reply: Reply) -> Kind | None:
    """The kind of outcome that a 2yz to the content or a 4yz or 5yz stands for; None: the session is refused."""
    if reply.code < 300:
        return Kind.SENT
    if reply.code < 500:
        return Kind.DEFERRED
    if step is Step.RCPT and reply.code == 552 and not reply.enhanced:
        return Kind.DEFERRED
    if step is Step.MAIL and not _blames_message(reply):
        return None
    return Kind.FAILED


def _blames_message(reply: Reply) -> bool:
    return reply.code in (552, 555) or reply.enhanced == "5.3.4" or reply.enhanced.startswith("5.6.")


def out_of_order(reply: Reply) -> bool:
    """Whether the server says that it did not expect this command: it trips over commands sent together."""
    return reply.code in (500, 502, 503) or reply.enhanced in ("5.5.0", "5.5.1")


def idled_out(reply: Reply) -> bool:
    """Whether a 421 says that the server had closed the idle connection before it saw our command."""
    return reply.enhanced == "4.4.2"
