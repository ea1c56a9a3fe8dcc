"""Decide what a reply means for its message (RFC 5321, section 4.2.1).

The first digit of a reply decides, unless the refusal blames our account, our domain or the server (`blame.py`): then
the session is refused, whatever the code and the step. A 552 reply to RCPT without an enhanced code is the old "too
many recipients", which is temporary. A 5yz reply to MAIL is about the session (the sender address, a missing login)
unless it is about the size or content of this message.
"""

from __future__ import annotations

from typing import NamedTuple

from delivery.interface import Kind, Outcome
from delivery.smtp.blame import Blame, find_blame
from delivery.smtp.command import Step
from delivery.smtp.reply import Reply

RefusalKey = tuple[Step, int, str]  # step, code and enhanced code: refusals are equal if these are


class UnclearRefusal(NamedTuple):
    """A 5yz reply that may be about its recipient or the session. `outcome` applies if it is about the recipient."""

    outcome: Outcome
    key: RefusalKey


def classify_refusal(step: Step, reply: Reply, address: str) -> tuple[Kind | None, Blame]:
    """Return the kind of outcome for a 4yz or 5yz reply, or None if the session is refused; and whom it blames."""
    blame = find_blame(step, reply, address)
    if blame is Blame.SESSION:
        return None, blame
    if reply.code < 500 or (step is Step.RCPT and reply.code == 552 and not reply.enhanced):
        return Kind.DEFERRED, blame
    if step is Step.MAIL:
        return (Kind.FAILED, Blame.MESSAGE) if blame is Blame.MESSAGE or reply.code == 552 else (None, blame)
    return Kind.FAILED, blame


def is_parameter_refusal(reply: Reply) -> bool:
    """Return whether a reply to MAIL may be about one of its parameters (RFC 5321, section 4.1.1.11)."""
    return reply.code in (501, 504, 555)


def is_out_of_sequence(reply: Reply) -> bool:
    """Return whether the server did not expect this command, as servers do that cannot handle pipelining."""
    return reply.code in (500, 502, 503) or reply.enhanced in ("5.5.0", "5.5.1")


def is_idle_timeout(reply: Reply) -> bool:
    """Return whether a 421 means that the server closed an idle connection before it read our command."""
    return reply.enhanced == "4.4.2"
