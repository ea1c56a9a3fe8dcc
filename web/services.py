"""What a request needs of the service: its settings, and a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar, cast

from flask import Flask, current_app

from database import Database, Databases, Email, SaveResult, require_saved
from schedulers.wake_ups import wake_ups_of
from settings import Settings
from storage.group_commit import GroupCommit

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

T = TypeVar("T")


class EmailSaver:
    """Saves the emails of all threads, those that come at one time in one transaction of one database."""

    def __init__(self, settings: Settings, wait: float = 5.0) -> None:
        """`wait`: seconds until an email is given up whose transaction could not begin."""
        self.databases = Databases(settings, SimpleNamespace())
        self.groups = GroupCommit(self._commit, wait)

    def save(self, email: Email, now: datetime) -> None:
        """Save it, durably. Raises EventIdUsed, also when the same email was saved before."""
        require_saved(email, self.groups.save((email, now)))

    def _commit(self, take: Callable[[], list[tuple[Email, datetime]]]) -> list[SaveResult]:
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
