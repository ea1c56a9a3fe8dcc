"""Run these tests on each engine, and check afterwards that the database is consistent."""

from tests.support.each_engine import settings, whole

__all__ = ["settings", "whole"]
