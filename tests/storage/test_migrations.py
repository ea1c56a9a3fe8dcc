"""Upgrading a database: nothing is lost, nothing is guessed, and no program uses another version's tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from database import (
    Database,
    DatabaseBusy,
    SchemaMismatch,
    db_init,
    open_database,
)
from email_app import create_app
from settings import Settings, load_settings
from storage.connection import Connection
from storage.errors import SendersRunning, UnknownSchema, UpgradeFailed
from storage.postgresql.connection import STORAGE_PARAMETERS, PostgreSQLConnection
from storage.schema import count_triggers, search_triggers, upgrading, version
from storage.schema.structure import differences, digest
from storage.sqlite.connection import driver  # type: ignore[attr-defined]
from tests.support.installation import PROJECT, Installation
from tests.support.samples.old_databases import (
    ALL_TABLES,
    DEVELOPMENT,
    VERSION_1,
    Content,
    connect,
    content,
    load,
    load_version,
)
from tests.support.service import Service, give_venv, linux_only

FORM = {"event_id": "77", "email_subject": "s", "email_content": "c", "timestamp": "2090-01-01 00:00:00"}
NOW = datetime.now(UTC).replace(microsecond=0)
SECOND = int(NOW.timestamp())
EARLIER_VERSIONS = range(1, version.VERSION)
# The values of the columns and counters that version 5 added.
NEW_COLUMNS: dict[str, tuple[object, ...]] = {
    "emails": ("everyone", None, 0, None, None),
    "progress": ("everyone", 0),
    "recipients": (1, None, None),
    "imports": (None, None),
}
# The results in the preview of an import, until version 2 and since.
PREVIEW_RESULTS = {'"fate": "added"': '"result": "added"', '"fate": "known"': '"result": "existing"'}


@pytest.fixture
def settings(where_empty: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/email.db", **where_empty}, tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    db_init(settings, NOW)
    with open_database(settings) as opened:
        yield opened


def set_meta(settings: Settings, **values: str) -> None:
    with closing(connect(settings)) as connection:
        for name, value in values.items():
            connection.execute("UPDATE meta SET value = :value WHERE name = :name", name=name, value=value)


def run_init_db(settings: Settings) -> subprocess.Popen[str]:
    url = settings.database_url if settings.database_path is None else f"sqlite:///{settings.database_path}"
    command = [sys.executable, "-m", "flask", "--app", "email_app", "init-db"]
    environment = {"DATABASE_URL": url, "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def installation_of(settings: Settings) -> Installation:
    """Return an installation on an up-to-date database. It still retries emails that are years old."""
    url = settings.database_url if settings.database_path is None else f"sqlite:///{settings.database_path}"
    return Installation(settings.folder, DATABASE_URL=url, RETRY_FOR="36500d")


class TestSchemas:
    def test_the_baseline_plus_all_migrations_gives_the_same_schema_as_schema_sql(
        self, settings: Settings, database: Database, connection: Connection, postgresql: Any, tmp_path: Path
    ) -> None:
        expected = connection.structure()
        other = {"DATABASE_URL": postgresql.new_database() if settings.database_path is None else "sqlite:///old.db"}
        with closing(connect(load_settings(other, tmp_path))) as oldest:
            with oldest.transaction():
                upgrading.migrate(oldest, range(1, version.VERSION + 1))
            found = oldest.structure()
        assert differences(expected, found) == []
        assert found == expected
        kinds = Counter(part.kind for part in found)
        print(f"{connection.engine}: " + ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items())))
        assert kinds["table"] == len(ALL_TABLES)
        assert kinds["trigger"] == 7
        assert min(kinds["column"], kinds["index"], kinds["constraint"]) > 1

    def test_a_new_database_records_version_and_digest(self, database: Database) -> None:
        assert database.meta("schema_version") == str(version.VERSION)
        assert database.meta("schema_digest") == version.DIGEST


def test_every_schema_change_has_its_own_version() -> None:
    sqlite = count_triggers.SQLITE + search_triggers.SQLITE
    postgresql = count_triggers.POSTGRESQL + search_triggers.POSTGRESQL
    found = digest(upgrading.SCHEMA.read_text(), sqlite, STORAGE_PARAMETERS, postgresql)
    assert found == version.DIGEST, (
        f"schema.sql, the triggers or the storage parameters have changed; the digest is now {found}. If version "
        f"{version.VERSION} was released, add a migration (storage/migrations/README.md), raise VERSION in "
        "storage/schema/version.py and add the digest to DIGESTS. If it was not, update its migration and its digest."
    )


def test_every_version_has_a_migration_and_a_digest() -> None:
    numbers = {int(file.name[:4]) for file in upgrading.MIGRATIONS.glob("*.sql")}
    assert numbers == set(range(1, version.VERSION + 1))
    assert set(version.DIGESTS) == numbers - {upgrading.BASELINE}
    for engine in ("sqlite", "postgresql"):
        assert all(upgrading.script(number, engine) for number in numbers)


def test_a_digest_ignores_comments_and_layout_only() -> None:
    one = digest("CREATE TABLE a (b TEXT DEFAULT 'x  y' /* why */);\n")
    assert one == digest("-- Comment.\nCREATE  TABLE\n\"a\"(b TEXT DEFAULT 'x  y');")
    assert one != digest("CREATE TABLE a (b TEXT DEFAULT 'x y');")


class TestUpgrade:
    @pytest.mark.parametrize("old", EARLIER_VERSIONS)
    def test_nothing_is_lost(self, settings: Settings, connection: Connection, old: int) -> None:
        load_version(settings, old)
        before = content(connection)
        needed = rf"schema version {old}; this program needs version {version.VERSION} \(run: flask init-db"
        with pytest.raises(SchemaMismatch, match=needed):
            open_database(settings)
        process = run_init_db(settings)
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (0, "")
        assert stdout.endswith(f": upgraded from schema version {old} to {version.VERSION}\n")
        after = content(connection)
        before = {table: before.get(table, []) for table in after}  # tables that are new are empty
        print(f"\n{stdout}{'table':16}{'before':>8}{'after':>8}  content")
        for table in ALL_TABLES:
            same = (
                "same" if after[table] == before[table] else f"added {sorted(set(after[table]) - set(before[table]))}"
            )
            print(f"{table:16}{len(before[table]):8}{len(after[table]):8}  {same}")
        replaced = set(before.pop("meta")) - set(after.pop("meta"))
        assert dict(replaced) == {"schema_version": str(old)} | (
            {"schema_digest": version.DIGESTS[old]} if old > 1 else {}
        )
        expected = with_new_columns(with_new_results(before) if old < 3 else before)
        assert after == {table: sorted(rows, key=repr) for table, rows in expected.items()}
        with connection.transaction():
            assert connection.structure_of(created_now(connection)) == connection.structure()
        assert db_init(settings, NOW) == "up to date"

    def test_the_stored_database_contains_every_status(self, settings: Settings, connection: Connection) -> None:
        from database import DELIVERY_STATUSES, EMAIL_STATUSES, RECIPIENT_STATUSES

        load(settings, VERSION_1)
        for table, statuses in (
            ("emails", EMAIL_STATUSES),
            ("deliveries", DELIVERY_STATUSES),
            ("recipients", RECIPIENT_STATUSES),
        ):
            assert {status for (status,) in connection.fetch_all(f"SELECT DISTINCT status FROM {table}")} == set(
                statuses
            )

    @pytest.mark.parametrize("old", EARLIER_VERSIONS)
    def test_the_next_sweep_finishes_what_was_under_way(
        self, settings: Settings, connection: Connection, old: int
    ) -> None:
        load_version(settings, old)
        sent_before = set(connection.fetch_all("SELECT event_id, address FROM deliveries WHERE status = 'sent'"))
        done = run_init_db(settings).communicate(timeout=60)[0]
        installation = installation_of(settings)
        swept = installation.task("--clock-is-right")
        assert (swept.returncode, swept.stderr) == (0, "")
        emails: dict[int, str] = dict(connection.fetch_all("SELECT event_id, status FROM emails"))
        deliveries = Counter(connection.fetch_all("SELECT event_id, status FROM deliveries"))
        print(f"\n{done}emails after the sweep: {emails}")
        for (event_id, status), count in sorted(deliveries.items()):
            print(f"email {event_id}: {count} {status}")
        assert emails == {
            1: "held",
            2: "sent",
            3: "sent",
            4: "sent",
            5: "sent",
            6: "cancelled",
            7: "cancelled",
            8: "sent",
            9: "scheduled",
        }
        unfinished = {
            (event_id, status) for event_id, status in deliveries if status in ("queued", "claimed", "sending")
        }
        assert unfinished == set()
        assert (deliveries[3, "unknown"], deliveries[3, "failed"], deliveries[6, "cancelled"]) == (1, 1, 1)
        assert (deliveries[5, "sent"], deliveries[8, "sent"]) == (5, 5)
        sent = set(connection.fetch_all("SELECT event_id, address FROM deliveries WHERE status = 'sent'"))
        subjects: dict[int, str] = dict(connection.fetch_all("SELECT event_id, subject FROM emails"))
        assert installation.delivered() == Counter((subjects[n], address) for n, address in sent - sent_before)
        assert connection.fetch_all("SELECT * FROM senders") == []
        assert [line.split()[-1] for line in installation.log()] == ["4", "5", "8"]

    def test_a_failed_migration_changes_nothing(
        self, settings: Settings, connection: Connection, tmp_path: Path
    ) -> None:
        load(settings, VERSION_1)
        before = content(connection), connection.structure()
        (tmp_path / "0002_half.sql").write_text(
            "CREATE TABLE half (a TEXT);\nDELETE FROM emails;\nSELECT no_such FROM emails;"
        )
        with pytest.raises(UpgradeFailed, match="no_such") as caught, connection.transaction():
            upgrading.migrate(connection, range(2, 3), tmp_path)
        assert "report this as a bug; until then install the old version again" in caught.value.remedy
        assert (content(connection), connection.structure()) == before

    def test_a_script_runs_to_its_end(self, settings: Settings, connection: Connection, tmp_path: Path) -> None:
        load(settings, VERSION_1)
        (tmp_path / "0002_no_semicolon.sql").write_text("CREATE TABLE one (a TEXT); CREATE TABLE two (a TEXT)")
        with connection.transaction():
            upgrading.migrate(connection, range(2, 3), tmp_path)
        assert connection.fetch_all("SELECT * FROM two") == []

    def test_two_upgrades_at_once_take_turns(self, settings: Settings) -> None:
        load(settings, VERSION_1)
        both = [run_init_db(settings) for _ in range(2)]
        said = [process.communicate(timeout=60) for process in both]
        assert [stderr for _, stderr in said] == ["", ""]
        assert sorted(stdout.rpartition(": ")[2] for stdout, _ in said) == [
            "up to date\n",
            f"upgraded from schema version 1 to {version.VERSION}\n",
        ]

    def test_a_running_sender_blocks_the_upgrade_but_a_dead_one_does_not(
        self, settings: Settings, connection: Connection
    ) -> None:
        load(settings, VERSION_1)
        until = connection.lease_time()
        extend = "UPDATE senders SET clock = :clock, lease_until = :until"
        connection.execute(extend, clock=until.clock, until=until.milliseconds + 30_000)
        before = content(connection)
        with pytest.raises(SendersRunning, match=r"process 4711.*stop it, then run: flask init-db"):
            db_init(settings, NOW)
        assert content(connection) == before
        connection.execute(extend, clock=until.clock, until=until.milliseconds - 1)
        assert db_init(settings, NOW).startswith("upgraded")

    def test_what_an_operator_added_is_kept(self, settings: Settings, connection: Connection) -> None:
        load(settings, VERSION_1)
        connection.execute("CREATE TABLE notes (a TEXT)")
        connection.execute("CREATE INDEX of_mine ON emails (subject)")
        connection.execute("CREATE VIEW open_emails AS SELECT * FROM emails WHERE status = 'scheduled'")
        connection.execute("CREATE VIEW totals AS SELECT noun, number FROM counts")
        totals = connection.fetch_all("SELECT * FROM totals")
        assert db_init(settings, NOW).startswith("upgraded")
        assert connection.fetch_all("SELECT * FROM totals") == totals != []
        parts = {str(part) for part in connection.structure()}
        assert {"table notes", "index of_mine"} <= parts


class TestRefusal:
    def test_a_development_schema_is_refused_and_left_alone(self, settings: Settings, connection: Connection) -> None:
        load(settings, DEVELOPMENT)
        before = content(connection), connection.structure(), files_of(settings)
        process = run_init_db(settings)
        stdout, stderr = process.communicate(timeout=60)
        print(f"\n{connection.engine}: {stderr}")
        assert (process.returncode, stdout) == (1, "")
        assert "created by an unreleased version and cannot be upgraded: table import_parts is missing" in stderr
        assert "column progress.recipients is missing" in stderr
        assert "flask recipients export --all -o recipients.csv" in stderr
        assert (content(connection), connection.structure(), files_of(settings)) == before

    @pytest.mark.parametrize(
        ("change", "difference"),
        [
            ("DROP INDEX deliveries_in_line", "index deliveries_in_line is missing"),
            (
                "DROP INDEX emails_sending; CREATE INDEX emails_sending ON emails (due_at)",
                "index emails_sending is diff",
            ),
            ("DROP TABLE deferrals", "table deferrals is missing"),
            ("ALTER TABLE emails ADD COLUMN priority BIGINT", "column emails.priority is not expected"),
            ("ALTER TABLE emails RENAME COLUMN logged TO noted", "column emails.logged is missing"),
        ],
    )
    def test_the_error_names_the_difference(
        self, settings: Settings, connection: Connection, change: str, difference: str
    ) -> None:
        load(settings, VERSION_1)
        for statement in change.split("; "):
            connection.execute(statement)
        before = content(connection), connection.structure()
        with pytest.raises(UnknownSchema, match=difference):
            db_init(settings, NOW)
        assert (content(connection), connection.structure()) == before

    def test_a_missing_trigger_is_a_difference(self, settings: Settings, connection: Connection) -> None:
        load(settings, VERSION_1)
        connection.execute(
            "DROP TRIGGER emails_updated" if connection.engine == "sqlite" else "DROP TRIGGER emails_update ON emails"
        )
        with pytest.raises(UnknownSchema, match=r"trigger emails\.emails_update"):
            db_init(settings, NOW)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            (
                {"schema_version": "99"},
                rf"schema version 99; this program needs version {version.VERSION} \(run the newer program",
            ),
            (
                {"schema_digest": "0123"},
                rf"version {version.VERSION}, but from a different development version \(run the program that created",
            ),
        ],
    )
    def test_a_database_with_another_version_or_digest_is_refused(
        self, settings: Settings, database: Database, changed: dict[str, str], reason: str
    ) -> None:
        database.record_heartbeat(int(time.time()))
        client = create_app(settings).test_client()
        assert client.get("/readyz").status_code == 200
        set_meta(settings, **changed)
        for use in (
            lambda: db_init(settings, NOW),
            lambda: open_database(settings),
            lambda: database.has_work(SECOND),
        ):
            with pytest.raises(SchemaMismatch, match=reason):
                use()
        answer = create_app(settings).test_client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json is not None
        assert [check["name"] for check in answer.json["checks"]] == ["schema"]
        checked = create_app(settings).test_cli_runner().invoke(args=["check"])
        assert checked.exit_code == 1
        assert "schema version" in checked.output


class TestRunningPrograms:
    """Programs that were started before the database was upgraded or replaced."""

    OTHER = ({"schema_version": str(version.VERSION + 1)}, {"schema_digest": "0123"})

    @pytest.mark.parametrize("changed", OTHER)
    def test_a_web_server_saves_nothing(self, settings: Settings, database: Database, changed: dict[str, str]) -> None:
        current = {"schema_version": database.meta("schema_version"), "schema_digest": database.meta("schema_digest")}
        client = create_app(settings).test_client()
        assert client.post("/send-emails", data=FORM).text == "Successful"
        set_meta(settings, **changed)
        for _ in range(2):
            answer = client.post("/send-emails", data=FORM | {"event_id": "78"})
            assert answer.status_code == 503
            assert answer.text.startswith("Error: the database has schema version ")
            assert "Retry-After" in answer.headers
        print(f"\nPOST: {answer.status_code} {answer.text}")
        assert database.emails.get(78) is None
        set_meta(settings, **current)
        assert client.post("/send-emails", data=FORM | {"event_id": "78"}).text == "Successful"

    @pytest.mark.parametrize("changed", OTHER)
    def test_every_transaction_is_refused(
        self, settings: Settings, database: Database, changed: dict[str, str]
    ) -> None:
        swept_at = database.last_heartbeat_at()
        set_meta(settings, **changed)
        for _ in range(7):  # more often than psycopg runs a statement before it prepares it
            with pytest.raises(SchemaMismatch):
                database.record_heartbeat(swept_at + 1)
            with pytest.raises(SchemaMismatch):
                database.senders.register(9, SECOND, None)  # type: ignore[arg-type]
        assert database.last_heartbeat_at() == swept_at

    @pytest.mark.parametrize("changed", OTHER)
    def test_a_watching_sender_stops(self, settings: Settings, database: Database, changed: dict[str, str]) -> None:
        installation = installation_of(settings)
        installation.add_recipients(1)
        sender = installation.start_task("--watch")
        installation.save_email(1)
        while not installation.messages() or database.health.at_work().senders:
            assert sender.poll() is None
            time.sleep(0.05)
        set_meta(settings, **changed)
        _, stderr = sender.communicate(timeout=30)
        print(f"\ntask.py --watch: exit {sender.returncode}, {stderr}")
        assert sender.returncode == 1
        assert "the database has schema version" in stderr

    def test_on_postgresql_an_upgrade_waits_for_open_transactions(self, postgresql: Any, tmp_path: Path) -> None:
        settings = load_settings({"DATABASE_URL": postgresql.new_database()}, tmp_path)
        db_init(settings, NOW)
        upgrade = PostgreSQLConnection(settings.database_url, tmp_path, 0.1)
        with closing(upgrade), open_database(settings, wait=0.1) as database:
            with database.connection.transaction(), pytest.raises(DatabaseBusy), upgrade.transaction():
                upgrade.lock_for_upgrade()
            with upgrade.transaction():
                upgrade.lock_for_upgrade()
                with pytest.raises(DatabaseBusy):
                    database.record_heartbeat(SECOND + 1)
            database.record_heartbeat(SECOND + 1)


class TestFutureMigrations:
    """An example of what a migration must be able to do: allow another recipient status."""

    WIDER = ("'rejected'))", "'rejected', 'bounced'))")

    def migration(self, connection: Connection, folder: Path) -> None:
        if connection.engine == "postgresql":
            checked = "CHECK (status IN ('active', 'unsubscribed', 'rejected', 'bounced'))"
            script = (
                "ALTER TABLE recipients DROP CONSTRAINT recipients_status_check;\n"
                f"ALTER TABLE recipients ADD CONSTRAINT recipients_status_check {checked};\n"
            )
        else:
            rows = connection.fetch_all(
                "SELECT type, sql FROM sqlite_master WHERE tbl_name = 'recipients' AND sql > ''"
            )
            parts = [sql for kind, sql in rows if kind in ("index", "trigger")]
            (table,) = (sql for kind, sql in rows if kind == "table")
            wider = table.replace("TABLE recipients", "TABLE recipients_new").replace(*self.WIDER)
            copy = "INSERT INTO recipients_new SELECT * FROM recipients"
            rename = "ALTER TABLE recipients_new RENAME TO recipients"
            script = ";\n".join([wider, copy, "DROP TABLE recipients", rename, *parts]) + ";\n"
        (folder / f"{version.VERSION + 1:04}_bounced.{connection.engine}.sql").write_text(script)

    def test_changing_a_constraint_keeps_rows_and_counts(
        self, settings: Settings, connection: Connection, tmp_path: Path
    ) -> None:
        load(settings, VERSION_1)
        db_init(settings, NOW)
        before = content(connection)
        self.migration(connection, tmp_path)
        with connection.transaction():
            upgrading.migrate(connection, range(version.VERSION + 1, version.VERSION + 2), tmp_path)
            expected = connection.structure_of(created_now(connection).replace(*self.WIDER))
            assert connection.structure() == expected
        assert content(connection) == before
        connection.execute("UPDATE recipients SET status = 'bounced' WHERE recipient_id = 1")
        bounced = "SELECT SUM(total) FROM status_counts WHERE entity = 'recipients' AND status = 'bounced'"
        assert connection.fetch_one(bounced) == (1,)


class TestLog:
    """SQLite's write-ahead log, which shows lost commits until the first write after a boot."""

    @pytest.mark.parametrize("commit", [VERSION_1, None])
    def test_init_db_notices_lost_commits(self, tmp_path: Path, commit: str | None) -> None:
        settings = load_settings({}, tmp_path)
        assert settings.database_path is not None
        file, log = settings.database_path, tmp_path / "email.db-wal"
        if commit:
            load(settings, commit)
        else:
            db_init(settings, NOW)
        with closing(driver.connect(file)) as writer:
            writer.execute("DELETE FROM meta WHERE name = 'boot'")
            for number in range(20):
                writer.execute("UPDATE counters SET value = ? WHERE name = 'last_sweep_at'", (number,))
                writer.commit()
            for name in (file, log):
                shutil.copyfile(name, f"{name}-kept")
        for name in (file, log):
            Path(f"{name}-kept").replace(name)
        octets = bytearray(log.read_bytes())
        octets[len(octets) // 2] ^= 0x10
        log.write_bytes(octets)
        db_init(settings, NOW)
        with open_database(settings) as database:
            assert database.info().backup_made_at == NOW
            ((lost,),) = database.connection.fetch_all("SELECT value FROM counters WHERE name = 'lost_commits'")
        assert lost > 5


@linux_only
def test_start_flask_upgrades_the_database_and_reports_it(project_copy: Path, free_port: int) -> None:
    give_venv(project_copy)
    load(load_settings({}, project_copy), VERSION_1)
    service = Service(project_copy, PORT=str(free_port), RETRY_FOR="36500d")
    try:
        assert service.has_printed("Running at ", 30), service.output
        print(f"\n{service.output}")
        upgraded = f"email.db: upgraded from schema version 1 to {version.VERSION}"
        assert upgraded in service.output.splitlines()[0]
        assert service.stop() == 0
    finally:
        service.process.kill()


def with_new_columns(before: Content) -> Content:
    """Return the content of an older database as version 5 extends it."""
    extended = {table: [(*row, *NEW_COLUMNS.get(table, ())) for row in rows] for table, rows in before.items()}
    extended["counters"] += [(name, 0) for name in ("list_id", "draft_id", "template_id", "removal_id")]
    return extended


def with_new_results(rows: Content) -> Content:
    """Return these rows, with import previews in the format of the current version."""
    imports = [tuple(map(_with_new_results, row)) for row in rows["imports"]]
    assert imports != rows["imports"]
    return {**rows, "imports": imports}


def _with_new_results(value: object) -> object:
    if isinstance(value, str):
        for old, new in PREVIEW_RESULTS.items():
            value = value.replace(old, new)
    return value


def created_now(connection: Connection) -> str:
    """Return the SQL that creates a new database."""
    if connection.engine == "sqlite":
        return upgrading.SCHEMA.read_text() + count_triggers.SQLITE + search_triggers.SQLITE
    triggers = count_triggers.POSTGRESQL + search_triggers.POSTGRESQL
    return upgrading.SCHEMA.read_text() + STORAGE_PARAMETERS + triggers


def files_of(settings: Settings) -> bytes:
    """Return the bytes of a SQLite database file; empty for PostgreSQL."""
    return settings.database_path.read_bytes() if settings.database_path is not None else b""
