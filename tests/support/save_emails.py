"""Saves emails as the web server does, several at a time: `python tests/saving_runner.py FOLDER`.

The event_id of each goes into the file `answered` once it is saved, where a request would be answered.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from database import Email
from settings import load_settings
from web.context import EmailSaver

THREADS, ROUNDS = 4, 6
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def main() -> None:
    folder = Path(sys.argv[1])
    saver = EmailSaver(load_settings({}, folder))
    answered = os.open(folder / "answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    barrier = threading.Barrier(THREADS)
    threads = [threading.Thread(target=save, args=(saver, number, barrier, answered)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def save(saver: EmailSaver, thread: int, barrier: threading.Barrier, answered: int) -> None:
    for number in range(ROUNDS):
        barrier.wait()  # so that they come at one time
        event_id = thread * ROUNDS + number
        saver.save(Email(event_id, "S", f"{event_id}", NOW), NOW)
        os.write(answered, b"%d\n" % event_id)


if __name__ == "__main__":
    main()
