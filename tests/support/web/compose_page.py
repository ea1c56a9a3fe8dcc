"""The form for an email, as a browser would use it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from werkzeug.test import TestResponse

from database import Email
from tests.support.web.api_client import Api

BROWSER = {"Accept": "text/html"}
TYPED = {
    "email_subject": "Größe <b>日本</b>",
    "email_content": "\nHello 😀\r\n</textarea><script>\r\n",
    "timestamp": "2030-01-02T08:00",
}
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


class Page:
    """A browser at this page."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.api = Api(folder, **settings)
        self.client = self.api.client
        self.path = "/emails/new"

    def open(self, path: str = "") -> dict[str, str]:
        """Open a form, at first an empty one, and return its hidden fields."""
        answer = self.get(path or self.path)
        self.path = path.partition("?")[0] or self.path
        return hidden(answer)

    def get(self, path: str, status: int = 200) -> TestResponse:
        """Open a page."""
        answer = self.client.get(path, headers=BROWSER)
        assert answer.status_code == status, answer.text
        return answer

    def step(self, step: str, form: Mapping[str, object], **more: str) -> TestResponse:
        """Submit the form with the CSRF token of the last page."""
        return self.client.post(self.path, data={**form, **more, "step": step}, headers=BROWSER)

    def write(self, **typed: str) -> TestResponse:
        """Fill in an empty form, and continue."""
        return self.step("check", self.open() | TYPED | typed)

    def email(self, event_id: int) -> Email:
        """Return a saved email."""
        with self.api.installation.database() as database:
            email = database.emails.get(event_id)
        assert email is not None
        return email

    def saved(self, event_id: int) -> tuple[str, str, datetime]:
        """Return the subject, content and time of a saved email."""
        email = self.email(event_id)
        return email.subject, email.content, email.due_at

    def number_saved(self) -> int:
        """Return the number of saved emails."""
        with self.api.installation.database() as database:
            return sum(database.emails.counts().values())


def hidden(answer: TestResponse) -> dict[str, str]:
    """Return the hidden fields of the page's main form."""
    return {name: html.unescape(value) for name, value in HIDDEN.findall(answer.text)}


def text_of(answer: TestResponse) -> str:
    """Return the visible text of a page."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", answer.text)).split())


def error_at(answer: TestResponse, name: str) -> str:
    """Return the error message at a field."""
    assert answer.status_code == 400
    assert re.search(rf'id="{name}"[^>]* aria-invalid="true"[^>]* aria-describedby="[^"]*\b{name}-error\b', answer.text)
    found = re.search(rf'id="{name}-error">.*?<span>([^<]*)</span>', answer.text)
    assert found
    return html.unescape(found[1])


def filled(answer: TestResponse) -> dict[str, object]:
    """Return what a browser would send for the page's form: all of its fields as they are filled in.

    The date and the time of day are joined, as the service does.
    """
    text = answer.text.partition('<form class="written')[2].partition("</form>")[0]
    form: dict[str, object] = {name: html.unescape(value) for name, value in HIDDEN.findall(text)}
    for tag in re.findall(r"<input (?!type=\"hidden\")[^>]*>", text):
        name, kind = re.findall(r' name="(\w+)"', tag)[0], re.findall(r'type="(\w+)"', tag)
        value = html.unescape((re.findall(r'value="([^"]*)"', tag) or [""])[0])
        if kind in (["radio"], ["checkbox"]):
            if " checked" not in tag:
                continue
            if kind == ["checkbox"]:
                value = [*form.get(name, []), value]  # type: ignore[misc, assignment]
        form[name] = value
    for name, value in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>\n?([^<]*)</textarea>', text):
        form[name] = html.unescape(value)
    form["zone"] = re.findall(r'<option value="([^"]*)" selected>', text)[0]
    date, clock = str(form.pop("date")), str(form.pop("time"))
    form["timestamp"] = f"{date}T{clock}".removesuffix("T")
    return form
