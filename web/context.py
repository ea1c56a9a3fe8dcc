"""What a request needs of the service: its settings, and a database."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar, cast

from flask import Flask, current_app

from database import (
    Database,
    DatabaseMissing,
    DatabaseUnavailable,
    Email,
    open_database,
    refuse_used,
)
from schedulers.wake_ups import wake_ups_of
from settings import Settings
from storage.group_commit import GroupCommit

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

T = TypeVar("T")


class Databases:
    """Databases kept between requests, opened when first needed: one for each thread, or one in a `place` of all."""

    def __init__(self, settings: Settings, place: object | None = None) -> None:
        self._settings = settings
        self._place = place or threading.local()

    def current(self) -> Database:
        """The database of this place."""
        kept = cast("_Kept | None", self._place.__dict__.get("kept"))
        if kept is None:
            kept = self._place.__dict__["kept"] = _Kept(open_database(self._settings))
        return kept.database

    def close(self) -> None:
        """Close it; the next use opens it anew."""
        kept = cast("_Kept | None", self._place.__dict__.pop("kept", None))
        if kept is not None:
            kept.close()

    def act(self, act: Callable[[Database], T]) -> T:
        """What `act` returns for the database of this place. One that failed is never used again.

        A file that was deleted or replaced underneath is refused before anything is done in it, so that it is
        safe to try the one now in its place.
        """
        try:
            database = self.current()
            database.connection.refuse_replaced()
            return act(database)
        except DatabaseMissing:
            self.close()
            return act(self.current())
        except DatabaseUnavailable:
            self.close()
            raise


class _Kept:
    """A database that is closed at the latest when its place goes, as that of a thread does with the thread."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.close = weakref.finalize(self, database.close)
        self.close.atexit = False  # the kernel is quicker, and waits for nobody


class EmailSaver:
    """Saves the emails of all threads, those that come at one time in one transaction of one database."""

    def __init__(self, settings: Settings, wait: float = 5.0) -> None:
        """`wait`: seconds until an email is given up whose transaction could not begin."""
        self.databases = Databases(settings, SimpleNamespace())
        self.groups = GroupCommit(self._commit, wait)

    def save(self, email: Email, now: datetime) -> None:
        """Save it, durably. Raises EventIdUsed, also when the same email was saved before."""
        refuse_used(email, self.groups.save((email, now)))

    def _commit(self, take: Callable[[], list[tuple[Email, datetime]]]) -> list[str]:
        return self.databases.act(lambda database: database.emails.save_group(take))


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its settings, its databases and its wake-ups. Raises QueueUnavailable."""
    app.extensions["settings"] = settings
    app.extensions["databases"] = Databases(settings)
    app.extensions["email_saver"] = EmailSaver(settings)
    app.extensions["wake_ups"] = wake_ups_of(settings)


def warm_up(app: Flask) -> None:
    """Connect to the database that saves emails, so that the first one does not wait for it. Raises DBError."""
    cast(EmailSaver, app.extensions["email_saver"]).databases.current()


def current_settings() -> Settings:
    """The settings of the application that serves this request."""
    return cast(Settings, current_app.extensions["settings"])


def in_database(act: Callable[[Database], T]) -> T:
    """What `act` returns for the database of the application that serves this request."""
    return cast(Databases, current_app.extensions["databases"]).act(act)


def save_email(email: Email) -> None:
    """Save it, durably, together with those that other requests have to save just now. Raises EventIdUsed."""
    cast(EmailSaver, current_app.extensions["email_saver"]).save(email, datetime.now(UTC))


def wake_at(due_at: datetime) -> None:
    """Have a sweep run at that second, after the commit, if SCHEDULER asks for it. Never raises."""
    wake_ups = cast("WakeUps | None", current_app.extensions["wake_ups"])
    if wake_ups is not None:
        wake_ups.at(int(due_at.timestamp()))
