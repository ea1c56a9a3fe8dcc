"""What may be sent in which state, and what has been sent but not yet answered. No socket, no clock.

Legal transitions are a table; a transition that is not in it is a bug of ours. What was sent but not yet answered is
a queue, `pending`: sending appends to it, a reply takes its head. So a reply is always counted for the command that
it answers, however many commands were sent together.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from delivery.interface import Envelope, Kind, Outcome
from delivery.smtp.command import Step
from delivery.smtp.errors import LocalError


class State(IntEnum):
    """The state of a connection."""

    HANDSHAKE = 0  # greeting, EHLO, STARTTLS, AUTH
    IDLE = 1  # open, nothing under way
    ENVELOPE = 2  # MAIL, RCPT, DATA
    READY_FOR_CONTENT = 3  # all three accepted: the content may be sent
    CONTENT = 4  # content and final dot were sent
    CONTENT_AND_NEXT_ENVELOPE = 5  # the same, with the next envelope behind the dot
    QUITTING = 6
    CLOSED = 7


# Module-level names: Python 3.11 takes 0.1 us to look up a member in its class, and a message needs twenty.
HANDSHAKE, IDLE, ENVELOPE, READY_FOR_CONTENT, CONTENT, CONTENT_AND_NEXT_ENVELOPE, QUITTING, CLOSED = State


class PipeliningMode(IntEnum):
    """How many commands are sent together (RFC 2920). A server that cannot follow gets the next lower mode."""

    NONE = 0
    ENVELOPE = 1  # MAIL, RCPT and DATA
    ACROSS_MESSAGES = 2  # these three, behind the final dot of the previous message


NO_PIPELINING, PIPELINE_ENVELOPE, PIPELINE_ACROSS_MESSAGES = PipeliningMode

# Every legal transition: the state in which a step may be sent -> the state it leads to. All others are bugs.
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
    """The state of one connection, its pending replies and output, and the outcomes of a connection that ends early."""

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
        # Each step that waits for its reply. A content carries its envelope, since `envelope` is the next one by
        # then; every other step is about `envelope`.
        self.pending: deque[tuple[Step, Envelope | None]] = deque([(Step.GREETING, None)])
        self.wait_count = 0  # changes whenever another reply is awaited: a new deadline starts
        self.bytes_sent = 0  # octets that the network took, counted by the owner
        self._bytes_queued = 0  # octets that were ever passed to `_send`
        self._dot_offset = 0  # where in these the final dot of the last content begins
        self._output: list[bytes] = []
        self.envelope: Envelope | None = None  # under negotiation, until its content is sent or it is refused
        self._envelope_mode = NO_PIPELINING  # how `envelope` was sent
        self._mail_answered = False
        self.outcomes: list[Outcome] = []
        self.returned: list[Envelope] = []  # the server never replied to these: no attempt is counted
        self.answered_pipelined_mail = False  # the server answered a MAIL that was sent behind a dot
        self.hung_up_on_pipelined_mail = False  # it closed the connection on the first one
        self.broken_mid_message = False  # closed with a message under way
        self.reason = ""  # why the connection was closed

    @property
    def step(self) -> Step | None:
        """The step whose reply is awaited, for its deadline; None if no reply is."""
        if not self.pending:
            return None
        step = self.pending[0][0]
        return Step.BLOCK if step is _CONTENT and self.bytes_sent <= self._dot_offset else step

    @property
    def dot_sent(self) -> bool:
        """Whether the network took the final dot of the last content, or any part of that line."""
        return self.bytes_sent > self._dot_offset

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return IDLE < self.state < QUITTING

    @property
    def has_output(self) -> bool:
        """Whether something waits to be sent."""
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
        """The server closed or broke the connection. An envelope whose MAIL was not answered costs no attempt."""
        if self._envelope_mode is PIPELINE_ACROSS_MESSAGES and not self.answered_pipelined_mail:
            self.hung_up_on_pipelined_mail = self.envelope is not None and not self._mail_answered
        self._close(reason, at, charged=self._mail_answered)

    def fail(self, reason: str, at: float) -> None:
        """The awaited reply came too late or was not a valid one: the message it was about is charged an attempt."""
        awaits_dot_reply = bool(self.pending) and self.pending[0][0] is _CONTENT
        self._close(reason, at, charged=self._mail_answered or not awaits_dot_reply)

    def stop(self, reason: str, at: float) -> None:
        """We close the connection; an envelope whose final dot was not sent is returned."""
        self._close(reason, at, charged=None)

    def drop_envelope(self) -> None:
        """Forget the envelope whose content was about to be sent: it is no longer ours to send."""
        self.envelope = None

    def _close(self, reason: str, at: float, *, charged: bool | None) -> None:
        """Decide everything under way. `charged`: whether `envelope` is charged an attempt; None: nothing is."""
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
