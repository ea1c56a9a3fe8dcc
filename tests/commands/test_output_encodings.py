"""A character that stdout cannot encode is printed as an escape sequence, and causes no error."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result

from database import Database
from email_app import create_app
from settings import FOLDER, Settings, load_settings
from tests.support.deliveries import EMAIL, NOON, NOW, enter, failed, start

ENCODINGS = ("cp1252", "latin-1", "ascii", "cp437", "shift_jis")
WORDS = "例 é € \U0001f600"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"EMAIL_URL": f"maildir:{tmp_path}/{WORDS}"}, tmp_path)


def run(settings: Settings, encoding: str, *words: str) -> Result:
    result = create_app(settings).test_cli_runner(charset=encoding).invoke(args=words)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    return result


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_prints_what_the_encoding_lacks_as_escapes(
    settings: Settings, database: Database, encoding: str, tmp_path: Path
) -> None:
    start(database, 2)
    sender_id = enter(database)
    (claim,) = database.claims.claim(sender_id, 0, NOW, 1)
    database.deliveries.record(sender_id, [], [failed(claim)._replace(reply=f"550 5.1.1 {WORDS}")], [])
    later = EMAIL._replace(event_id=8, due_at=NOON + timedelta(days=9000), subject=WORDS)
    database.emails.save(later, NOON)
    file = tmp_path / f"{WORDS}.csv"
    file.write_text("例@example.com\n例 no address\n")
    assert "add" not in run(settings, encoding, "recipients", "add", "例@example.com", "é@example.com").stderr
    listed = run(settings, encoding, "recipients", "list").stdout_bytes
    assert (
        "例@example.com".encode("utf-8" if encoding == "ascii" else encoding, "backslashreplace") in listed
    )  # by click
    assert b"8\t" in run(settings, encoding, "emails", "list").stdout_bytes
    for words in (
        *(
            ("emails", "show", "7"),
            ("emails", "show", "8"),
            ("emails", "show", "8", "--json"),
            ("emails", "list", "--json"),
        ),
        *(("recipients", "import", str(file)), ("recipients", "export"), ("recipients", "remove", "例@example.com")),
        *(("check",), ("check", "--json"), ("backup", str(tmp_path / f"{WORDS}.db")), ("init-db",)),
        *(
            ("emails", "show", WORDS),
            ("emails", "cancel", "8"),
            ("recipients", "add", "é例"),
            ("backup", f"/none/{WORDS}"),
        ),
        *(("copy-database", f"mysql:{WORDS}", f"mysql:{WORDS}"), ("prune", "--older-than", WORDS)),
    ):
        run(settings, encoding, *words)


@pytest.mark.parametrize("words", [("-m", "flask", "recipients", "list"), ("task.py", "--retry-failed", "例")])
def test_a_real_command_escapes_too(settings: Settings, database: Database, words: tuple[str, ...]) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{settings.database_path}", "PYTHONIOENCODING": "cp1252"}
    add = [sys.executable, "-m", "flask", "recipients", "add", "例@example.com"]
    subprocess.run(add, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, check=True)
    done = subprocess.run([sys.executable, *words], cwd=FOLDER, env={**os.environ, **environment}, capture_output=True)
    assert b"\\u4f8b" in done.stdout + done.stderr and b"Traceback" not in done.stderr
