"""The state of an SMTP connection: what may be sent, and what awaits a reply. Uses no socket and no clock.

`TRANSITIONS` lists the legal transitions; any other is a bug in this program. `pending` is a queue of the commands that
have no reply yet: sending appends to it, and a reply takes the head. So a reply is always counted for its own command,
however many commands were sent together.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from delivery.interface import Envelope, Kind, Outcome
from delivery.smtp.command import Step
from delivery.smtp.errors import LocalError


class State(IntEnum):
    HANDSHAKE = 0  # greeting, EHLO, STARTTLS, AUTH
    IDLE = 1  # open, without a message
    ENVELOPE = 2  # MAIL, RCPT, DATA
    READY_FOR_CONTENT = 3  # all three were accepted: the content may be sent
    CONTENT = 4  # the content and the final dot were sent
    CONTENT_AND_NEXT_ENVELOPE = 5  # the same, and the next envelope after the dot
    QUITTING = 6
    CLOSED = 7


# Module-level names, because Python 3.11 takes 0.1 us to look up a member in its class, and a message needs twenty.
HANDSHAKE, IDLE, ENVELOPE, READY_FOR_CONTENT, CONTENT, CONTENT_AND_NEXT_ENVELOPE, QUITTING, CLOSED = State


class PipeliningMode(IntEnum):
    """How many commands are sent together (RFC 2920). A server that cannot handle a mode gets the next lower one."""

    NONE = 0
    ENVELOPE = 1  # MAIL, RCPT and DATA
    ACROSS_MESSAGES = 2  # these three, right after the final dot of the previous message


NO_PIPELINING, PIPELINE_ENVELOPE, PIPELINE_ACROSS_MESSAGES = PipeliningMode

# Every legal transition: for each state, the steps that may be sent in it and the state that each leads to.
TRANSITIONS: dict[State, dict[Step, State]] = {
    HANDSHAKE: {
        Step.EHLO: HANDSHAKE,
        Step.STARTTLS: HANDSHAKE,
        Step.HELO: HANDSHAKE,
        Step.AUTH: HANDSHAKE,
    },
    IDLE: {Step.RSET: ENVELOPE, Step.MAIL: ENVELOPE, Step.QUIT: QUITTING},
    ENVELOPE: {
        Step.MAIL: ENVELOPE,
        Step.RCPT: ENVELOPE,
        Step.DATA: ENVELOPE,
        Step.LONE_DOT: ENVELOPE,
    },
    READY_FOR_CONTENT: {Step.CONTENT: CONTENT},
    CONTENT: {Step.MAIL: CONTENT_AND_NEXT_ENVELOPE},
    CONTENT_AND_NEXT_ENVELOPE: {Step.RCPT: CONTENT_AND_NEXT_ENVELOPE, Step.DATA: CONTENT_AND_NEXT_ENVELOPE},
    QUITTING: {},
    CLOSED: {},
}


_CONTENT = Step.CONTENT


class ProtocolState:
    """The state of one connection: pending replies, output, and the outcomes when the connection ends early."""

    __slots__ = (
        "_bytes_queued",
        "_dot_offset",
        "_envelope_mode",
        "_mail_answered",
        "_output",
        "answered_pipelined_mail",
        "broken_mid_message",
        "bytes_sent",
        "envelope",
        "hung_up_on_pipelined_mail",
        "outcomes",
        "pending",
        "reason",
        "returned",
        "state",
        "wait_count",
    )

    def __init__(self) -> None:
        self.state = HANDSHAKE
        # Each step that awaits a reply. A CONTENT step carries its envelope, because `envelope` may already be the next
        # one; every other step is about `envelope`.
        self.pending: deque[tuple[Step, Envelope | None]] = deque([(Step.GREETING, None)])
        self.wait_count = 0  # changes whenever another reply is awaited, which starts a new deadline
        self.bytes_sent = 0  # how many bytes the network has taken in all; counted by the owner
        self._bytes_queued = 0  # how many bytes were ever queued for sending
        self._dot_offset = 0  # the offset of the last content's final dot in all bytes ever queued
        self._output: list[bytes] = []
        self.envelope: Envelope | None = None  # the current envelope, until its content is sent or it is refused
        self._envelope_mode = NO_PIPELINING  # how `envelope` was sent
        self._mail_answered = False
        self.outcomes: list[Outcome] = []
        self.returned: list[Envelope] = []  # to be sent again; no attempt is counted
        self.answered_pipelined_mail = False  # the server replied to a MAIL that was sent right after a dot
        self.hung_up_on_pipelined_mail = False  # the server closed the connection on the first such MAIL
        self.broken_mid_message = False  # the connection was lost with a message in progress
        self.reason = ""  # why the connection was closed

    @property
    def step(self) -> Step | None:
        """The step whose reply is awaited, which has a deadline; None if no reply is awaited."""
        if not self.pending:
            return None
        step = self.pending[0][0]
        return Step.BLOCK if step is _CONTENT and self.bytes_sent <= self._dot_offset else step

    @property
    def dot_sent(self) -> bool:
        """Whether the network took any byte of the last content's final dot line."""
        return self.bytes_sent > self._dot_offset

    @property
    def busy(self) -> bool:
        """Whether a message is in progress."""
        return IDLE < self.state < QUITTING

    @property
    def has_output(self) -> bool:
        """Whether there are bytes to send."""
        return bool(self._output)

    def data_to_send(self) -> bytes:
        """Return the bytes to write now; each byte is returned once."""
        output = self._output
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def _send(self, step: Step, data: bytes, envelope: Envelope | None = None) -> None:
        state = TRANSITIONS[self.state].get(step)
        if state is None:
            raise LocalError(f"{step.name} may not be sent in state {self.state.name}")
        self.state = state
        if not self.pending:
            self.wait_count += 1
        self.pending.append((step, envelope))
        self._output.append(data)
        self._bytes_queued += len(data)

    def connection_lost(self, reason: str, at: float) -> None:
        """Handle the loss of the connection. An envelope whose MAIL had no reply costs no attempt."""
        if self._envelope_mode is PIPELINE_ACROSS_MESSAGES and not self.answered_pipelined_mail:
            self.hung_up_on_pipelined_mail = self.envelope is not None and not self._mail_answered
        self._close(reason, at, charged=self._mail_answered)

    def fail(self, reason: str, at: float) -> None:
        """Close after a late or invalid reply. The message that the reply was about is charged an attempt."""
        awaits_dot_reply = bool(self.pending) and self.pending[0][0] is _CONTENT
        self._close(reason, at, charged=self._mail_answered or not awaits_dot_reply)

    def stop(self, reason: str, at: float) -> None:
        """Close on our own initiative. An envelope whose final dot was not sent is returned."""
        self._close(reason, at, charged=None)

    def drop_envelope(self) -> None:
        """Forget the envelope whose content was about to be sent, because its claim was lost."""
        self.envelope = None

    def _close(self, reason: str, at: float, *, charged: bool | None) -> None:
        """Decide everything in progress. `charged`: whether `envelope` is charged an attempt. None charges nothing."""
        self.broken_mid_message = self.busy and charged is not None
        for step, envelope in self.pending:
            if step is Step.CONTENT and envelope is not None:
                self._close_content(envelope, reason, at, returned=charged is None)
        if self.envelope is not None and charged:
            self.outcomes.append(Outcome(self.envelope, Kind.DEFERRED, reason, at))
        elif self.envelope is not None:
            self.returned.append(self.envelope)
        self.envelope = None
        self.reason = reason
        self.state = CLOSED
        self.pending.clear()
        self._output.clear()

    def _close_content(self, envelope: Envelope, reason: str, at: float, *, returned: bool) -> None:
        if self.dot_sent:
            text = f"{reason} (after the final dot: the message may have been accepted)"
            self.outcomes.append(Outcome(envelope, Kind.IN_DOUBT, text, at))
        elif returned:
            self.returned.append(envelope)
        else:
            self.outcomes.append(Outcome(envelope, Kind.DEFERRED, reason, at))
