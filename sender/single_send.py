"""One message to one address, now: what a person sends to see what recipients will get. It leaves no row anywhere."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from time import monotonic, time
from typing import NamedTuple

from database import Database, Email, TextToSend
from delivery.interface import Envelope, Outcome, Sender, SessionError
from delivery.message.message import Message
from delivery.smtp.command import STEP_TIMEOUTS
from delivery.smtp.sender import SMTPSender
from sender.outgoing import make_message, make_sender, server_of
from settings import Settings

SECONDS = 20.0  # in all, but for the look-up of the server's name
STEP = 8.0  # seconds for each answer of the server
NOBODY = 0  # the recipient_id whose link unsubscribes no one


class Trial(NamedTuple):
    """What became of it, as a Kind's value, or `refused` or `unanswered`; and what was said."""

    result: str
    reply: str


def trial_message(settings: Settings, database: Database, email: Email) -> Message:
    """What every recipient of `email` would get, with a Message-ID of its own. Raises MessageError."""
    text = TextToSend(email.subject, email.content, os.urandom(12).hex(), int(time()))
    return make_message(settings, database, email.event_id, text)


def try_message(settings: Settings, message: Message, address: str) -> Trial:
    """Send it to `address`, as a sender of the sweep does."""
    work = OneMessage(Envelope(message.event_id, NOBODY, address, message), SECONDS)
    try:
        _sender(settings).deliver(work)
    except SessionError as error:
        return Trial("refused", error.reason)
    if work.outcome is None:
        return Trial("unanswered", f"there was no answer within {SECONDS:.0f} s")
    return Trial(work.outcome.kind.value, work.outcome.reply)


def _sender(settings: Settings) -> Sender:
    """As the sweep's, with one connection and less patience."""
    if settings.email_url.path is not None:
        return make_sender(settings)
    timeouts = {step: min(limit, STEP) for step, limit in STEP_TIMEOUTS.items()}
    return SMTPSender(server_of(settings.email_url), connections=1, timeouts=timeouts, stop_timeout=0)


class OneMessage:
    """The `Work` of one envelope: handed out once, and what became of it kept in `outcome` alone."""

    def __init__(self, envelope: Envelope, seconds: float) -> None:
        self.outcome: Outcome | None = None
        self._waiting = [envelope]
        self._until = monotonic() + seconds

    @property
    def stopping(self) -> bool:
        """Whether its time is over."""
        return monotonic() >= self._until

    def take(self, limit: int) -> list[Envelope]:
        """The envelope, the first time."""
        taken, self._waiting = self._waiting, []
        return taken

    def record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Keep the outcome."""
        for outcome in outcomes:
            self.outcome = outcome
        return ending

    def begin_record(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        """It is quick."""

    def give_back(self, envelopes: Sequence[Envelope]) -> None:
        """It was not sent."""

    def may_end(self) -> bool:
        """It is nobody else's."""
        return True

    def keep_alive(self) -> None:
        """It has no lease."""
