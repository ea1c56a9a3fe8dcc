"""The clients of `soak.py`: their continuous requests, and the responses that are allowed."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import urlencode

TOKEN = "a-token-that-nobody-guesses"
UTC_8 = timezone(timedelta(hours=8))
FORM = "application/x-www-form-urlencoded"
BODY = "A line of some fifty octets, so that it is a letter.\n" * 5
TOMORROW = 86_400.0  # seconds
BULK = 20  # emails
VISITORS = 5  # recipients who are imported and removed again
TRIES = 50  # of a request whose connection breaks


class Answer(NamedTuple):
    """A response, and whether an earlier attempt at the same request may have been carried out."""

    status: int
    text: str
    next_page: str
    repeated: bool

    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


@dataclass
class Ledger:
    """The responses that all clients received."""

    event_ids: count[int] = field(default_factory=lambda: count(1))
    saved: set[int] = field(default_factory=set)
    cancelled: set[int] = field(default_factory=set)
    for_later: deque[int] = field(default_factory=deque)  # saved, and due tomorrow
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=100))
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)  # when connections broke
    over: threading.Event = field(default_factory=threading.Event)


class Client:
    """A client with one persistent connection. If it breaks, the request is repeated."""

    def __init__(self, port: int, ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        self.random = random.Random(seed)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def until_over(self, act: Callable[[Client], None], pause: float) -> None:
        """Repeat an action, with pauses of about this many seconds. Every exception is a fault."""
        try:
            while not self.ledger.over.wait(self.random.uniform(0, 2 * pause)):
                act(self)
        except Exception as error:
            self.ledger.wrong.append(f"{act.__name__}: {error!r}")
            raise

    def ask(
        self, method: str, path: str, body: str | None = None, kind: str = "application/json", name: str = ""
    ) -> Answer:
        """Send a request, and count its response under `name`."""
        for tries in range(TRIES):
            try:
                status, text, link = self._ask(method, path, body, kind)
            except (OSError, HTTPException):
                self.ledger.broken.append(time.monotonic())
                self._connection.close()
                time.sleep(0.1)
                continue
            self.ledger.answers[f"{method} {name or path}", status] += 1
            return Answer(status, text, link.partition("<")[2].partition(">")[0], tries > 0)
        raise ConnectionError(f"{method} {path}: no answer to {TRIES} tries")

    def _ask(self, method: str, path: str, body: str | None, kind: str) -> tuple[int, str, str]:
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": kind} if body is not None else {})
        self._connection.request(method, path, body.encode() if body is not None else None, headers)
        with self._connection.getresponse() as response:
            return response.status, response.read().decode(), response.headers.get("Link", "")

    def expect(self, answer: Answer, right: bool) -> bool:
        """Record a response that is not `right`."""
        if not right:
            self.ledger.wrong.append(f"{answer.status} {answer.text[:1000]} (repeated: {answer.repeated})")
        return right

    def keep(self, event_id: int, due_in: float) -> None:
        """Record an email that was answered as saved."""
        self.ledger.saved.add(event_id)
        (self.ledger.for_later if due_in == TOMORROW else self.ledger.recent).append(event_id)


def post(client: Client) -> None:
    """POST a form to /send-emails. Sometimes it is invalid."""
    due_in, event_id = some_time(client.random), next(client.ledger.event_ids)
    due = datetime.now(UTC_8) + timedelta(seconds=due_in)
    fields = {"event_id": event_id, "email_subject": f"{event_id}", "email_content": BODY, "timestamp": f"{due:%F %T}"}
    answer = client.ask("POST", "/send-emails", urlencode(fields), FORM)
    saved = (answer.status, answer.text) == (200, "Successful")
    same = answer.status == 400 and "UNIQUE constraint" in answer.text and "identical" in answer.text
    if client.expect(answer, saved or (answer.repeated and same)):
        client.keep(event_id, due_in)
    if client.random.random() < 0.05:
        again = client.ask("POST", "/send-emails", urlencode(fields | {"email_subject": "another"}), FORM)
        client.expect(again, again.status == 400 and "UNIQUE constraint" in again.text and "different" in again.text)
        bad = client.ask("POST", "/send-emails", urlencode(fields | {"event_id": "x"}), FORM)
        client.expect(bad, (bad.status, bad.text) == (400, "Bad event_id"))


def put(client: Client) -> None:
    """PUT one email for tomorrow, twice."""
    event_id = next(client.ledger.event_ids)
    body = json.dumps(an_email(event_id, TOMORROW))
    for wanted in ({201}, {200}):
        answer = client.ask("PUT", f"/api/emails/{event_id}", body, name="/api/emails/N")
        client.expect(answer, answer.status in wanted | ({200} if answer.repeated else set()))
    client.keep(event_id, TOMORROW)


def post_list(client: Client) -> None:
    """POST several emails in one request."""
    due_in = some_time(client.random)
    event_ids = [next(client.ledger.event_ids) for _ in range(BULK)]
    emails = [{"event_id": event_id} | an_email(event_id, due_in) for event_id in event_ids]
    answer = client.ask("POST", "/api/emails", json.dumps(emails))
    counts = answer.json() if answer.status == 200 else {}
    if client.expect(answer, counts.get("saved", 0) + counts.get("identical", 0) == BULK):
        for event_id in event_ids:
            client.keep(event_id, due_in)


def look(client: Client) -> None:
    """Read lists, some of their pages, an email's result, and the probes."""
    pages = ["/api/emails?limit=100", "/api/emails?status=sent&order=desc", "/api/recipients?limit=3", "/metrics"]
    for path in [*pages, "/api/recipients?address_begins=visitor", "/healthz", "/readyz", "/openapi.json"]:
        answer = client.ask("GET", path)
        for _ in range(3):
            if not (client.expect(answer, answer.status == 200) and answer.next_page):
                break
            answer = client.ask("GET", answer.next_page, name=path)
            if answer.status == 404 and "visitor" in path:  # the last recipient of the previous page has been removed
                break
    if client.ledger.recent:
        event_id = client.random.choice(list(client.ledger.recent))
        for end in ("", "/deliveries"):
            answer = client.ask("GET", f"/api/emails/{event_id}{end}", name=f"/api/emails/N{end}")
            client.expect(answer, answer.status == 200)


def cancel(client: Client) -> None:
    """Cancel an email of tomorrow, twice. Sometimes cancel one that is being sent."""
    ledger = client.ledger
    if ledger.for_later:
        event_id = ledger.for_later.popleft()
        for _ in range(2):
            answer = client.ask("POST", f"/api/emails/{event_id}/cancel", name="/api/emails/N/cancel")
            client.expect(answer, answer.status == 200 and answer.json()["email"]["status"] == "cancelled")
        ledger.cancelled.add(event_id)
    if ledger.recent and client.random.random() < 0.2:
        event_id = ledger.recent[-1]
        answer = client.ask("POST", f"/api/emails/{event_id}/cancel", name="/api/emails/N/cancel")
        if client.expect(answer, answer.status in (200, 409)) and answer.status == 200:
            ledger.cancelled.add(event_id)


def import_csv(client: Client) -> None:
    """Import recipients with a file that also lists all others, and remove them one by one."""
    number = client.random.randrange(10**9)
    visitors = [f"visitor-{number}-{nth}@example.com" for nth in range(VISITORS)]
    rows = ["recipient_email", *(f"R{nth % 5}@example.com" for nth in range(200)), *visitors]
    answer = client.ask("POST", "/api/recipients/import", "\r\n".join(rows), "text/csv")
    added = answer.json().get("added") if answer.status == 200 else None
    client.expect(answer, added == VISITORS or (added == 0 and answer.repeated))
    bad = client.ask("POST", "/api/recipients/import", "nobody", "text/csv")
    client.expect(bad, bad.status == 400)
    for visitor in visitors:
        answer = client.ask("DELETE", f"/api/recipients/{visitor}", name="/api/recipients/ADDRESS")
        client.expect(answer, answer.status == 204 or (answer.status == 404 and answer.repeated))


def some_time(source: random.Random) -> float:
    """Return a delay in seconds: mostly 0, sometimes a few, and for one email in ten until tomorrow."""
    return source.choice([0.0] * 7 + [1.0, 3.0, TOMORROW])


def an_email(event_id: int, due_in: float) -> dict[str, object]:
    """Return the fields of an email, except its event_id."""
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=due_in)
    return {"subject": f"{event_id}", "content": BODY, "due_at": due.isoformat()}


WORK: list[tuple[Callable[[Client], None], float]] = [
    *[(post, 0.03)] * 4,
    (put, 0.2),
    (post_list, 1.0),
    *[(look, 0.3)] * 2,
    (cancel, 0.02),
    (import_csv, 1.0),
]
"""What each client does, and its pauses in seconds."""
