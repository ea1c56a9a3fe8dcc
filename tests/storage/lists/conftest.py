"""These tests run on each engine, and leave a whole database."""

from tests.support.each_engine import settings, whole

__all__ = ["settings", "whole"]
