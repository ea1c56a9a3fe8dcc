"""django-post_office on SQLite in WAL mode: 8 threads, batches of 1000, only failures logged.

    python -m contenders.post_office prepare|send|count DATABASE PORT MESSAGES

The messages are queued beforehand. Its own `send_queued_mail` sends them until none is left.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from contenders import BENCH, BODY, SENDER, Contender, address

BATCH = 1000
NOWHERE = {"nowhere": {"class": "logging.NullHandler"}}
QUIET = {"version": 1, "handlers": NOWHERE, "loggers": {"post_office": {"handlers": ["nowhere"]}}}


class PostOffice(Contender):
    """8 threads."""

    key = "post-office"
    name = "django-post_office 3.12"
    slow = True
    needs_packages = True

    def prepare(self, folder: Path, messages: int) -> None:
        self._act("prepare", folder, messages)

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        module = "contenders.post_office"
        return [self.python, "-m", module, "send", f"{folder}/queue.db", str(port), str(messages)]

    def check(self, folder: Path, messages: int) -> None:
        self._act("count", folder, messages)

    def _act(self, act: str, folder: Path, messages: int) -> None:
        command = self.command(folder, 0, messages)
        command[command.index("send")] = act
        subprocess.run(command, check=True, cwd=BENCH)


def main() -> None:
    acts: dict[str, Callable[[int], None]] = {"prepare": prepare, "send": send, "count": count}
    configure(sys.argv[2], int(sys.argv[3]))
    acts[sys.argv[1]](int(sys.argv[4]))


def configure(path: str, port: int) -> None:
    import django  # type: ignore[import-not-found]
    from django.conf import settings  # type: ignore[import-not-found]

    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
    options = {"init_command": pragmas, "transaction_mode": "IMMEDIATE", "timeout": 60}
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        EMAIL_BACKEND="post_office.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        LOGGING=QUIET,
        POST_OFFICE={"THREADS_PER_PROCESS": 8, "BATCH_SIZE": BATCH, "LOG_LEVEL": 1},
        USE_TZ=True,
    )
    django.setup()


def prepare(messages: int) -> None:
    from django.core.management import call_command  # type: ignore[import-not-found]
    from post_office.models import Email  # type: ignore[import-not-found]

    call_command("migrate", verbosity=0)
    waiting = emails(messages)
    while batch := list(islice(waiting, BATCH)):
        Email.objects.bulk_create(batch)


def emails(messages: int) -> Iterator[Any]:
    from post_office.models import PRIORITY, STATUS, Email

    for number in range(messages):
        yield Email(
            from_email=SENDER,
            to=[address(number)],
            subject="Subject",
            message=BODY,
            status=STATUS.queued,
            priority=PRIORITY.medium,
        )


def send(_: int) -> None:
    from django.core.management import call_command

    call_command("send_queued_mail", lockfile=f"{sys.argv[2]}-lock")


def count(messages: int) -> None:
    from post_office.models import STATUS, Email

    sent = Email.objects.filter(status=STATUS.sent).count()
    if sent != messages:
        raise SystemExit(f"django-post_office: {sent} of {messages} were sent")


if __name__ == "__main__":
    main()
