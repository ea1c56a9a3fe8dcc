"""Databases that cannot be used: damaged, of another program, or inaccessible. Each error says how to fix it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from database import Address, Database, DatabaseUnavailable, db_init, open_database
from email_app import create_app
from settings import Settings, load_settings
from storage.sqlite.connection import driver  # type: ignore[attr-defined]
from tests.support.faults.killer import wait_until
from tests.support.installation import PROJECT, Installation
from tests.support.other_user import as_user
from tests.support.recipients_command import commands_of
from tests.support.servers.postgresql_server import PostgreSQLServer

NOW = datetime.now(UTC).replace(microsecond=0)
FORM = {"event_id": "77", "email_subject": "s", "email_content": "c", "timestamp": "2090-01-01 00:00:00"}
RESTORE = "restore a backup (docs/backup.md, Restore)"
only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can run a program as another user"
)


@pytest.fixture
def installation(tmp_path: Path, where: dict[str, str]) -> Installation:
    return Installation(tmp_path, **where)


@pytest.fixture
def file(settings: Settings) -> Path:
    """Return the path of the database in the default settings."""
    assert settings.database_path is not None
    return settings.database_path


def run(installation: Installation, statement: str) -> None:
    with installation.database() as database:
        database.connection.guard = None
        database.connection.execute(statement)


def make(file: Path, *statements: str) -> None:
    """Create a SQLite file as another program would: not in WAL mode."""
    with closing(driver.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def flask(settings: dict[str, str], *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flask", "--app", "email_app", *arguments]
    command = as_user(user, command) if user else command
    return subprocess.run(command, cwd=PROJECT, env=settings, capture_output=True, text=True)


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
        for use in (
            lambda: open_database(installation.settings),
            lambda: db_init(installation.settings, NOW),
        ):
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
            database.meta(name) if table == "meta" else database.senders.register(1, int(NOW.timestamp()), None)  # type: ignore[arg-type]
        assert RESTORE in caught.value.remedy and "init-db" not in caught.value.remedy


class TestDamagedCounters:
    """A row of `counters` or `meta` that was changed by hand. SQLite also stores text in an integer column."""

    @pytest.fixture
    def installation(self, tmp_path: Path) -> Installation:
        installation = Installation(tmp_path)
        installation.add_recipients(1)
        return installation

    def test_a_heartbeat_that_is_a_text_is_named_by_every_program_with_its_remedy(
        self, installation: Installation
    ) -> None:
        reason = "the database is damaged: its counter last_sweep_at is 'soon', not an integer"
        remedy = "if the clock is right, run: python task.py --clock-is-right"
        client = create_app(installation.settings).test_client()
        run(installation, "UPDATE counters SET value = 'soon' WHERE name = 'last_sweep_at'")
        swept = installation.task()
        assert (swept.returncode, swept.stdout) == (1, "")
        assert swept.stderr.splitlines() == [f"ERROR {reason} ({remedy})"]
        probe = client.get("/readyz")
        assert probe.status_code == 503 and probe.json is not None
        assert [(check["found"], check["remedy"]) for check in probe.json["checks"]] == [(reason, remedy)]
        assert client.get("/metrics").status_code == 503
        checked = commands_of(installation.settings, "check")()
        assert checked.exit_code == 1 and reason in checked.output and remedy in checked.output
        assert "report this as a bug" not in checked.output
        assert installation.task("--clock-is-right").returncode == 0
        with installation.database() as database:
            assert database.health.heartbeat_at() >= NOW

    @pytest.mark.parametrize("value", ["'soon'", "1.5", "x'00'", "-1", str(10**12), str(10**18)])
    def test_no_value_of_the_heartbeat_is_an_unknown_error(self, installation: Installation, value: str) -> None:
        run(installation, f"UPDATE counters SET value = {value} WHERE name = 'last_sweep_at'")
        with installation.database() as database, pytest.raises(DatabaseUnavailable, match="counter last_sweep_at is"):
            database.health.heartbeat_at()
        with installation.database() as database, pytest.raises(DatabaseUnavailable, match="counter last_sweep_at is"):
            database.last_heartbeat_at()

    @pytest.mark.parametrize(
        ("name", "use"),
        [
            ("recipient_id", lambda database: database.recipients.add([Address("a@b.c", "a@b.c")], NOW)),
            ("import_id", lambda database: database.imports.create("people.csv", [], NOW)),
            ("sender_id", lambda database: database.senders.register(1, int(NOW.timestamp()), None)),
            ("sweeps", lambda database: database.health.sweeps()),
            ("backup_made_at", lambda database: database.info()),
            ("backup_made_at", lambda database: database.progress.hold_restored(int(NOW.timestamp()))),
            ("lost_commits", lambda database: database.progress.hold_restored(int(NOW.timestamp()))),
        ],
    )
    def test_a_counter_that_is_a_text_is_not_taken_for_zero(
        self, installation: Installation, name: str, use: Callable[[Database], object]
    ) -> None:
        with installation.database() as database:
            database.mark_as_restored(NOW)
            database.connection.execute(f"INSERT OR REPLACE INTO counters (name, value) VALUES ('{name}', 'soon')")
            with pytest.raises(DatabaseUnavailable) as caught:
                use(database)
        assert caught.value.reason == f"the database is damaged: its counter {name} is 'soon', not an integer"
        assert RESTORE in caught.value.remedy

    @pytest.mark.parametrize("value", ["''", "x'00'"])
    def test_a_key_that_is_not_a_text_is_not_used(self, installation: Installation, value: str) -> None:
        run(installation, f"UPDATE meta SET value = {value} WHERE name = 'secret_key'")
        with (
            installation.database() as database,
            pytest.raises(DatabaseUnavailable, match="its secret_key is") as caught,
        ):
            database.meta("secret_key")
        assert RESTORE in caught.value.remedy


class TestForeignTables:
    FOREIGN = (
        ("CREATE TABLE users (id INTEGER)",),
        ("CREATE TABLE emails (id INTEGER)",),
        ("CREATE TABLE meta (key TEXT, val TEXT)",),
        ("CREATE TABLE Meta (key TEXT, val TEXT)",),
        ("CREATE VIEW emails AS SELECT 1",),
    )

    @pytest.mark.parametrize("statements", FOREIGN)
    def test_a_file_of_another_program_is_refused_and_not_changed(
        self, settings: Settings, file: Path, statements: tuple[str, ...]
    ) -> None:
        make(file, *statements)
        before = file.read_bytes()
        for use in (lambda: db_init(settings, NOW), lambda: open_database(settings)):
            with pytest.raises(DatabaseUnavailable) as caught:
                use()
            assert caught.value.reason.startswith(f"the database {file} contains tables that are not this program's")
            assert caught.value.remedy == f"set DATABASE_URL to another file, or {RESTORE}"
        assert file.read_bytes() == before

    def test_a_database_that_lost_its_table_meta_leads_to_the_same_remedy(self, settings: Settings, file: Path) -> None:
        db_init(settings, NOW)
        make(file, "DROP TABLE meta")
        assert RESTORE in refusal(settings)
        checked = commands_of(settings, "check")()
        assert RESTORE in checked.output and "flask init-db" not in checked.output

    def test_a_database_that_lost_another_table_is_damaged(self, settings: Settings, file: Path) -> None:
        db_init(settings, NOW)
        with open_database(settings) as database:
            make(file, "DROP TABLE emails")
            with pytest.raises(DatabaseUnavailable) as caught:
                database.emails.get(1)
        assert caught.value.reason == f"the database {file} is damaged: no such table: emails"
        assert caught.value.remedy.endswith(RESTORE)

    @pytest.mark.parametrize("statement", ["CREATE TABLE emails (id INTEGER)", "CREATE TABLE meta (key TEXT)"])
    def test_on_postgresql_a_clash_names_its_remedy(
        self, postgresql: PostgreSQLServer, tmp_path: Path, statement: str
    ) -> None:
        settings = load_settings({"DATABASE_URL": postgresql.new_database()}, tmp_path)
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())
        said = refusal(settings)
        assert "contains tables that are not this program's" in said
        assert f"set DATABASE_URL to another database or schema, or {RESTORE}" in said

    def test_on_postgresql_other_tables_are_no_obstacle(self, postgresql: PostgreSQLServer, tmp_path: Path) -> None:
        settings = load_settings({"DATABASE_URL": postgresql.new_database()}, tmp_path)
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE users (id INTEGER)")
        assert db_init(settings, NOW).startswith("created the tables")

    def test_on_postgresql_a_lost_table_is_damage(self, postgresql: PostgreSQLServer, tmp_path: Path) -> None:
        settings = load_settings({"DATABASE_URL": postgresql.new_database()}, tmp_path)
        db_init(settings, NOW)
        with open_database(settings) as database:
            database.connection.execute("DROP TABLE emails")
            with pytest.raises(DatabaseUnavailable) as caught:
                database.emails.get(1)
        assert RESTORE in caught.value.remedy and "init-db" not in caught.value.remedy


class TestJournalMode:
    @pytest.mark.parametrize("of", ["another program", "a newer version"])
    def test_a_file_that_is_refused_is_not_changed(self, settings: Settings, file: Path, of: str) -> None:
        if of == "a newer version":
            db_init(settings, NOW)
            make(file, "UPDATE meta SET value = '99' WHERE name = 'schema_version'")
        make(file, "PRAGMA journal_mode=DELETE", "CREATE TABLE emails_of_others (id INTEGER)")
        before = file.read_bytes()
        refusal(settings)
        assert file.read_bytes() == before and uses_wal(file) is False

    def test_an_empty_file_is_created_in_wal_mode(self, settings: Settings, file: Path) -> None:
        file.touch()
        db_init(settings, NOW)
        assert uses_wal(file)

    def test_a_database_that_is_accepted_uses_wal_from_then_on(self, settings: Settings, file: Path) -> None:
        """A copy by `VACUUM INTO` does not."""
        db_init(settings, NOW)
        make(file, "PRAGMA journal_mode=DELETE")
        assert db_init(settings, NOW) == "up to date"
        assert uses_wal(file)


def uses_wal(file: Path) -> bool:
    return file.read_bytes()[18:20] == b"\2\2"


class TestFiles:
    def test_a_file_that_is_not_a_database_is_named(self, settings: Settings, file: Path) -> None:
        file.write_text("a letter to a friend\n" * 100)
        for use in (lambda: db_init(settings, NOW), lambda: open_database(settings)):
            with pytest.raises(DatabaseUnavailable) as caught:
                use()
            assert caught.value.reason == f"{file} is not a database"
            assert caught.value.remedy == f"set DATABASE_URL to another file, or {RESTORE}"

    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    def test_what_is_not_a_file_is_named(self, settings: Settings, file: Path, kind: str) -> None:
        file.mkdir() if kind == "folder" else os.mkfifo(file)
        for use in (lambda: db_init(settings, NOW), lambda: open_database(settings)):
            with pytest.raises(DatabaseUnavailable) as caught:
                use()
            assert caught.value.reason == f"{file} is not a database"
            assert "give this user write access" not in caught.value.remedy
        assert [path.name for path in file.parent.iterdir()] == [file.name]

    def test_a_path_that_leads_nowhere_is_to_be_corrected(self, settings: Settings, file: Path) -> None:
        file.symlink_to(file)
        for use in (lambda: db_init(settings, NOW), lambda: open_database(settings)):
            with pytest.raises(DatabaseUnavailable) as caught:
                use()
            assert (caught.value.remedy, "let this user" in str(caught.value)) == ("correct DATABASE_URL", False)

    def test_a_damaged_file_refers_to_the_page_about_restoring(self, settings: Settings, file: Path) -> None:
        db_init(settings, NOW)
        octets = bytearray(file.read_bytes())
        octets[100:4096] = bytes(3996)
        file.write_bytes(octets)
        with pytest.raises(DatabaseUnavailable, match="is damaged: ") as caught:
            open_database(settings)
        assert RESTORE in caught.value.remedy

    @only_root
    @pytest.mark.parametrize("closed", ["email.db", "email.db-wal", "email.db-shm", "email.db-turnstile", "."])
    def test_the_remedy_names_what_cannot_be_written(self, closed: str) -> None:
        with tempfile.TemporaryDirectory() as name:  # not tmp_path, which other users cannot reach
            folder = Path(name)
            folder.chmod(0o777)
            installation = Installation(folder)
            installation.add_recipients(1)
            installation.save_email(1)
            with installation.database() as database:
                database.connection.execute("UPDATE counters SET value = value")
                for path in (folder, *folder.iterdir()):
                    shutil.chown(path, "nobody", "nogroup")
                shutil.chown(folder / closed, "root", "root")
                (folder / closed).chmod(0o555 if closed == "." else 0o444)
                swept = installation.task(user="nobody")
        assert "and to the folder it is in" not in swept.stderr
        named = "the folder " if closed == "." else ""
        assert f"give this user write access to {named}{folder / closed}" in swept.stderr

    @only_root
    def test_a_folder_that_cannot_be_written_is_named_once(self) -> None:
        with tempfile.TemporaryDirectory() as name:  # not tmp_path, which other users cannot reach
            folder = Path(name)
            folder.chmod(0o555)
            settings = {"DATABASE_URL": f"sqlite:///{folder}/email.db", "PATH": os.environ["PATH"]}
            ended = flask(settings, "init-db", user="nobody")
        assert ended.returncode == 1
        assert ended.stderr == (
            f"Error: cannot create the database {folder}/email.db: Permission denied "
            f"(give this user write access to the folder {folder})\n"
        )

    @only_root
    @pytest.mark.parametrize("command", ["check", "init-db"])
    def test_a_folder_that_cannot_be_entered_is_named(self, command: str) -> None:
        with tempfile.TemporaryDirectory() as name:  # not tmp_path, which other users cannot reach
            folder = Path(name)
            folder.chmod(0o777)
            (folder / "data").mkdir(mode=0o700)
            installation = Installation(folder / "data")
            ended = flask(installation.environment, command, user="nobody")
        assert ended.returncode == 1
        said = ended.stdout + ended.stderr
        assert f"cannot access the database {folder}/data/email.db" in said
        assert f"let this user enter the folder {folder}/data" in said
        assert "the check itself failed" not in said and "Traceback" not in said
