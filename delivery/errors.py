"""The base exception of `delivery`, and MessageError, which any of its layers may raise."""

from __future__ import annotations


class DeliveryError(Exception):
    """Base class of the exceptions that `delivery` raises."""


class MessageError(DeliveryError, ValueError):
    """The message cannot be built from these values. Its deliveries fail; others are not affected."""
