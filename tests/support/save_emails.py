"""Save emails in several threads, as the web server does: `python tests/support/save_emails.py FOLDER`.

When an email has been saved and a request would be answered, its event_id is written to the file `answered`.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from database import Email, EmailWriter
from settings import load_settings

THREADS, ROUNDS = 4, 6
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def main() -> None:
    folder = Path(sys.argv[1])
    writer = EmailWriter(load_settings({}, folder))
    answered = os.open(folder / "answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    barrier = threading.Barrier(THREADS)
    threads = [threading.Thread(target=save, args=(writer, number, barrier, answered)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def save(writer: EmailWriter, thread: int, barrier: threading.Barrier, answered: int) -> None:
    for number in range(ROUNDS):
        barrier.wait()  # so that all threads save at the same time
        event_id = thread * ROUNDS + number
        writer.save(Email(event_id, "S", f"{event_id}", NOW), NOW)
        os.write(answered, b"%d\n" % event_id)


if __name__ == "__main__":
    main()
