"""The errors of `delivery.smtp`: bugs of ours, faults of the server, and values that cannot be sent."""

from __future__ import annotations

from delivery.interface import DeliveryError


class SMTPError(DeliveryError):
    """Base of the errors of `delivery.smtp`; never raised itself."""


class LocalError(SMTPError):
    """A transition that the session's table does not allow: a bug of ours."""


class ProtocolError(SMTPError):
    """The server violated the protocol. The connection is not used again."""


class UnsendableValueError(SMTPError):
    """A value that cannot be sent to this server. Only the delivery it belongs to fails."""
