"""The state machine of one connection: replies in, outcomes and bytes out. No socket, no clock.

Per message:

    begin(envelope, content)   MAIL, RCPT and DATA go out, together where the server allows it
    state GO                   the recipient and DATA were accepted: the content may go
    end()                      the content with its final dot goes out; from here the message can be in doubt
    end_and_begin(next, ...)   the same, and the next envelope behind the dot: one round trip for each message

The owner moves `data_to_send()` to the network and counts in `handed` what it took: that number alone tells
whether a dot that got no answer can have arrived.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from delivery.interface import Envelope, Kind, Outcome, new_outcome
from delivery.smtp import command
from delivery.smtp.command import EnvelopeCommands, Step
from delivery.smtp.errors import LocalError, ProtocolError
from delivery.smtp.handshake import Offers, Opening, Refused
from delivery.smtp.reply import Reply, ReplyParser
from delivery.smtp.state import (
    CLOSED,
    ENVELOPE,
    FOLLOWED,
    FOLLOWING,
    GO,
    GROUPED,
    IDLE,
    ONE_BY_ONE,
    OPENING,
    QUITTING,
    Dialogue,
    Form,
)
from delivery.smtp.verdict import idled_out, out_of_order, verdict

# Content from this size on goes out alone: the round trip saved is nothing beside it, and two such contents
# would be in memory for each connection.
LARGE = 128 * 1024

_MAIL, _RCPT, _DATA, _CONTENT = Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT  # quicker than in their class
_SENT = Kind.SENT

# What nearly every read brings: a message accepted, and the next envelope too.
_USUAL_GROUP = re.compile(rb"(250 [ -~]{0,900})\r?\n250 [^\n]*\n250 [^\n]*\n354 [^\n]*\n").fullmatch
_ASKED = ((_MAIL, None), (_RCPT, None), (_DATA, None))


class Session(Dialogue):
    """One connection's dialogue. `outcomes`, `returned` and `refused` fill up; the owner empties them."""

    __slots__ = (
        "_accepted",
        "_commands",
        "_content",
        "_opening",
        "_parser",
        "_transaction",
        "_unsent",
        "form",
        "messages",
        "offers",
        "opened",
        "refusal",
        "refused",
        "tripped",
        "wants_tls",
    )

    def __init__(self, opening: Opening, form: Form = FOLLOWING) -> None:
        super().__init__()
        self.form = form  # the most that this server is known to follow
        self.messages = 0  # begun
        self.refused: list[tuple[Envelope, str]] = []  # 5yz to RCPT; each has its outcome too
        self.refusal: Refused | None = None  # the session as a whole is not wanted
        self.tripped: Form | None = None  # the plainer form for a server that cannot follow this one
        self.opened = False
        self.wants_tls = False
        self.offers = Offers()  # what the server announced
        self._commands = EnvelopeCommands()
        self._opening = opening
        self._parser = ReplyParser()
        self._unsent: deque[tuple[Step, bytes]] = deque()  # the envelope's commands that wait for their turn
        self._accepted = False  # its recipient
        self._transaction = False  # one is open at the server: RSET goes before the next MAIL
        self._content = b""  # of `envelope`

    @property
    def can_follow(self) -> bool:
        """Whether the next envelope may go out behind the content that may go now."""
        return self.state is GO and self.form is FOLLOWING and len(self._content) < LARGE and self.offers.pipelining

    # What the owner does

    def begin(self, envelope: Envelope, content: bytes) -> None:
        """Ask the server to take `envelope`. UnfitValueError: it cannot be asked, and nothing was sent."""
        if self.state is not IDLE:
            raise LocalError(f"no envelope may begin in state {self.state.name}")
        commands = self._commands.lines(envelope.message.sender_address, envelope.address, content)
        self._mail_answered = self._accepted = False
        self._began_as = min(self.form, GROUPED) if self.offers.pipelining else ONE_BY_ONE
        self._content = content
        self.envelope = envelope
        self.messages += 1
        if self._transaction:
            self._unsent.append((Step.RSET, command.RSET))
        self._unsent += zip((_MAIL, _RCPT, _DATA), commands.splitlines(keepends=True), strict=True)
        self._advance()

    def end(self) -> None:
        """Let the content and its final dot go out."""
        content, envelope = self._content, self.envelope
        self._dot_at = self._queued + len(content) - len(command.LONE_DOT)
        self._send(_CONTENT, content, envelope)
        self._content, self.envelope = b"", None
        self._transaction = False

    def end_and_begin(self, envelope: Envelope, content: bytes) -> None:
        """`end`, and `envelope` behind the dot. UnfitValueError: it cannot be asked; nothing was sent or ended.

        Nearly every message goes out here: in one piece, what `end` and `begin` would send in four.
        """
        if self.state is not GO:
            raise LocalError(f"no envelope may follow in state {self.state.name}")
        commands = self._commands.lines(envelope.message.sender_address, envelope.address, content)
        ending = self._content
        data = ending + commands
        self._dot_at = self._queued + len(ending) - len(command.LONE_DOT)
        self._queued += len(data)
        self._out.append(data)
        self.pending.append((_CONTENT, self.envelope))
        self.pending.extend(_ASKED)
        self.turn += 1
        self.state = FOLLOWED
        self._transaction = self._mail_answered = self._accepted = False
        self._began_as = FOLLOWING
        self._content = content
        self.envelope = envelope
        self.messages += 1

    def quit(self) -> None:
        """Say goodbye; whatever comes of it changes nothing."""
        self._send(Step.QUIT, command.QUIT)

    def tls_started(self) -> None:
        """TLS stands: begin again with EHLO."""
        self.wants_tls = False
        self._send(*self._opening.tls_started())

    # What the network brings

    def receive(self, data: bytes, at: float) -> None:
        """Take what the server sent. After a ProtocolError the owner calls `fail`; outcomes so far stand."""
        if self.state is FOLLOWED and self._parser.empty and self.handed == self._queued:
            usual = _USUAL_GROUP(data)
            if usual is not None:
                return self._take_usual_group(usual[1].decode("ascii").rstrip(), at)
        for reply in self._parser.feed(data):
            self._take(reply, at)
            if self.state is CLOSED:
                break
        return None

    # Replies

    def _take_usual_group(self, text: str, at: float) -> None:
        """As `_take` would do it in four steps."""
        envelope = self.pending[0][1]
        self.pending.clear()
        self.turn += 4
        self.state = GO
        self._mail_answered = self._transaction = self.follows = True
        if envelope is not None:
            self.outcomes.append(new_outcome((envelope, _SENT, text, at)))

    def _take(self, reply: Reply, at: float) -> None:
        if reply.code == 421 and self.state is not QUITTING:
            return self._take_421(reply, at)
        if not self.pending:
            raise ProtocolError(f"a reply that nothing asked for: {reply.text}")
        step, envelope = self.pending[0]
        _ON_REPLY[step](self, step, reply, envelope, at)
        if self.state is not CLOSED:
            self.pending.popleft()
            self.turn += 1
            self._advance()
        return None

    def _take_421(self, reply: Reply, at: float) -> None:
        """The server is closing; the message whose command it answers with that is deferred."""
        if self.state is OPENING:
            self.refusal = Refused(reply.text)
        step, envelope = self.pending[0] if self.pending else (None, None)
        if step is Step.CONTENT and envelope is not None:
            self.pending.popleft()
            self.outcomes.append(Outcome(envelope, Kind.DEFERRED, reply.text, at))
            return self.lose(reply.text, at)
        if step is None or (step is Step.MAIL and idled_out(reply)):
            return self.lose(reply.text, at)
        return self.fail(reply.text, at)

    def _on_opening(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        try:
            following = self._opening.after(step, reply)
        except Refused as refusal:
            self.refusal = refusal
            return self._close(str(refusal), at, charged=None)
        self.offers = offers = self._opening.offers
        self._commands = EnvelopeCommands(offers.size, eight_bit=offers.eight_bit, utf8=offers.utf8)
        if following:
            return self._send(*following)
        if step is not Step.STARTTLS:
            self.opened = True
            self.state = IDLE
        elif self._parser.empty:
            self.wants_tls = True
        else:
            raise ProtocolError("the server sent something between its answer to STARTTLS and TLS")
        return None

    def _on_reset(self, _step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._transaction = False
        if reply.code // 100 != 2:
            self.lose(f"RSET: {reply.text}", at)

    def _on_mail(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._mail_answered = True
        self.follows = self.follows or self._began_as is FOLLOWING
        if reply.code // 100 == 2:
            self._transaction = True
        else:
            self._refuse(step, reply, at)

    def _on_rcpt(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._accepted = reply.code // 100 == 2
        if self.envelope is not None and not self._accepted:
            self._refuse(step, reply, at)

    def _on_data(self, step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        if reply.code == 354 and self.envelope is not None:
            self.state = GO
        elif reply.code == 354 and self._accepted:  # without a sender: a lone dot would be an empty mail to a person
            self._close(reply.text, at, charged=None)
        elif reply.code == 354:
            self._send(Step.LONE_DOT, command.LONE_DOT)
        elif reply.code < 400:
            raise ProtocolError(f"no answer to DATA: {reply.text}")
        elif self.envelope is not None:
            self._refuse(step, reply, at)

    def _on_content(self, step: Step, reply: Reply, envelope: Envelope | None, at: float) -> None:
        if reply.code // 100 == 3 or (reply.code < 400 and not self.dot_left):
            raise ProtocolError(f"no answer to the end of a message: {reply.text}")
        kind = verdict(step, reply)
        if envelope is not None and kind is not None:
            self.outcomes.append(Outcome(envelope, kind, reply.text, at))
        if not self.dot_left:  # it will not read the rest: nothing more can be said on this connection
            self.pending.popleft()
            return self.lose(reply.text, at)
        self.state = ENVELOPE if self.state is FOLLOWED else IDLE
        return None

    def _on_lone_dot(self, _step: Step, _reply: Reply, _envelope: Envelope | None, _at: float) -> None:
        """A message without recipients is no delivery: its answer means nothing."""
        self._transaction = False

    def _on_quit(self, _step: Step, reply: Reply, _envelope: Envelope | None, at: float) -> None:
        self._close(reply.text, at, charged=None)

    def _refuse(self, step: Step, reply: Reply, at: float) -> None:
        """The server will not have this envelope, or none, or not in this form."""
        envelope = self.envelope
        if envelope is None or reply.code < 400:
            raise ProtocolError(f"no answer to {step.name}: {reply.text}")
        self.envelope = None
        self._unsent.clear()
        if out_of_order(reply) and self._began_as > (GROUPED if step is Step.MAIL else ONE_BY_ONE):
            self.tripped = Form(self._began_as - 1)
            self.returned.append(envelope)
            return self._close(reply.text, at, charged=None)
        kind = verdict(step, reply)
        if kind is None:
            self.refusal = Refused(reply.text, final=True)
            self.returned.append(envelope)
            return None
        if step is Step.RCPT and kind is Kind.FAILED:
            self.refused.append((envelope, reply.text))
        self.outcomes.append(Outcome(envelope, kind, reply.text, at))
        return None

    # Helpers

    def _advance(self) -> None:
        """Send what may be sent; after the last reply about an envelope that is not to go on, be idle."""
        while self._unsent and (not self.pending or self._began_as is not ONE_BY_ONE):
            self._send(*self._unsent.popleft())
        if self.state is ENVELOPE and not self.pending and self.envelope is None:
            self.state = IDLE


_ON_REPLY: dict[Step, Callable[[Session, Step, Reply, Envelope | None, float], None]] = {
    **dict.fromkeys((Step.GREETING, Step.EHLO, Step.STARTTLS), Session._on_opening),
    **dict.fromkeys((Step.AUTH_USER, Step.AUTH_PASSWORD, Step.AUTH), Session._on_opening),
    Step.RSET: Session._on_reset,
    Step.MAIL: Session._on_mail,
    Step.RCPT: Session._on_rcpt,
    Step.DATA: Session._on_data,
    Step.CONTENT: Session._on_content,
    Step.LONE_DOT: Session._on_lone_dot,
    Step.QUIT: Session._on_quit,
}
