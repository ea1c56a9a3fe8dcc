"""Databases that cannot be used. Each error names its own remedy."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from database import DatabaseUnavailable, db_init, open_database
from email_app import create_app
from settings import Settings
from storage.sqlite.connection import driver  # type: ignore[attr-defined]
from tests.support.faults.killer import wait_until
from tests.support.installation import Installation
from tests.support.recipients_command import commands_of

NOW = int(time.time())
FORM = {"event_id": "77", "email_subject": "s", "email_content": "c", "timestamp": "2090-01-01 00:00:00"}
RESTORE = "restore a backup (docs/backup.md, Restore)"


@pytest.fixture
def installation(tmp_path: Path, where: dict[str, str]) -> Installation:
    return Installation(tmp_path, **where)


@pytest.fixture
def file(settings: Settings) -> Path:
    """Where the default settings expect the database."""
    assert settings.database_path is not None
    return settings.database_path


def run(installation: Installation, statement: str) -> None:
    with installation.database() as database:
        database.connection.guard = None
        database.connection.run(statement)


def make(file: Path, *statements: str) -> None:
    """Create a SQLite file as another program would: not in WAL mode."""
    with closing(driver.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refusal(settings: Settings) -> str:
    """Return why `flask init-db` refuses this database."""
    with pytest.raises(DatabaseUnavailable) as caught:
        db_init(settings, NOW)
    return str(caught.value)


class TestSchemaVersion:
    """A row of `meta` that was changed by hand, or lost."""

    CHANGES = (
        ("UPDATE meta SET value = 'abc' WHERE name = 'schema_version'", "has no readable schema version ('abc')"),
        ("UPDATE meta SET value = '' WHERE name = 'schema_version'", "has no readable schema version ('')"),
        ("UPDATE meta SET value = '-2' WHERE name = 'schema_version'", "has no readable schema version ('-2')"),
        ("UPDATE meta SET value = ' 2 ' WHERE name = 'schema_version'", "has no readable schema version (' 2 ')"),
        ("DELETE FROM meta WHERE name = 'schema_version'", "is damaged: it has no schema version"),
    )

    @pytest.mark.parametrize(("change", "reason"), CHANGES)
    def test_every_program_says_that_it_is_damaged(self, installation: Installation, change: str, reason: str) -> None:
        installation.add_recipients(1)
        installation.save_email(1)
        client = create_app(installation.settings).test_client()
        assert client.get("/api/emails").status_code == 200
        run(installation, change)
        for use in (lambda: open_database(installation.settings), lambda: db_init(installation.settings, NOW)):
            with pytest.raises(DatabaseUnavailable) as caught:
                use()
            assert reason in caught.value.reason and RESTORE in caught.value.remedy
        started = create_app(installation.settings).test_client()
        for answer in (
            client.post("/send-emails", data=FORM),
            started.get("/api/emails"),
            started.post("/send-emails", data=FORM),
        ):
            assert answer.status_code == 503 and reason in answer.text
        probe = client.get("/readyz")
        assert probe.status_code == 503 and probe.json is not None
        assert [check["name"] for check in probe.json["checks"]] == ["schema"]
        swept = installation.task()
        assert (swept.returncode, swept.stdout) == (1, "")
        (line,) = swept.stderr.splitlines()
        assert line.startswith("ERROR ") and reason in line and RESTORE in line
        assert installation.log() == [line]
        assert installation.messages() == []
        checked = commands_of(installation.settings, "check")()
        assert checked.exit_code == 1
        assert reason in checked.output and "report this as a bug" not in checked.output

    def test_a_long_unreadable_version_is_cut(self, settings: Settings, file: Path) -> None:
        db_init(settings, NOW)
        make(file, f"UPDATE meta SET value = '{'9' * 10_000}' WHERE name = 'schema_version'")
        assert len(refusal(settings)) < 200

    def test_a_running_sender_stops(self, installation: Installation) -> None:
        installation.add_recipients(1)
        installation.save_email(1)
        sender = installation.start_task("--watch")
        wait_until(lambda: len(installation.messages()) == 1)
        run(installation, "UPDATE meta SET value = 'abc' WHERE name = 'schema_version'")
        _, stderr = sender.communicate(timeout=60)
        assert sender.returncode == 1
        assert "has no readable schema version ('abc')" in stderr and "Traceback" not in stderr

    @pytest.mark.parametrize("missing", ["meta.secret_key", "counters.sender_id"])
    def test_no_remedy_leads_in_a_circle(self, installation: Installation, missing: str) -> None:
        """`init-db` would answer "up to date"."""
        table, name = missing.split(".")
        run(installation, f"DELETE FROM {table} WHERE name = '{name}'")
        with installation.database() as database, pytest.raises(DatabaseUnavailable) as caught:
            database.meta(name) if table == "meta" else database.senders.enter(1, NOW, None)  # type: ignore[arg-type]
        assert RESTORE in caught.value.remedy and "init-db" not in caught.value.remedy
