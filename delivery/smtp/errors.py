"""What can go wrong between us and an SMTP server: three kinds, ours, theirs, and a value nobody can send."""

from __future__ import annotations

from delivery.interface import DeliveryError


class SMTPError(DeliveryError):
    """Base of the errors of `delivery.smtp`; never raised itself."""


class LocalError(SMTPError):
    """We made a move that the session's table does not allow: a bug of ours."""


class ProtocolError(SMTPError):
    """The server broke the protocol. Its connection is never used again."""


class UnfitValueError(SMTPError):
    """A value that no command to this server can carry: the delivery it belongs to fails, alone."""
