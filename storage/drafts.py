"""Drafts: emails that someone is writing on a page. They are stored as they are typed, whatever is still missing.

Several tabs or people may edit one draft. Each save names the version that it was made from, so that nobody's text is
replaced without being seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from storage import sequences
from storage.connection import Connection
from storage.emails import Email, Emails
from storage.errors import DraftChanged, NoSuchDraft
from storage.values import epoch_seconds, moment

MAX_TITLE_LENGTH = 200  # characters
MAX_ID = 2**63 - 1

INSERT_DRAFT = """
INSERT INTO drafts (draft_id, version, created_at, updated_at, title, fields)
VALUES (:draft_id, 1, :now, :now, :title, :fields)
"""
UPDATE_DRAFT = """
UPDATE drafts SET version = version + 1, updated_at = :now, title = :title, fields = :fields
WHERE draft_id = :draft_id AND version = :version
"""
SELECT_DRAFT = "SELECT draft_id, version, updated_at, title, fields FROM drafts WHERE draft_id = :draft_id"
SELECT_PAGE = """
SELECT draft_id, version, updated_at, title FROM drafts WHERE draft_id < :before ORDER BY draft_id DESC LIMIT :limit
"""
COUNT_UP_TO = "SELECT COUNT(*) FROM (SELECT draft_id FROM drafts ORDER BY draft_id LIMIT :limit) AS counted"
DELETE_DRAFT = "DELETE FROM drafts WHERE draft_id = :draft_id"
DELETE_VERSION = "DELETE FROM drafts WHERE draft_id = :draft_id AND version = :version"


class DraftSummary(NamedTuple):
    """A draft without its text. The title is the beginning of its subject, and may be empty."""

    draft_id: int
    version: int
    updated_at: datetime
    title: str


class Draft(NamedTuple):
    """A draft. `fields` are those of the form, as they were typed."""

    draft_id: int
    version: int
    updated_at: datetime
    title: str
    fields: dict[str, str]


class Drafts:
    """All drafts of an installation."""

    def __init__(self, connection: Connection, emails: Emails) -> None:
        self._connection = connection
        self._emails = emails

    def add(self, title: str, fields: Mapping[str, str], now: datetime) -> DraftSummary:
        """Save a new draft."""
        with self._connection.transaction():
            draft_id = sequences.reserve(self._connection, "draft_id")
            self._connection.execute(INSERT_DRAFT, draft_id=draft_id, **_values(title, fields, now))
        return DraftSummary(draft_id, 1, now, title)

    def save(self, draft_id: int, version: int, title: str, fields: Mapping[str, str], now: datetime) -> DraftSummary:
        """Save the text that was made from this version of a draft.

        Raises DraftChanged if it has another version now, or NoSuchDraft; then nothing was changed.
        """
        with self._connection.transaction():
            values = _values(title, fields, now)
            if not self._connection.execute(UPDATE_DRAFT, draft_id=draft_id, version=version, **values):
                if self._connection.fetch_one(SELECT_DRAFT, draft_id=draft_id) is None:
                    raise NoSuchDraft(draft_id)
                raise DraftChanged(draft_id)
        return DraftSummary(draft_id, version + 1, now, title)

    def get(self, draft_id: int) -> Draft | None:
        row = self._connection.fetch_one(SELECT_DRAFT, draft_id=draft_id)
        if row is None:
            return None
        number, version, updated_at, title, fields = row
        return Draft(number, version, moment(updated_at), title, json.loads(fields))

    def page(self, before: int = MAX_ID, limit: int = 100) -> list[DraftSummary]:
        """Return up to `limit` drafts with a lower draft_id, newest first."""
        rows = self._connection.fetch_all(SELECT_PAGE, before=before, limit=limit)
        return [DraftSummary(number, version, moment(at), title) for number, version, at, title in rows]

    def count(self, limit: int) -> int:
        """Return the number of drafts, or `limit` if there are more."""
        ((count,),) = self._connection.fetch_all(COUNT_UP_TO, limit=limit)
        return int(count)

    def delete(self, draft_id: int, version: int | None = None) -> bool:
        """Delete a draft, if it still has this version (None: any). Return whether it was there."""
        with self._connection.transaction():
            if version is None:
                return self._connection.execute(DELETE_DRAFT, draft_id=draft_id) == 1
            return self._connection.execute(DELETE_VERSION, draft_id=draft_id, version=version) == 1

    def schedule(self, email: Email, draft_id: int, version: int, now: datetime) -> bool:
        """Save an email and delete the draft that it was written in, in one transaction.

        If the draft has another version by now, it stays. Return whether it was deleted. Raises what saving raises.
        """
        with self._connection.transaction():
            self._emails.save(email, now)
            return self.delete(draft_id, version)


def _values(title: str, fields: Mapping[str, str], now: datetime) -> dict[str, object]:
    # JSON in ASCII, so that every character can be stored.
    return {"title": title[:MAX_TITLE_LENGTH], "fields": json.dumps(fields), "now": epoch_seconds(now)}
