"""The commands in `docs/backup.md` work, and a restored database sends nothing without a decision."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.installation import PROJECT, ForkingInstallation, Installation, subjects
from tests.support.project_copy import copy_project
from tests.support.servers.postgresql_server import PostgreSQLServer, _program

PAGE = (PROJECT / "docs" / "backup.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SQLITE = BLOCKS[:3]  # back up, restore, the mark of another copy
SERVICE_FILE, BACK_UP, RESTORE, FIRST_SWEEP = BLOCKS[3:7]  # of PostgreSQL


def shell(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(_program('pg_dump')).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True
    )


def fill(installation: Installation) -> None:
    """Save emails 1 and 2, which are due when the backup is restored, and 3, which is not."""
    installation.add_recipients(2)
    for event_id, due_in in ((1, -1), (2, -1), (3, 3600)):
        installation.save_email(event_id, due_in, subject=str(event_id))


def held_and_released(installation: Installation, restored: subprocess.CompletedProcess[str], flask: str) -> None:
    """Check that the restore sent nothing. Then release one email, and cancel the other."""
    lines = [line for line in restored.stdout.splitlines() if "\theld\t" in line]
    assert sorted(line.split("\t")[0] for line in lines) == ["1", "2"], restored
    assert "put 2 due or partly sent emails on hold" in restored.stderr
    sent = installation.delivered()
    script = f"{flask} emails release 1 && {flask} emails cancel 2"
    done = shell(installation.folder if flask.startswith(".") else PROJECT, script, **installation.environment)
    assert done.returncode == 0, done.stderr
    assert installation.task().stderr == ""
    assert installation.delivered() - sent == subjects([1], 2)


@pytest.mark.parametrize("marked", [True, False], ids=["by flask backup", "by other means"])
def test_sqlite_is_restored_as_the_page_says(tmp_path: Path, marked: bool) -> None:
    folder = copy_project(tmp_path)
    installation = ForkingInstallation(folder)
    fill(installation)
    (folder / "backups").mkdir()
    if marked:
        assert shell(folder, SQLITE[0], **installation.environment).returncode == 0
    else:
        with installation.database() as database:
            database.connection.execute("VACUUM INTO :copy", copy=str(folder / "backups" / "email.db"))
    assert installation.task().returncode == 0  # sent after the backup
    for message in (folder / "outbox" / "new").iterdir():
        message.unlink()
    script = SQLITE[1] if marked else SQLITE[1].replace(".venv/bin/flask init-db", SQLITE[2])
    restored = shell(folder, script, **installation.environment)
    assert installation.messages() == []
    held_and_released(installation, restored, ".venv/bin/flask")


def test_postgresql_is_restored_as_the_page_says(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    folder = copy_project(tmp_path)
    installation = ForkingInstallation(folder, DATABASE_URL=postgresql.new_database())
    fill(installation)
    new = postgresql.url("email_restored")
    text = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)[0]
    parts = urlsplit(installation.environment["DATABASE_URL"])
    for sample, own in (
        ("db.example.com", f"{parts.hostname}\nport={parts.port}"),
        ("user=email", f"user={parts.username}"),
        ("PASSWORD", parts.password or ""),
        ("dbname=email", f"dbname={parts.path[1:]}"),
    ):
        text = text.replace(sample, own)
    (folder / "service").write_text(text)
    made = shell(folder, f"export HOME=$PWD EDITOR='cp service'\n{SERVICE_FILE}")
    assert made.returncode == 0, made.stderr
    assert (folder / ".pg_service.conf").stat().st_mode & 0o777 == 0o600
    environment = installation.environment | {"PGSERVICEFILE": str(folder / ".pg_service.conf")}
    dumped = shell(folder, BACK_UP, **environment)
    assert dumped.returncode == 0, dumped.stderr
    loaded = shell(folder, RESTORE, **environment)
    assert loaded.returncode == 0, loaded.stderr
    restored = shell(folder, FIRST_SWEEP, **environment | {"DATABASE_URL": new})
    assert installation.messages() == []
    installation.environment["DATABASE_URL"] = new
    held_and_released(installation, restored, ".venv/bin/flask")
