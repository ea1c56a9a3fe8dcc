"""Sends one message to one address right away, so that a person sees what recipients will get. Nothing is recorded."""

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

TOTAL_TIMEOUT_SECONDS = 20.0  # without the look-up of the server's name
STEP_TIMEOUT_SECONDS = 8.0  # for each reply of the server
NO_RECIPIENT_ID = 0  # the recipient_id whose link unsubscribes nobody


class SingleSend(NamedTuple):
    """The result: a Kind's value, `refused` (the session) or `unanswered`; and the server's reply or our reason."""

    result: str
    reply: str


def single_message(settings: Settings, database: Database, email: Email) -> Message:
    """Return the message that recipients of `email` would get, with its own Message-ID. Raises MessageError."""
    text = TextToSend(email.subject, email.content, os.urandom(12).hex(), int(time()))
    return make_message(settings, database, email.event_id, text)


def send_single(settings: Settings, message: Message, address: str) -> SingleSend:
    """Send a message to `address` as a sender of the sweep does."""
    envelope = Envelope(message.event_id, NO_RECIPIENT_ID, address, message)
    queue = SingleMessageQueue(envelope, TOTAL_TIMEOUT_SECONDS)
    try:
        _sender(settings).deliver(queue)
    except SessionError as error:
        return SingleSend("refused", error.reason)
    if queue.outcome is None:
        return SingleSend("unanswered", f"there was no answer within {TOTAL_TIMEOUT_SECONDS:.0f} s")
    return SingleSend(queue.outcome.kind.value, queue.outcome.reply)


def _sender(settings: Settings) -> Sender:
    """Return a sender like the sweep's, with one connection and shorter timeouts."""
    if settings.email_url.path is not None:
        return make_sender(settings)
    timeouts = {step: min(timeout, STEP_TIMEOUT_SECONDS) for step, timeout in STEP_TIMEOUTS.items()}
    return SMTPSender(server_of(settings), connections=1, timeouts=timeouts, stop_timeout=0)


class SingleMessageQueue:
    """A `Queue` with one envelope, which it hands out once. Its outcome is kept in `outcome` and nowhere else."""

    def __init__(self, envelope: Envelope, timeout: float) -> None:
        self.outcome: Outcome | None = None
        self._waiting = [envelope]
        self._deadline = monotonic() + timeout

    @property
    def stopping(self) -> bool:
        """Whether the time is up."""
        return monotonic() >= self._deadline

    def fetch(self, limit: int) -> list[Envelope]:
        """Return the envelope the first time, then nothing."""
        fetched, self._waiting = self._waiting, []
        return fetched

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        """Keep the last outcome, and let every message end."""
        for outcome in outcomes:
            self.outcome = outcome
        return ending

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        """Return None: `commit` takes no time."""

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        """Do nothing: the outcome follows."""

    def release(self, envelopes: Sequence[Envelope]) -> None:
        """Do nothing: the envelope was claimed nowhere."""

    def lease_is_valid(self) -> bool:
        """Return True: no other sender can have the envelope."""
        return True

    def renew_lease(self) -> None:
        """Do nothing: there is no lease."""
