"""Send one test message to one address right away. Nothing is stored in the database."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from time import monotonic, time
from typing import NamedTuple

from database import Database, Email, TextToSend
from delivery.interface import Envelope, Outcome, SendableMessage, Sender, SessionError
from delivery.message.message import Message
from delivery.message.personal import PersonalMessage
from delivery.smtp.command import STEP_TIMEOUTS
from delivery.smtp.sender import SMTPSender
from sender.outgoing import make_message, make_sender, server_of
from settings import Settings

TOTAL_TIMEOUT_SECONDS = 20.0  # not including the DNS lookup of the server's name
STEP_TIMEOUT_SECONDS = 8.0  # for each of the server's replies
NO_EVENT_ID = 0  # nothing is recorded
NO_RECIPIENT_ID = 0  # not a recipient, so the unsubscribe link has no effect


class SingleSend(NamedTuple):
    """`result` is the value of a Kind, `refused` (the session) or `unanswered`; `reply` is the server's or a reason."""

    result: str
    reply: str


def single_message(
    settings: Settings, database: Database, email: Email, fields: Mapping[str, str] | None = None
) -> SendableMessage:
    """Build the message that recipients of `email` would get, with its own Message-ID. Raises MessageError.

    `fields` are the personal fields of a recipient. Without them, placeholders stay visible.
    """
    lists = email.audience.lists
    only = database.lists.get(lists[0]) if len(lists) == 1 else None
    text = TextToSend(
        email.subject,
        email.content,
        os.urandom(12).hex(),
        int(time()),
        email.reply_to,
        email.from_name,
        email.personal,
        only.name if only else None,
        only.list_id if only else None,
    )
    message = make_message(settings, database, email.event_id, text)
    if isinstance(message, PersonalMessage):
        return message.sample() if fields is None else message.for_recipient(fields)
    return message


def plain_message(settings: Settings, subject: str, content: str) -> Message:
    """Build a message that belongs to no email. It has no unsubscribe link, so it needs no database."""
    reply_to = settings.mail_reply_to
    return Message(
        event_id=NO_EVENT_ID,
        subject=subject,
        content=content,
        sender_name=settings.mail_from.name,
        sender_address=settings.mail_from.address,
        reply_to=(reply_to.name, reply_to.address) if reply_to else None,
        token=os.urandom(12).hex(),
        ready_at=int(time()),
    )


def send_single(settings: Settings, message: SendableMessage, address: str) -> SingleSend:
    """Send a message to `address` as a sweep does, and return the result within TOTAL_TIMEOUT_SECONDS."""
    envelope = Envelope(NO_EVENT_ID, NO_RECIPIENT_ID, address, message)
    queue = SingleMessageQueue(envelope, TOTAL_TIMEOUT_SECONDS)
    try:
        _sender(settings).deliver(queue)
    except SessionError as error:
        return SingleSend("refused", error.reason)
    if queue.outcome is None:
        return SingleSend("unanswered", f"no reply within {TOTAL_TIMEOUT_SECONDS:.0f} s")
    return SingleSend(queue.outcome.kind.value, queue.outcome.reply)


def _sender(settings: Settings) -> Sender:
    """Return a sender as for a sweep, but with one connection and shorter timeouts."""
    if settings.email_url.path is not None:
        return make_sender(settings)
    timeouts = {step: min(timeout, STEP_TIMEOUT_SECONDS) for step, timeout in STEP_TIMEOUTS.items()}
    return SMTPSender(server_of(settings), connections=1, timeouts=timeouts, stop_timeout=0)


class SingleMessageQueue:
    """A `Queue` with a single envelope. Keeps its outcome in `outcome`, and stores nothing."""

    def __init__(self, envelope: Envelope, timeout: float) -> None:
        self.outcome: Outcome | None = None
        self._waiting = [envelope]
        self._deadline = monotonic() + timeout

    @property
    def stopping(self) -> bool:
        """True when the time is up."""
        return monotonic() >= self._deadline

    def fetch(self, limit: int) -> list[Envelope]:
        fetched, self._waiting = self._waiting, []
        return fetched

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        for outcome in outcomes:
            self.outcome = outcome
        return ending

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        return None  # `commit` takes no time, so there is nothing to gain

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        pass  # nothing is stored, and the outcome follows

    def release(self, envelopes: Sequence[Envelope]) -> None:
        pass  # the envelope was not claimed

    def lease_is_valid(self) -> bool:
        return True  # no other sender can have the envelope

    def renew_lease(self) -> None:
        pass  # there is no lease
