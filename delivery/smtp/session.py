"""The client side of one SMTP connection, without socket or clock: replies go in, bytes and outcomes come out.

Theory of operation
-------------------
The owner has the socket. It passes what the server sent to `receive`, writes what `data_to_send` returns, and adds to
`bytes_sent` how many of these bytes the network took. (A TLS record counts in full once its first byte is taken.) The
owner sends each message in two steps:

    begin(envelope, content)    sends MAIL, RCPT and DATA, together if the server supports PIPELINING
    (READY_FOR_CONTENT)         the server accepted all three: the content may be sent
    end()                       sends the content and its final dot: from here on, the message can be in doubt
    end_and_begin(next, ...)    does the same and sends the next envelope after the dot: one round trip per message

Between the two steps, the owner records durably that the message is about to end (see `loop.py`).

    HANDSHAKE -> IDLE -> ENVELOPE -> READY_FOR_CONTENT -> CONTENT -> IDLE
                                  `-> CONTENT_AND_NEXT_ENVELOPE -> ENVELOPE -> READY_FOR_CONTENT -> ...

`TRANSITIONS` in `state.py` lists the commands that may be sent in each state; sending any other raises LocalError.
Replies cause the remaining transitions. The end of the handshake and the last reply about a refused envelope lead to
IDLE, 354 leads to READY_FOR_CONTENT, and the reply to the dot leads to IDLE, or to ENVELOPE if the next envelope has
already been sent. `end_and_begin` and `_handle_all_accepted` are shortcuts that nearly every message takes. They leave
the same state as the steps they replace, and must be changed together with those.

When a connection ends early, a message that got a final reply has that outcome. For any other message, the first line
that applies decides:

    the network took any byte of the dot line            IN_DOUBT
    we closed it (`stop`, or a refusal of the session)   returned
    part of the content was sent                         DEFERRED
    envelope only, and the connection was lost           DEFERRED if MAIL had a reply, otherwise returned
    envelope only, and a reply was late or invalid       DEFERRED, unless that reply was the previous message's
                                                         and MAIL had none yet: then returned

A returned message goes back to the queue, and no attempt is counted.

Invariants:

1. A reply belongs to the head of `pending`. One that is not valid there is a ProtocolError, and the connection is not
   used again: skipping the reply would shift all later ones. 421 is valid anywhere: the server is closing the
   connection.
2. Content is sent only after the reply to the previous content. So at most one message per connection is in doubt.
3. A message without a valid reply is in doubt if, and only if, the network took any byte of its last line, the dot:
   `bytes_sent > _dot_offset`. Before that, the server cannot have accepted it.
4. Every envelope that was started ends in exactly one of `outcomes` and `returned`; only `drop_envelope` forgets one.
   `refused` repeats those in `outcomes` whose refusal may be about the session.
5. A refusal of the session (the login, the sender address, a quota) is in `refusal` and never in `outcomes`. If the
   next envelope was sent after the refused message, the connection is closed: the next message must not end before the
   outcome of the refused one is recorded, and that has none.
6. If the server answers commands that were sent together with "bad sequence of commands", that is not counted as a
   refusal. The connection is closed, the envelope is returned, and `downgraded_to` is the mode for later connections.
7. No empty message is sent. If DATA is accepted although the recipient was refused, a lone dot ends the transaction. If
   a recipient was accepted although MAIL was refused, the connection is closed instead.
8. If a parameter of MAIL is refused, the envelope is returned, and the session no longer sends that parameter.
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

# Content of this size or more is sent without the next envelope: saving a round trip would make little difference, and
# each connection would keep two such contents in memory.
LARGE_CONTENT_BYTES = 128 * 1024

_MAIL, _RCPT, _DATA, _CONTENT = Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT  # faster than looking them up in the enum
_SENT = Kind.SENT

# Nearly every read returns exactly this: the message was accepted, and so was the next envelope.
_ALL_ACCEPTED = re.compile(rb"(250 [ -~]{0,900})\r?\n250 [^\n]*\n250 [^\n]*\n354 [^\n]*\n").fullmatch
_ENVELOPE_STEPS = ((_MAIL, None), (_RCPT, None), (_DATA, None))


class Session(ProtocolState):
    """The client side of one SMTP connection. The owner takes the items out of `outcomes`, `returned` and `refused`."""

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
        self.pipelining_mode = pipelining_mode  # the highest mode that this server may still support
        self.message_count = 0  # messages that were started
        self.refused: list[UnclearRefusal] = []  # each also has an outcome
        self.returned_after_dot: list[Envelope] = []  # the returned envelopes that were refused after their final dot
        self.refusal: SessionRefused | None = None  # the server refused the session as a whole
        self.downgraded_to: PipeliningMode | None = None  # the lower mode, if the server could not handle this one
        self.opened = False
        self.too_many_connections = False  # the server closed this connection because we have too many
        self.wants_tls = False
        self.capabilities = Capabilities()  # what the server announced
        self._declares_size = True
        self._commands = EnvelopeCommands()
        self._handshake = handshake
        self._parser = ReplyParser()
        self._unsent_commands: deque[tuple[Step, bytes]] = deque()  # of the envelope, until earlier replies arrive
        self._recipient_accepted = False
        self._in_transaction = False  # the server has an open transaction: send RSET before the next MAIL
        self._content = b""  # of `envelope`

    @property
    def can_pipeline_next(self) -> bool:
        """Whether the next envelope may be sent right after the content that is ready to be sent."""
        return (
            self.state is READY_FOR_CONTENT
            and self.pipelining_mode is PIPELINE_ACROSS_MESSAGES
            and len(self._content) < LARGE_CONTENT_BYTES
            and self.capabilities.pipelining
        )

    # Called by the owner

    def begin(self, envelope: Envelope, content: bytes) -> None:
        """Send MAIL, RCPT and DATA for `envelope`. If this raises UnsendableValueError, nothing was sent."""
        if self.state is not IDLE:
            raise LocalError(f"an envelope cannot begin in state {self.state.name}")
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
        """Do the same as `end`, and send `envelope` right after the dot.

        If this raises UnsendableValueError, nothing was sent. Nearly every message is sent here, in one piece; `end`
        and `begin` would take four.
        """
        if self.state is not READY_FOR_CONTENT:
            raise LocalError(f"an envelope cannot follow in state {self.state.name}")
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
        """Send QUIT. Its reply does not matter."""
        self._send(Step.QUIT, command.QUIT)

    def tls_started(self) -> None:
        """Send EHLO again, now that TLS is established."""
        self.wants_tls = False
        self._send(*self._handshake.tls_started())

    def receive(self, data: bytes, at: float) -> None:
        """Handle bytes from the server, received `at` (seconds since 1970 UTC).

        If this raises ProtocolError, the owner calls `fail`. Outcomes from earlier replies stand.
        """
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
        """Handle in one step four accepting replies that arrived together, as `_handle_reply` would one by one."""
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
            raise ProtocolError(f"unexpected reply: {reply.text}")
        step, envelope = self.pending[0]
        _REPLY_HANDLERS[step](self, step, reply, envelope, at)
        if self.state is not CLOSED:
            self.pending.popleft()
            self.wait_count += 1
            self._advance()
        return None

    def _handle_421(self, reply: Reply, at: float) -> None:
        """Handle a server that is closing the connection. The message whose command got this reply is deferred."""
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
        """Handle a refusal of the session in the reply to a message: close the connection and return everything."""
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
            raise ProtocolError("the server sent data between its reply to STARTTLS and the TLS handshake")
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
        elif reply.code == 354 and self._recipient_accepted:  # MAIL was refused; a lone dot would send an empty message
            self._close(reply.text, at, charged=None)
        elif reply.code == 354:
            self._send(Step.LONE_DOT, command.LONE_DOT)
        elif reply.code < 400:
            raise ProtocolError(f"invalid reply to DATA: {reply.text}")
        elif self.envelope is not None:
            self._handle_refusal(step, reply, at)

    def _on_content(self, step: Step, reply: Reply, envelope: Envelope | None, at: float) -> None:
        if reply.code // 100 == 3 or (reply.code < 400 and not self.dot_sent):
            raise ProtocolError(f"invalid reply to the end of a message: {reply.text}")
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
        if not self.dot_sent:  # the server will not read the rest of the content, so the connection cannot be reused
            self.pending.popleft()
            return self.connection_lost(reply.text, at)
        self.state = ENVELOPE if self.state is CONTENT_AND_NEXT_ENVELOPE else IDLE
        return None

    def _on_lone_dot(self, _step: Step, _reply: Reply, _envelope: Envelope | None, _at: float) -> None:
        """Ignore the reply, because a message without recipients is not a delivery."""
        self._in_transaction = False

    def _on_quit(self, _step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._close(reply.text, at, charged=None)

    def _handle_refusal(self, step: Step, reply: Reply, at: float) -> None:
        """Handle a refusal of this envelope, of the whole session, or of commands that were sent together."""
        envelope = self.envelope
        if envelope is None or reply.code < 400:
            raise ProtocolError(f"invalid reply to {step.name}: {reply.text}")
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
        """Add the outcome of a refused envelope, unless the refusal is about the session or its connections.

        Returns what the refusal is about.
        """
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
        """Stop sending the parameters of MAIL that the reply names, or all if it names none.

        Returns False if no parameters were sent.
        """
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
        """Close as the base class does. If EHLO or a login was refused, that is the reason, whatever came after it."""
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
        """Send the commands that may be sent now. After the last reply about a refused envelope, become idle."""
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
