"""What a reply means for the message it is about (RFC 5321 section 4.2.1).

The first digit of a reply decides, with two exceptions. 552 to RCPT without an enhanced code is the old "too many
recipients", and temporary. 5yz to MAIL is about the session (the sender, a missing login) unless it is about this
message's size, parameters or content.
"""

from __future__ import annotations

from delivery.interface import Kind
from delivery.smtp.command import Step
from delivery.smtp.reply import Reply


def classify_reply(step: Step, reply: Reply) -> Kind | None:
    """Return the kind of outcome for a 2yz to the content, or for any 4yz or 5yz; None: the session is refused."""
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


def is_out_of_sequence(reply: Reply) -> bool:
    """Whether the server did not expect this command: it cannot follow commands that are sent together."""
    return reply.code in (500, 502, 503) or reply.enhanced in ("5.5.0", "5.5.1")


def is_idle_timeout(reply: Reply) -> bool:
    """Whether a 421 means that the server closed the idle connection before it read our command."""
    return reply.enhanced == "4.4.2"
