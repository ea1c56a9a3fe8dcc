"""The base of the errors of `delivery`, and the one that every layer of it may raise."""

from __future__ import annotations


class DeliveryError(Exception):
    """Base of everything that `delivery` raises on purpose."""


class MessageError(DeliveryError, ValueError):
    """No message can be made of these values: its deliveries fail, and nothing else does."""
