"""Kill the service at random moments, and check afterwards what happened to every email."""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.client import HTTPException
from pathlib import Path

from tests.support.installation import TASK, Installation
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.servers.web_server import Server, serve
from tests.support.warm_python import start

RECIPIENTS = 3
# Two kills hit the same delivery while it was in doubt.
UNCONFIRMED = re.compile(
    r"^ERROR (\d+) (\S+): unknown: the sender stopped before the server confirmed the message\n", re.MULTILINE
)
UTC_8 = timezone(timedelta(hours=8))


@dataclass
class Result:
    """The result of a run. `kills` counts the kills of the sender and of the server."""

    kills: Counter[str] = field(default_factory=Counter)
    successful: set[int] = field(default_factory=set)
    posted: set[int] = field(default_factory=set)
    delivered: Counter[tuple[int, str]] = field(default_factory=Counter)
    unconfirmed: set[tuple[int, str]] = field(default_factory=set)  # in doubt twice, and left to a person

    @property
    def lost(self) -> list[tuple[int, str]]:
        """Deliveries of `Successful` emails that did not arrive and are not reported: (event_id, address)."""
        wanted = {(n, f"r{r}@example.com") for n in self.successful for r in range(RECIPIENTS)}
        return sorted(wanted - set(self.delivered) - self.unconfirmed)

    @property
    def doubled(self) -> int:
        """The number of duplicate messages."""
        return sum(count - 1 for count in self.delivered.values())

    @property
    def invented(self) -> list[int]:
        """The event_ids of emails that were delivered although no client POSTed them."""
        return sorted({n for n, _ in self.delivered} - self.posted)


class Crashes:
    """A client that POSTs emails that are due at once, and a service whose two parts are killed."""

    def __init__(self, folder: Path, port: int, seed: int, connections: int = 1) -> None:
        self._random = random.Random(seed)
        self._port = port
        self._smtp = ScriptedServer()
        self._installation = Installation(folder, SMTP_CONNECTIONS=str(connections))
        self._installation.add_recipients(RECIPIENTS)
        self._over = threading.Event()
        self._server: Server | None = None
        self.result = Result()

    def run(self, kills: int) -> Result:
        """Kill parts of the service `kills` times, let it finish, and return the result."""
        with self._smtp:
            self._installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{self._smtp.port}"
            client = threading.Thread(target=self._post_until_over)
            client.start()
            try:
                self._kill(kills)
            finally:
                self._over.set()
                client.join()
            self._finish()
        return self.result

    def _kill(self, kills: int) -> None:
        while sum(self.result.kills.values()) < kills:
            with serve(self._installation.folder, self._port) as self._server:
                self._kill_senders(kills)
                self._server.kill()
                self.result.kills["server"] += 1

    def _kill_senders(self, kills: int) -> None:
        """Kill some senders one after another while the server runs."""
        for _ in range(min(self._random.randrange(1, 4), kills)):
            sender = start((*TASK, "--watch"), self._installation.environment)
            time.sleep(self._random.uniform(0.05, 0.5))
            sender.send_signal(signal.SIGKILL)
            sender.communicate()
            self.result.kills["sender"] += 1

    def _finish(self) -> None:
        """Sweep until nothing is left to send. A sender that was just killed does not delay this."""
        with self._installation.database() as database:
            while database.has_work(int(time.time())):
                swept = self._installation.task()
                reported = UNCONFIRMED.findall(swept.stderr)
                self.result.unconfirmed |= {(int(event_id), address) for event_id, address in reported}
                assert (swept.returncode, UNCONFIRMED.sub("", swept.stderr)) == (int(bool(reported)), "")
        for message in self._smtp.accepted:
            self.result.delivered[_event_id(message.content), message.recipient.decode()] += 1

    def _post_until_over(self) -> None:
        event_id = 0
        while not self._over.is_set():
            event_id += 1
            self._post(event_id)

    def _post(self, event_id: int) -> None:
        """POST an email. If the response is lost, the email may or may not have been saved."""
        due_at = datetime.now(UTC_8).strftime("%Y-%m-%d %H:%M:%S")
        fields = {"event_id": event_id, "email_subject": f"{event_id}", "email_content": "x\n", "timestamp": due_at}
        self.result.posted.add(event_id)
        try:
            answer = self._server.post(fields) if self._server else None
        except (OSError, HTTPException):
            time.sleep(0.05)
            return
        if answer is not None and answer.body == "Successful":
            self.result.successful.add(event_id)


def _event_id(content: bytes) -> int:
    (line,) = (line for line in content.splitlines() if line.startswith(b"Subject: "))
    return int(line.removeprefix(b"Subject: "))
