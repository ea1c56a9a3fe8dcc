"""What may be said when, and what has been said and not yet answered. No socket, no clock.

Legal moves are a table; a move that is not in it is a bug of ours. What was sent and not yet answered is a
queue, `pending`: sending appends, a reply takes the head. So a reply can only ever be counted for the command
that it answers, however many were sent together.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from delivery.interface import Envelope, Kind, Outcome
from delivery.smtp.command import Step
from delivery.smtp.errors import LocalError


class State(IntEnum):
    """Where a connection stands."""

    OPENING = 0  # greeting, EHLO, STARTTLS, AUTH
    IDLE = 1  # open, nothing asked
    ENVELOPE = 2  # MAIL, RCPT, DATA
    GO = 3  # all accepted: the content may go
    CONTENT = 4  # content and dot are out
    FOLLOWED = 5  # the same, with the next envelope behind the dot
    QUITTING = 6
    CLOSED = 7


# Members as plain names: Python 3.11 takes 0.1 us to look one up in its class, and a message needs twenty.
OPENING, IDLE, ENVELOPE, GO, CONTENT, FOLLOWED, QUITTING, CLOSED = State


class Form(IntEnum):
    """How much is sent together. A server that trips gets the next plainer form."""

    ONE_BY_ONE = 0
    GROUPED = 1  # MAIL, RCPT and DATA
    FOLLOWING = 2  # and these behind the previous message's dot


ONE_BY_ONE, GROUPED, FOLLOWING = Form

# Every legal move: the state in which a step may be sent -> the state it leads to. What is not here is a bug.
MOVES: dict[State, dict[Step, State]] = {
    OPENING: {
        Step.EHLO: OPENING,
        Step.STARTTLS: OPENING,
        Step.AUTH_USER: OPENING,
        Step.AUTH_PASSWORD: OPENING,
        Step.AUTH: OPENING,
    },
    IDLE: {Step.RSET: ENVELOPE, Step.MAIL: ENVELOPE, Step.QUIT: QUITTING},
    ENVELOPE: {
        Step.MAIL: ENVELOPE,
        Step.RCPT: ENVELOPE,
        Step.DATA: ENVELOPE,
        Step.LONE_DOT: ENVELOPE,
    },
    GO: {Step.CONTENT: CONTENT},
    CONTENT: {Step.MAIL: FOLLOWED},
    FOLLOWED: {Step.RCPT: FOLLOWED, Step.DATA: FOLLOWED},
    QUITTING: {},
    CLOSED: {},
}


_CONTENT = Step.CONTENT


class Dialogue:
    """The state of one connection, what is pending, what waits to be sent, and what a broken end makes of it."""

    __slots__ = (
        "_began_as",
        "_dot_at",
        "_mail_answered",
        "_out",
        "_queued",
        "broke",
        "cut_off",
        "envelope",
        "follows",
        "handed",
        "outcomes",
        "pending",
        "reason",
        "returned",
        "state",
        "turn",
    )

    def __init__(self) -> None:
        self.state = OPENING
        # Each step that waits for its answer. A content has its envelope, for nothing else stands in its place;
        # all that comes before a content speaks of `envelope`.
        self.pending: deque[tuple[Step, Envelope | None]] = deque([(Step.GREETING, None)])
        self.turn = 0  # changes whenever another reply is waited for: a deadline begins
        self.handed = 0  # octets that the network took, counted by the owner
        self._queued = 0  # octets ever said
        self._dot_at = 0  # where in these the final dot of the last content begins
        self._out: list[bytes] = []
        self.envelope: Envelope | None = None  # what is being asked for, until its content goes or it is refused
        self._began_as = ONE_BY_ONE  # how it was sent
        self._mail_answered = False
        self.outcomes: list[Outcome] = []
        self.returned: list[Envelope] = []  # the server never said anything to these: no attempt
        self.follows = False  # the server answered what was sent behind a dot
        self.cut_off = False  # it hung up on the first that was
        self.broke = False  # closed with a message under way
        self.reason = ""  # why it was closed

    @property
    def step(self) -> Step | None:
        """What is waited for, and has a deadline; None: nothing."""
        if not self.pending:
            return None
        step = self.pending[0][0]
        return Step.BLOCK if step is _CONTENT and self.handed <= self._dot_at else step

    @property
    def dot_left(self) -> bool:
        """Whether the final dot of the last content, or a part of that line, was handed to the network."""
        return self.handed > self._dot_at

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return IDLE < self.state < QUITTING

    @property
    def has_output(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out)

    def data_to_send(self) -> bytes:
        """What is to go to the network now; it is handed out once."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def _send(self, step: Step, data: bytes, envelope: Envelope | None = None) -> None:
        state = MOVES[self.state].get(step)
        if state is None:
            raise LocalError(f"{step.name} may not be sent in state {self.state.name}")
        self.state = state
        if not self.pending:
            self.turn += 1
        self.pending.append((step, envelope))
        self._out.append(data)
        self._queued += len(data)

    def lose(self, reason: str, at: float) -> None:
        """The server closed or broke the connection. An envelope whose MAIL got no answer costs no attempt."""
        unanswered = self.envelope is not None and not self._mail_answered
        self.cut_off = unanswered and self._began_as is FOLLOWING and not self.follows
        self._close(reason, at, charged=self._mail_answered)

    def fail(self, reason: str, at: float) -> None:
        """The answer waited for came too late or was none: the message it was about is charged."""
        waits_for_dot = bool(self.pending) and self.pending[0][0] is _CONTENT
        self._close(reason, at, charged=self._mail_answered or not waits_for_dot)

    def stop(self, reason: str, at: float) -> None:
        """We close the connection; what has not been ended is returned."""
        self._close(reason, at, charged=None)

    def drop(self) -> None:
        """Forget the envelope that was about to end: it is no longer ours to send."""
        self.envelope = None

    def _close(self, reason: str, at: float, *, charged: bool | None) -> None:
        """Give everything under way its outcome. `charged`: is the envelope before its dot? None: nothing is."""
        self.broke = self.busy and charged is not None
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
        self._out.clear()

    def _close_content(self, envelope: Envelope, reason: str, at: float, *, returned: bool) -> None:
        if self.dot_left:
            text = f"{reason} (after the final dot: the message may have been accepted)"
            self.outcomes.append(Outcome(envelope, Kind.IN_DOUBT, text, at))
        elif returned:
            self.returned.append(envelope)
        else:
            self.outcomes.append(Outcome(envelope, Kind.DEFERRED, reason, at))
