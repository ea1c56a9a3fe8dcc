"""Kill overlapping senders at random moments, and check the outcome of every delivery."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.invariants import Found, Mailing
from tests.support.servers.smtp_server import Action, ScriptedServer, Wait

SENDERS, CONNECTIONS = 4, 4
LONGEST_LIFE = 0.25  # at most, in seconds, between two kills


class SenderCrashes:
    """Four emails with `deliveries` deliveries in total, and several senders, of which random ones are killed."""

    def __init__(
        self, folder: Path, *, deliveries: int, kills: int, in_doubt: str, seed: int, where: Mapping[str, str]
    ) -> None:
        """`where` is the database setting, empty for SQLite."""
        self.kills = 0
        self._random = random.Random(seed)
        self._deliveries = deliveries
        self._wanted = kills
        self._server = ScriptedServer(on={"CONTENT": self._accept})
        settings = {"SENDERS": str(SENDERS), "SMTP_CONNECTIONS": str(CONNECTIONS), "IN_DOUBT": in_doubt, **where}
        self._mailing = Mailing(folder, self._server, deliveries // 4, **settings)
        for event_id in (2, 3, 4):
            self._mailing.save_email(event_id, subject=f"{event_id}")
        self._senders: list[subprocess.Popen[str]] = []

    @property
    def bound(self) -> int:
        """The maximum number in doubt: one per connection that a kill may have cut off."""
        return self.kills * CONNECTIONS

    def run(self) -> Found:
        """Kill senders `kills` times, let the rest finish, and check the result."""
        with self._server:
            try:
                self._senders = [self._mailing.start_task() for _ in range(SENDERS)]
                while self.kills < self._wanted:
                    self._kill_one()
                for sender in self._senders:
                    sender.communicate(timeout=60)
            finally:
                for sender in self._senders:
                    sender.kill()
                    sender.communicate()
            self._mailing.finish()
        return self._mailing.check(most_in_doubt=self.bound)

    def _kill_one(self) -> None:
        time.sleep(self._random.uniform(0, LONGEST_LIFE))
        number = self._random.randrange(SENDERS)
        sender = self._senders[number]
        sender.send_signal(signal.SIGKILL)
        sender.communicate()
        self.kills += sender.returncode == -signal.SIGKILL
        self._senders[number] = self._mailing.start_task()

    def _accept(self, content: bytes, n: int) -> Action:
        """Accept slowly, so that kills leave messages in doubt, and work remains until the last kill."""
        ahead = len(self._server.accepted) * self._wanted > self.kills * self._deliveries
        return Wait(0.2 if ahead else 0.05), "250 ok"
