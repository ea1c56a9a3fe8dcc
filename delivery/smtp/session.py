"""The client side of one SMTP connection: replies in, outcomes and bytes out. No socket, no clock.

Theory of operation
-------------------
The owner reads and writes the socket. It passes what the server sent to `receive`, writes what `data_to_send` returns,
and adds to `bytes_sent` how much of that the network took. It sends each message in two steps:

    begin(envelope, content)    MAIL, RCPT and DATA are sent, together if the server supports PIPELINING
    READY_FOR_CONTENT           the recipient and DATA were accepted: the content may be sent
    end()                       the content and its final dot are sent: from here on the message can be in doubt
    end_and_begin(next, ...)    the same, with the next envelope behind the dot: one round trip for each message

Between the steps the owner records durably that the message is about to end (see `loop.py`).

    HANDSHAKE -> IDLE -> ENVELOPE -> READY_FOR_CONTENT -> CONTENT -> IDLE
                                  `-> CONTENT_AND_NEXT_ENVELOPE -> ENVELOPE -> READY_FOR_CONTENT -> ...

Sending is checked against `TRANSITIONS` in `state.py`. Replies cause the other transitions: the end of the handshake
and the last reply about a refused envelope lead to IDLE, 354 to READY_FOR_CONTENT, and the reply to the dot to IDLE, or
to ENVELOPE if the next one was sent behind it. `end_and_begin` and `_handle_all_accepted` are shortcuts for nearly
every message: they leave the same state as the steps that they replace, and must be changed together with those.

Invariants:

1. A reply belongs to the head of `pending`. One that does not fit there is a ProtocolError, and the connection is not
   used again. 421 fits anywhere: the server is closing the connection.
2. A content is sent only after the reply to the previous one. So at most one message of a connection is in doubt.
3. A message without a valid reply is in doubt if, and only if, the network took any octet of its last line, the dot:
   `bytes_sent > _dot_offset`. Before that, the server cannot have accepted it.
4. Every envelope that was begun appears once in `outcomes`, or in `returned`, which counts no attempt. Only
   `drop_envelope` forgets one. `refused` lists those in `outcomes` again whose refusal may be about the session.
5. A refusal of the session, such as of the login, the sender or a quota, is in `refusal` and never in `outcomes`. If
   the next envelope was sent behind the refused message, the connection is closed: that one could end only after the
   outcome of the refused message was recorded, and it has none.
6. A server that answers commands sent together with "bad sequence of commands" is not believed: the connection is
   closed, the envelope returned, and `downgraded_to` is the mode for the next connections.
7. No empty message is sent. If DATA is accepted although the recipient was refused, a lone dot ends it. If a recipient
   was accepted although MAIL was refused, the connection is closed instead.
8. If a parameter of MAIL is refused, the envelope is returned, and the session sends that parameter no more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from delivery.interface import Envelope, Kind, Outcome, new_outcome
from delivery.smtp import command
from delivery.smtp.blame import Blame
from delivery.smtp.classification import (
    UnclearRefusal,
    classify_refusal,
    is_idle_timeout,
    is_out_of_sequence,
    is_parameter_refusal,
)
from delivery.smtp.command import EnvelopeCommands, Step
from delivery.smtp.errors import LocalError, ProtocolError
from delivery.smtp.handshake import Capabilities, Handshake, SessionRefused
from delivery.smtp.reply import Reply, ReplyParser
from delivery.smtp.state import (
    CLOSED,
    CONTENT_AND_NEXT_ENVELOPE,
    ENVELOPE,
    HANDSHAKE,
    IDLE,
    NO_PIPELINING,
    PIPELINE_ACROSS_MESSAGES,
    PIPELINE_ENVELOPE,
    QUITTING,
    READY_FOR_CONTENT,
    PipeliningMode,
    ProtocolState,
)

# A content of this size or more is sent without the next envelope behind it: the round trip saved would be small
# beside it, and each connection would hold two such contents in memory.
LARGE_CONTENT_BYTES = 128 * 1024

_MAIL, _RCPT, _DATA, _CONTENT = Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT  # faster than a look-up in the class
_SENT = Kind.SENT

# What nearly every read brings: a message was accepted, and so was the next envelope.
_ALL_ACCEPTED = re.compile(rb"(250 [ -~]{0,900})\r?\n250 [^\n]*\n250 [^\n]*\n354 [^\n]*\n").fullmatch
_ENVELOPE_STEPS = ((_MAIL, None), (_RCPT, None), (_DATA, None))


class Session(ProtocolState):
    """The client side of one SMTP connection. It fills `outcomes`, `returned` and `refused`; the owner empties them."""

    __slots__ = (
        "_commands",
        "_content",
        "_declares_size",
        "_handshake",
        "_in_transaction",
        "_parser",
        "_recipient_accepted",
        "_unsent_commands",
        "capabilities",
        "downgraded_to",
        "message_count",
        "opened",
        "pipelining_mode",
        "refusal",
        "refused",
        "returned_after_dot",
        "too_many_connections",
        "wants_tls",
    )

    def __init__(self, handshake: Handshake, pipelining_mode: PipeliningMode = PIPELINE_ACROSS_MESSAGES) -> None:
        super().__init__()
        self.pipelining_mode = pipelining_mode  # the highest that this server is known to follow
        self.message_count = 0  # how many were begun
        self.refused: list[UnclearRefusal] = []  # each has an outcome too
        self.returned_after_dot: list[Envelope] = []  # those of `returned` that were refused after their final dot
        self.refusal: SessionRefused | None = None  # the server refused the session as a whole
        self.downgraded_to: PipeliningMode | None = None  # the lower mode, once the server could not follow
        self.opened = False
        self.too_many_connections = False  # the server closed for now because others of ours are open
        self.wants_tls = False
        self.capabilities = Capabilities()  # what the server announced
        self._declares_size = True
        self._commands = EnvelopeCommands()
        self._handshake = handshake
        self._parser = ReplyParser()
        self._unsent_commands: deque[tuple[Step, bytes]] = deque()  # of the envelope, waiting for earlier replies
        self._recipient_accepted = False
        self._in_transaction = False  # the server has one open: RSET goes before the next MAIL
        self._content = b""  # of `envelope`

    @property
    def can_pipeline_next(self) -> bool:
        """Whether the next envelope may be sent behind the content that may be sent now."""
        return (
            self.state is READY_FOR_CONTENT
            and self.pipelining_mode is PIPELINE_ACROSS_MESSAGES
            and len(self._content) < LARGE_CONTENT_BYTES
            and self.capabilities.pipelining
        )

    # Called by the owner

    def begin(self, envelope: Envelope, content: bytes) -> None:
        """Send MAIL, RCPT and DATA for `envelope`. Raises UnsendableValueError, with nothing sent."""
        if self.state is not IDLE:
            raise LocalError(f"no envelope may begin in state {self.state.name}")
        commands = self._commands.lines(envelope.message.sender_address, envelope.address, content)
        self._mail_answered = self._recipient_accepted = False
        self._envelope_mode = (
            min(self.pipelining_mode, PIPELINE_ENVELOPE) if self.capabilities.pipelining else NO_PIPELINING
        )
        self._content = content
        self.envelope = envelope
        self.message_count += 1
        if self._in_transaction:
            self._unsent_commands.append((Step.RSET, command.RSET))
        self._unsent_commands += zip((_MAIL, _RCPT, _DATA), commands.splitlines(keepends=True), strict=True)
        self._advance()

    def end(self) -> None:
        """Send the content and its final dot."""
        content, envelope = self._content, self.envelope
        self._dot_offset = self._bytes_queued + len(content) - len(command.LONE_DOT)
        self._send(_CONTENT, content, envelope)
        self._content, self.envelope = b"", None
        self._in_transaction = False

    def end_and_begin(self, envelope: Envelope, content: bytes) -> None:
        """`end`, with `envelope` behind the dot. Raises UnsendableValueError, with nothing sent or ended.

        Nearly every message is sent here, in one piece; `end` and `begin` would send it in four.
        """
        if self.state is not READY_FOR_CONTENT:
            raise LocalError(f"no envelope may follow in state {self.state.name}")
        commands = self._commands.lines(envelope.message.sender_address, envelope.address, content)
        ending = self._content
        data = ending + commands
        self._dot_offset = self._bytes_queued + len(ending) - len(command.LONE_DOT)
        self._bytes_queued += len(data)
        self._output.append(data)
        self.pending.append((_CONTENT, self.envelope))
        self.pending.extend(_ENVELOPE_STEPS)
        self.wait_count += 1
        self.state = CONTENT_AND_NEXT_ENVELOPE
        self._in_transaction = self._mail_answered = self._recipient_accepted = False
        self._envelope_mode = PIPELINE_ACROSS_MESSAGES
        self._content = content
        self.envelope = envelope
        self.message_count += 1

    def quit(self) -> None:
        """Send QUIT; its reply changes nothing."""
        self._send(Step.QUIT, command.QUIT)

    def tls_started(self) -> None:
        """Start over with EHLO, now that TLS is established."""
        self.wants_tls = False
        self._send(*self._handshake.tls_started())

    def receive(self, data: bytes, at: float) -> None:
        """Handle what the server sent. After a ProtocolError the owner calls `fail`; earlier outcomes stand."""
        if self.state is CONTENT_AND_NEXT_ENVELOPE and self._parser.empty and self.bytes_sent == self._bytes_queued:
            all_accepted = _ALL_ACCEPTED(data)
            if all_accepted is not None:
                return self._handle_all_accepted(all_accepted[1].decode("ascii").rstrip(), at)
        for reply in self._parser.feed(data):
            self._handle_reply(reply, at)
            if self.state is CLOSED:
                break
        return None

    # Replies

    def _handle_all_accepted(self, text: str, at: float) -> None:
        """Do at once what `_handle_reply` would do in four steps."""
        envelope = self.pending[0][1]
        self.pending.clear()
        self.wait_count += 4
        self.state = READY_FOR_CONTENT
        self._mail_answered = self._in_transaction = self.answered_pipelined_mail = True
        if envelope is not None:
            self.outcomes.append(new_outcome((envelope, _SENT, text, at)))

    def _handle_reply(self, reply: Reply, at: float) -> None:
        if reply.code == 421 and self.state is not QUITTING:
            return self._handle_421(reply, at)
        if not self.pending:
            raise ProtocolError(f"an unexpected reply: {reply.text}")
        step, envelope = self.pending[0]
        _REPLY_HANDLERS[step](self, step, reply, envelope, at)
        if self.state is not CLOSED:
            self.pending.popleft()
            self.wait_count += 1
            self._advance()
        return None

    def _handle_421(self, reply: Reply, at: float) -> None:
        """The server is closing the connection; the message whose command got this reply is deferred."""
        if self.state is HANDSHAKE:
            self.refusal = SessionRefused(reply.text)
        step, envelope = self.pending[0] if self.pending else (None, None)
        if step is None or (step is Step.MAIL and is_idle_timeout(reply)):
            return self.connection_lost(reply.text, at)
        blamed = envelope or self.envelope
        if blamed is not None:
            kind, blame = classify_refusal(step, reply, blamed.address)
            if kind is None or blame is Blame.CONNECTIONS:
                return self._refuse_session(reply, at, blame)
        if step is Step.CONTENT and envelope is not None:
            self.pending.popleft()
            self.outcomes.append(Outcome(envelope, Kind.DEFERRED, reply.text, at))
            return self.connection_lost(reply.text, at)
        return self.fail(reply.text, at)

    def _refuse_session(self, reply: Reply, at: float, blame: Blame = Blame.SESSION) -> None:
        """The server refuses the session in its reply to an envelope: close the connection, and return everything."""
        if blame is Blame.CONNECTIONS:
            self.too_many_connections = True
        else:
            self.refusal = SessionRefused(reply.text, final=True)
        step, envelope = self.pending[0]
        if step is _CONTENT and envelope is not None:
            self.pending.popleft()
            self._return_content(envelope)
        self._close(reply.text, at, charged=None)

    def _return_content(self, envelope: Envelope) -> None:
        self.returned.append(envelope)
        self.returned_after_dot.append(envelope)

    def _on_handshake(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        try:
            command_to_send = self._handshake.next_command(step, reply)
        except SessionRefused as refusal:
            self.refusal = refusal
            return self._close(str(refusal), at, charged=None)
        self.capabilities = self._handshake.capabilities
        self._commands = self._new_commands()
        if command_to_send:
            return self._send(*command_to_send)
        if step is not Step.STARTTLS:
            self.opened = True
            self.state = IDLE
        elif self._parser.empty:
            self.wants_tls = True
        else:
            raise ProtocolError("the server sent something between its reply to STARTTLS and TLS")
        return None

    def _on_reset(self, _step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._in_transaction = False
        if reply.code // 100 != 2:
            self.connection_lost(f"RSET: {reply.text}", at)

    def _on_mail(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._mail_answered = True
        self.answered_pipelined_mail = self.answered_pipelined_mail or self._envelope_mode is PIPELINE_ACROSS_MESSAGES
        if reply.code // 100 == 2:
            self._in_transaction = True
        else:
            self._handle_refusal(step, reply, at)

    def _on_rcpt(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._recipient_accepted = reply.code // 100 == 2
        if self.envelope is not None and not self._recipient_accepted:
            self._handle_refusal(step, reply, at)

    def _on_data(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        if reply.code == 354 and self.envelope is not None:
            self.state = READY_FOR_CONTENT
        elif reply.code == 354 and self._recipient_accepted:  # without a sender; a lone dot would send an empty message
            self._close(reply.text, at, charged=None)
        elif reply.code == 354:
            self._send(Step.LONE_DOT, command.LONE_DOT)
        elif reply.code < 400:
            raise ProtocolError(f"not a valid reply to DATA: {reply.text}")
        elif self.envelope is not None:
            self._handle_refusal(step, reply, at)

    def _on_content(self, step: Step, reply: Reply, envelope: Envelope | None, at: float) -> None:
        if reply.code // 100 == 3 or (reply.code < 400 and not self.dot_sent):
            raise ProtocolError(f"not a valid reply to the end of a message: {reply.text}")
        if envelope is not None and reply.code < 300:
            self.outcomes.append(Outcome(envelope, Kind.SENT, reply.text, at))
        elif envelope is not None:
            blame = self._add_refusal(step, reply, envelope, at)
            if blame is Blame.CONNECTIONS or (
                blame is Blame.SESSION and (self.envelope is not None or not self.dot_sent)
            ):
                return self._refuse_session(reply, at, blame)
            if blame is Blame.SESSION:
                self.refusal = SessionRefused(reply.text, final=True)
                self._return_content(envelope)
        if not self.dot_sent:  # the server will not read the rest, so nothing more can be sent on this connection
            self.pending.popleft()
            return self.connection_lost(reply.text, at)
        self.state = ENVELOPE if self.state is CONTENT_AND_NEXT_ENVELOPE else IDLE
        return None

    def _on_lone_dot(self, _step: Step, _reply: Reply, _envelope: Envelope | None, _at: float) -> None:
        """Ignore the reply: a message without recipients is not a delivery."""
        self._in_transaction = False

    def _on_quit(self, _step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._close(reply.text, at, charged=None)

    def _handle_refusal(self, step: Step, reply: Reply, at: float) -> None:
        """Handle a refusal of this envelope, of every envelope, or of commands that were sent together."""
        envelope = self.envelope
        if envelope is None or reply.code < 400:
            raise ProtocolError(f"not a valid reply to {step.name}: {reply.text}")
        self.envelope = None
        self._unsent_commands.clear()
        if step is Step.MAIL and is_parameter_refusal(reply) and self._drop_parameters(reply, envelope):
            self.returned.append(envelope)
            return None
        lowest_mode = PIPELINE_ENVELOPE if step is Step.MAIL else NO_PIPELINING
        if is_out_of_sequence(reply) and self._envelope_mode > lowest_mode:
            self.downgraded_to = PipeliningMode(self._envelope_mode - 1)
            self.returned.append(envelope)
            return self._close(reply.text, at, charged=None)
        blame = self._add_refusal(step, reply, envelope, at)
        if blame in (Blame.SESSION, Blame.CONNECTIONS):
            self.returned.append(envelope)
        if blame is Blame.CONNECTIONS:
            self.too_many_connections = True
            return self._close(reply.text, at, charged=None)
        if blame is Blame.SESSION:
            self.refusal = SessionRefused(reply.text, final=True)
        return None

    def _add_refusal(self, step: Step, reply: Reply, envelope: Envelope, at: float) -> Blame:
        """Add the outcome of a refused envelope, unless SESSION or CONNECTIONS is returned."""
        kind, blame = classify_refusal(step, reply, envelope.address)
        if kind is None:
            return Blame.SESSION
        if blame is Blame.CONNECTIONS:
            return blame
        outcome = Outcome(envelope, kind, reply.text, at)
        if kind is Kind.FAILED and blame is Blame.UNCLEAR:
            self.refused.append(UnclearRefusal(outcome, (step, reply.code, reply.enhanced)))
        self.outcomes.append(outcome)
        return blame

    def _drop_parameters(self, reply: Reply, envelope: Envelope) -> bool:
        """Send no more the parameters of MAIL that the reply names, or any; return False if none was sent."""
        sent = {
            "SIZE": self._declares_size and self.capabilities.size is not None,
            "8BITMIME": self.capabilities.eight_bit and not self._content.isascii(),
            "SMTPUTF8": self.capabilities.utf8 and not envelope.address.isascii(),
        }
        words = reply.text.upper().replace("BODY", "8BITMIME")
        named = [name for name, was_sent in sent.items() if was_sent and name in words]
        dropped = named or [name for name, was_sent in sent.items() if was_sent]
        self._declares_size = self._declares_size and "SIZE" not in dropped
        self.capabilities = self.capabilities._replace(
            eight_bit=self.capabilities.eight_bit and "8BITMIME" not in dropped,
            utf8=self.capabilities.utf8 and "SMTPUTF8" not in dropped,
        )
        self._commands = self._new_commands()
        return bool(dropped)

    # Helpers

    def _close(self, reason: str, at: float, *, charged: bool | None) -> None:
        """Close; if a login was refused, that is the reason, whatever followed it."""
        if self.state is HANDSHAKE and self._handshake.refusal is not None:
            self.refusal = self._handshake.refusal
            reason = str(self.refusal)
        super()._close(reason, at, charged=charged)

    def _new_commands(self) -> EnvelopeCommands:
        capabilities = self.capabilities
        return EnvelopeCommands(
            capabilities.size,
            declares_size=self._declares_size,
            eight_bit=capabilities.eight_bit,
            utf8=capabilities.utf8,
        )

    def _advance(self) -> None:
        """Send what may be sent now; become idle after the last reply about a refused envelope."""
        while self._unsent_commands and (not self.pending or self._envelope_mode is not NO_PIPELINING):
            self._send(*self._unsent_commands.popleft())
        if self.state is ENVELOPE and not self.pending and self.envelope is None:
            self.state = IDLE


_REPLY_HANDLERS: dict[Step, Callable[[Session, Step, Reply, Envelope | None, float], None]] = {
    **dict.fromkeys((Step.GREETING, Step.EHLO, Step.HELO, Step.STARTTLS, Step.AUTH), Session._on_handshake),
    Step.RSET: Session._on_reset,
    Step.MAIL: Session._on_mail,
    Step.RCPT: Session._on_rcpt,
    Step.DATA: Session._on_data,
    Step.CONTENT: Session._on_content,
    Step.LONE_DOT: Session._on_lone_dot,
    Step.QUIT: Session._on_quit,
}
