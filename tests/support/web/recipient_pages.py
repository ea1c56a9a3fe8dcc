"""Requests to the recipient pages, as a browser would make them."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape

from database import Recipient
from tests.support.web.api_client import Api

BROWSER = {"Accept": "text/html"}


def get(api: Api, path: str, status: int = 200) -> str:
    """Return the HTML of a page, unescaped."""
    answer = api.client.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.text
    return unescape(answer.text)


def unsubscribe(api: Api, recipient_id: int) -> None:
    with api.installation.database() as database:
        assert database.recipients.unsubscribe(recipient_id, datetime.now(UTC))


def everyone(api: Api) -> list[Recipient]:
    with api.installation.database() as database:
        return database.recipients.page()
