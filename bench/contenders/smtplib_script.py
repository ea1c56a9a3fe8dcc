"""Python's smtplib as a plain script would use it: persistent connections, and two updates per message.

    python -m contenders.smtplib_script DATABASE PORT THREADS

It uses this program's own database. Each row becomes `sending` before its message, and `sent` after it. Both are
committed.
"""

from __future__ import annotations

import smtplib
import sqlite3
import sys
import threading
import time
from pathlib import Path

from contenders import SENDER, Contender, address, letter

FILL = """
INSERT INTO deliveries (event_id, recipient_id, queued_at, next_attempt_at, address)
SELECT 1, recipient_id, :now, :now, address FROM recipients WHERE recipient_id > 0
"""
SENDING = "UPDATE deliveries SET status = 'sending' WHERE event_id = 1 AND recipient_id = ?"
SENT = "UPDATE deliveries SET status = 'sent', finished_at = ? WHERE event_id = 1 AND recipient_id = ?"
COUNT = "SELECT COUNT(*) FROM deliveries WHERE status = 'sent'"


class SmtplibScript(Contender):
    """smtplib with this many threads, each with its own connection."""

    slow = True

    def __init__(self, threads: int) -> None:
        self.key = f"smtplib-{threads}"
        self.name = f"smtplib, {threads} thread{'s' * (threads > 1)}, SQLite"
        self._threads = threads

    def prepare(self, folder: Path, messages: int) -> None:
        from tests.support.installation import Installation

        Installation(folder).add_recipients(messages)

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        module = "contenders.smtplib_script"
        return [sys.executable, "-m", module, f"{folder}/email.db", str(port), str(self._threads)]

    def check(self, folder: Path, messages: int) -> None:
        with sqlite3.connect(folder / "email.db") as database:
            sent = database.execute(COUNT).fetchone()[0]
        if sent != messages:
            raise SystemExit(f"{self.name}: {sent} of {messages} were sent")


def main() -> None:
    path, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with connect(path) as database:
        database.execute(FILL, {"now": int(time.time())})
        ids = [row[0] for row in database.execute("SELECT recipient_id FROM deliveries")]
    workers = [threading.Thread(target=send, args=(path, port, ids[start::threads])) for start in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    database.execute("PRAGMA synchronous=FULL")
    return database


def send(path: str, port: int, ids: list[int]) -> None:
    database = connect(path)
    with smtplib.SMTP("127.0.0.1", port, local_hostname="localhost") as connection:
        for recipient_id in ids:
            database.execute(SENDING, (recipient_id,))
            connection.sendmail(SENDER, [address(recipient_id)], letter(recipient_id))
            database.execute(SENT, (int(time.time()), recipient_id))


if __name__ == "__main__":
    main()
