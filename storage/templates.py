"""Templates: texts that are saved under a name, for new emails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from storage import sequences
from storage.connection import Connection
from storage.errors import NoSuchTemplate, TemplateExists
from storage.values import epoch_seconds, moment, name_key

INSERT_TEMPLATE = """
INSERT INTO templates (template_id, name, name_key, created_at, fields)
VALUES (:template_id, :name, :key, :now, :fields)
ON CONFLICT (name_key) DO NOTHING
"""
SELECT_TEMPLATE = "SELECT template_id, name, created_at, fields FROM templates WHERE template_id = :template_id"
SELECT_PAGE = """
SELECT template_id, name, created_at FROM templates WHERE name_key > :after ORDER BY name_key LIMIT :limit
"""
SELECT_OTHER = "SELECT 1 FROM templates WHERE name_key = :key AND template_id <> :template_id"
RENAME = "UPDATE templates SET name = :name, name_key = :key WHERE template_id = :template_id"
DELETE_TEMPLATE = "DELETE FROM templates WHERE template_id = :template_id"


class TemplateSummary(NamedTuple):
    """A template without its text."""

    template_id: int
    name: str
    created_at: datetime


class Template(NamedTuple):
    """A template. `fields` are those of the form for an email, as they were typed."""

    template_id: int
    name: str
    created_at: datetime
    fields: dict[str, str]


class Templates:
    """All templates of an installation. Names are compared without case."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, fields: Mapping[str, str], now: datetime) -> TemplateSummary:
        """Save a new template. Raises TemplateExists."""
        values = {"name": name, "key": name_key(name), "now": epoch_seconds(now)}
        with self._connection.transaction():
            template_id = sequences.reserve(self._connection, "template_id")
            # JSON in ASCII, so that every character can be stored.
            added = self._connection.execute(
                INSERT_TEMPLATE, template_id=template_id, fields=json.dumps(fields), **values
            )
            if not added:
                raise TemplateExists(name)
        return TemplateSummary(template_id, name, now)

    def get(self, template_id: int) -> Template | None:
        row = self._connection.fetch_one(SELECT_TEMPLATE, template_id=template_id)
        if row is None:
            return None
        number, name, created_at, fields = row
        return Template(number, name, moment(created_at), json.loads(fields))

    def page(self, after: str = "", limit: int = 100) -> list[TemplateSummary]:
        """Return up to `limit` templates after this name, by name."""
        rows = self._connection.fetch_all(SELECT_PAGE, after=name_key(after), limit=limit)
        return [TemplateSummary(number, name, moment(at)) for number, name, at in rows]

    def rename(self, template_id: int, name: str) -> None:
        """Raises NoSuchTemplate, or TemplateExists if another template has this name."""
        values = {"template_id": template_id, "key": name_key(name)}
        with self._connection.transaction():
            if self._connection.fetch_one(SELECT_OTHER, **values) is not None:
                raise TemplateExists(name)
            if not self._connection.execute(RENAME, name=name, **values):
                raise NoSuchTemplate(template_id)

    def delete(self, template_id: int) -> bool:
        """Delete a template. Return whether it was there."""
        with self._connection.transaction():
            return self._connection.execute(DELETE_TEMPLATE, template_id=template_id) == 1
