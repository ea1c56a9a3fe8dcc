"""What a request needs of the service: its settings, and a database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar, cast

from flask import Flask, current_app

from database import Database, DatabaseMissing, DatabaseUnavailable, open_database
from settings import Settings
from wakeup.redis_queue import WakeUps, wake_ups_of

T = TypeVar("T")


class Databases:
    """One Database for each thread, opened when it is first needed and kept between requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._of_thread = threading.local()

    def current(self) -> Database:
        """This thread's database."""
        database = cast("Database | None", getattr(self._of_thread, "database", None))
        if database is None:
            database = self._of_thread.database = open_database(self._settings)
        return database

    def close(self) -> None:
        """Close this thread's database; the next use opens it anew."""
        database = cast("Database | None", self._of_thread.__dict__.pop("database", None))
        if database is not None:
            database.close()

    def act(self, act: Callable[[Database], T]) -> T:
        """What `act` returns for this thread's database. One that failed is never used again.

        A file that was deleted or replaced underneath is refused before anything is done in it, so that it is
        safe to try the one now in its place.
        """
        try:
            return act(self.current())
        except DatabaseMissing:
            self.close()
            return act(self.current())
        except DatabaseUnavailable:
            self.close()
            raise


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its settings, its databases and its wake-ups. Raises QueueUnavailable."""
    app.extensions["settings"] = settings
    app.extensions["databases"] = Databases(settings)
    app.extensions["wake_ups"] = wake_ups_of(settings)


def current_settings() -> Settings:
    """The settings of the application that serves this request."""
    return cast(Settings, current_app.extensions["settings"])


def in_database(act: Callable[[Database], T]) -> T:
    """What `act` returns for the database of the application that serves this request."""
    return cast(Databases, current_app.extensions["databases"]).act(act)


def wake_at(due_at: datetime) -> None:
    """Have a sweep run at that second, after the commit, if SCHEDULER asks for it. Never raises."""
    wake_ups = cast("WakeUps | None", current_app.extensions["wake_ups"])
    if wake_ups is not None:
        wake_ups.at(int(due_at.timestamp()))
