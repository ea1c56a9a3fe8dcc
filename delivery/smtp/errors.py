"""The exceptions of `delivery.smtp`: bugs in this program, faults of the server, and values that cannot be sent."""

from __future__ import annotations

from delivery.interface import DeliveryError


class SMTPError(DeliveryError):
    """Base class of the exceptions of `delivery.smtp`. Never raised itself."""


class LocalError(SMTPError):
    """A transition that the session's table does not allow: a bug in this program."""


class ProtocolError(SMTPError):
    """The server violated the protocol. The connection must not be used again."""


class UnsendableValueError(SMTPError):
    """A value that cannot be sent to this server. Only its delivery fails."""
