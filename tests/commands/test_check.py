"""The findings of `flask check`, and their wording."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from database import RESTORE_BACKUP, Database, DatabaseUnavailable, Delivery, DeliveryUpdate, open_database
from monitoring import clock, configuration, database_health, delivery_health, disk, mail_server
from monitoring.checks import CHECK_TIMEOUT, findings
from monitoring.finding import Finding, ok
from settings import FOLDER, Settings, load_settings
from storage.schema.version import VERSION
from storage.stats import Health
from tests.support import new_database
from tests.support.disk import fill
from tests.support.recipients_command import commands_of
from tests.support.servers.smtp_server import SILENCE, ScriptedServer

NOW = int(time.time())


@pytest.fixture
def ready(tmp_path: Path, where: dict[str, str]) -> Settings:
    """Return an installation with its tables, on each engine."""
    settings = load_settings(where, tmp_path)
    new_database.create(settings, datetime.now(UTC))
    return settings


def worst(found: list[Finding], subject: str) -> Finding:
    levels = ("ok", "warning", "error")
    return max((each for each in found if each.subject == subject), key=lambda each: levels.index(each.level))


def said(settings: Settings, subject: str) -> Finding:
    return worst(findings(settings), subject)


def with_env(folder: Path, text: str) -> Settings:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(0o600)
    return load_settings({}, folder)


def test_a_new_installation_has_no_errors_and_each_warning_has_its_remedy(ready: Settings) -> None:
    found = findings(ready)
    assert [each for each in found if each.level == "error"] == []
    assert all(bool(each.remedy) == (each.level != "ok") for each in found)
    subjects = {"settings", "database", "version", "disk", "clock", "zone", "sender", "overdue", "cron"}
    subjects |= {"stalled", "mail server"}
    assert {each.subject for each in found} == subjects


def test_the_command_prints_a_line_for_each_and_exits_with_one_only_for_errors(settings: Settings) -> None:
    new_database.create(settings, datetime.now(UTC))
    result = commands_of(settings, "check")()
    assert result.exit_code == 0
    assert "warning mail server  no mail server: messages are saved in" in result.stdout
    assert "-> run flask setup, or set EMAIL_URL=" in result.stdout
    Path(str(settings.database_path)).unlink()
    result = commands_of(settings, "check")()
    assert result.exit_code == 1
    assert "error   database     there is no database at" in result.stdout


def test_the_same_as_json_lines(settings: Settings) -> None:
    result = commands_of(settings, "check")("--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {tuple(line) for line in lines} == {("level", "subject", "text", "remedy")}
    assert {"error", "ok"} <= {line["level"] for line in lines}


def test_a_mail_server_that_hangs_holds_up_nothing_else(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mail_server.LOGIN_TIMEOUT < CHECK_TIMEOUT
    monkeypatch.setattr(mail_server, "LOGIN_TIMEOUT", 0.3)
    with ScriptedServer(on={"CONNECT": lambda line, n: SILENCE}) as server:
        hangs = load_settings({"EMAIL_URL": f"smtp://127.0.0.1:{server.port}"}, settings.folder)
        result = commands_of(hangs, "check")()
    assert result.exit_code == 1
    assert "timed out at GREETING" in result.stdout
    assert "timestamps are in Asia/Singapore (currently UTC+08:00)" in result.stdout


def test_a_check_that_never_ends_is_an_error_and_so_is_one_that_fails(settings: Settings) -> None:
    forever = threading.Event()

    def hangs(_settings: Settings) -> Iterator[Finding]:
        forever.wait()
        yield ok("never", "said")

    def fails(_settings: Settings) -> Iterator[Finding]:
        raise ValueError("no such thing")

    found = findings(settings, (("one", hangs), ("two", fails)), limit=0.2)
    forever.set()
    assert [(each.level, each.subject) for each in found] == [("error", "one"), ("error", "fails")]
    assert "no response within 0 s" in found[0].text
    assert "ValueError('no such thing')" in found[1].text


def test_a_login_that_is_refused_is_an_error_with_its_remedy(ready: Settings) -> None:
    with ScriptedServer(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "535 5.7.8 bad"}) as server:
        url = f"smtp://me:hunter2@127.0.0.1:{server.port}"
        finding = said(
            ready._replace(email_url=load_settings({"EMAIL_URL": url}, ready.folder).email_url), "mail server"
        )
    assert finding.level == "error"
    assert "535 5.7.8 bad" in finding.text
    assert finding.remedy == "check the user name and password in EMAIL_URL"
    assert "hunter2" not in str(finding)


def test_a_login_that_is_taken_is_said_with_its_user(ready: Settings) -> None:
    with ScriptedServer(offers=("AUTH PLAIN",)) as server:
        url = f"smtp://me:hunter2@127.0.0.1:{server.port}"
        finding = said(load_settings({"EMAIL_URL": url}, ready.folder), "mail server")
    assert finding == ok("mail server", f"127.0.0.1:{server.port} accepted the login as me")


def test_a_maildir_that_cannot_be_made_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root can write everywhere
    assert said(settings, "mail server").level == "error"
    assert not (settings.folder / "outbox").exists()


# Settings


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SMTP_CONECTIONS", "did you mean SMTP_CONNECTIONS?"),
        ("smtp_connections", "did you mean SMTP_CONNECTIONS?"),
        ("EMAIL_URL_FIEL", "did you mean EMAIL_URL_FILE?"),
        ("COLOUR", "remove it, or see the list of settings in docs/settings.md"),
    ],
)
def test_a_name_that_is_no_setting_is_named_with_what_was_meant(tmp_path: Path, name: str, remedy: str) -> None:
    found = list(
        configuration.check_setup(with_env(tmp_path, f"{name}=8\nHOST=127.0.0.1\nKEEP_FOR=90d\nFLASK_DEBUG=0\n"))
    )
    assert [each.remedy for each in found if each.level == "warning" and "unknown setting" in each.text] == [remedy]
    assert f"unknown setting {name} in .env" in str(found)


def test_the_mode_of_the_settings_file_is_told_and_a_bad_one_is_an_error(tmp_path: Path) -> None:
    settings = with_env(tmp_path, "TIMEZONE=UTC\n")
    assert f"{tmp_path}/.env, mode 600" in str(list(configuration.check_setup(settings)))
    (tmp_path / ".env").chmod(0o644)
    assert "accessible to other users (mode 644)" in worst(list(configuration.check_setup(settings)), "settings").text


def test_a_settings_file_in_git_is_an_error(tmp_path: Path) -> None:
    settings = with_env(tmp_path, "TIMEZONE=UTC\n")
    assert os.system(f"cd {tmp_path} && git init -q . 2>/dev/null") == 0
    assert "committed to git" not in str(list(configuration.check_setup(settings)))
    assert os.system(f"cd {tmp_path} && git add -f .env") == 0
    assert "is committed to git with its passwords" in worst(list(configuration.check_setup(settings)), "settings").text


def test_an_address_that_nobody_can_answer_is_an_error_once_mail_leaves(tmp_path: Path) -> None:
    for url, level in (("maildir:outbox", "warning"), ("smtp://localhost", "error")):
        found = list(configuration.check_setup(load_settings({"EMAIL_URL": url}, tmp_path)))
        assert {each.level for each in found if "MAIL_FROM" in each.text} == {level}
    settings = load_settings({"EMAIL_URL": "smtp://localhost", "MAIL_FROM": "news@example.com"}, tmp_path)
    assert ok("settings", "mail is sent from news@example.com") in configuration.check_setup(settings)


def levels(folder: Path, word: str, **environment: str) -> list[str]:
    """Return the levels of the findings about settings that contain this word."""
    found = configuration.check_setup(load_settings(environment, folder))
    return [each.level for each in found if word in each.text]


def test_a_public_service_needs_tls_and_a_token(tmp_path: Path) -> None:
    assert levels(tmp_path, "PUBLIC_URL", PUBLIC_URL="http://mail.example.com") == ["warning"]
    assert levels(tmp_path, "API_TOKEN", PUBLIC_URL="http://mail.example.com") == ["warning"]
    assert levels(tmp_path, "API_TOKEN", PUBLIC_URL="https://mail.example.com", TRUSTED_PROXIES="1") == ["error"]
    assert levels(tmp_path, "API_TOKEN", TRUSTED_PROXIES="1", API_TOKEN="x" * 16) == []
    with_all = {"PUBLIC_URL": "https://mail.example.com", "API_TOKEN": "x" * 16, "MAIL_FROM": "a@example.com"}
    assert {each.level for each in configuration.check_setup(load_settings(with_all, tmp_path))} == {"ok"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:21000", "http://localhost:5000", "http://[::1]:5000/mail"])
def test_a_service_for_this_machine_alone_needs_no_token(tmp_path: Path, url: str) -> None:
    assert levels(tmp_path, "API_TOKEN", PUBLIC_URL=url) == levels(tmp_path, "API_TOKEN") == []


# Database


def test_a_database_that_is_locked_is_an_error(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_health, "open_database", partial(open_database, wait=0.2))
    with database.connection.transaction():
        finding = said(settings, "database")
    assert (finding.level, finding.text) == ("error", "the database is locked by another process")


def test_tables_of_another_version_are_an_error(ready: Settings) -> None:
    with open_database(ready) as database:
        database.connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    finding = said(ready, "database")
    assert f"schema version 99; this program needs version {VERSION}" in finding.text
    assert finding.remedy == "run the newer program that upgraded it"


def test_a_damaged_file_is_an_error(settings: Settings, database: Database) -> None:
    for number in range(2000):
        database.connection.execute("INSERT INTO hourly_stats (hour) VALUES (:number)", number=number)
    database.close()
    path = Path(str(settings.database_path))
    with closing(sqlite3.connect(path)) as connection:
        rootpage = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'hourly_stats'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((rootpage - 1) * 4096 + 8)
        file.write(b"\xff" * 64)
    finding = said(settings, "database")
    assert finding.level == "error"
    assert finding.remedy == RESTORE_BACKUP


def test_a_disk_that_fails_while_the_file_is_read_through_is_an_error(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(health: Health, seconds: float) -> list[str] | None:
        raise DatabaseUnavailable("the disk under the database fails", "is it broken?")

    monkeypatch.setattr(Health, "integrity_check", fail)
    (finding,) = database_health.check_damage(ready)
    assert (finding.level, finding.text) == ("error", "the disk under the database fails")
    assert finding.remedy == "is it broken?"


def test_a_database_that_cannot_be_opened_is_reported_once(settings: Settings) -> None:
    assert [finding.level for finding in database_health.check_database(settings)] == ["error"]
    assert list(database_health.check_damage(settings)) == []


def test_without_psycopg_the_check_says_so_once_however_its_threads_race(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("import time\ntime.sleep(0.01)\nraise ModuleNotFoundError('psycopg')\n")
    script = (
        "import collections, pathlib, settings, monitoring.checks as checks\n"
        f"s = settings.load_settings({{'DATABASE_URL': 'postgresql://h/x'}}, pathlib.Path({str(tmp_path)!r}))\n"
        "for _ in range(10):\n"
        "    found = [each for each in checks.findings(s) if each.level == 'error']\n"
        "    print(*[f'{each.text} ({each.remedy})' for each in found], sep='; ')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER, env=environment, capture_output=True, text=True)
    reason = "psycopg, which DATABASE_URL=postgresql://… needs, is not installed"
    line = f"{reason} (run: pip install -r requirements/postgresql.txt)"
    assert done.stdout.splitlines() == [line] * 10, done.stderr


def test_others_who_can_read_the_database_are_a_warning(settings: Settings, database: Database) -> None:
    Path(str(settings.database_path)).chmod(0o644)
    finding = said(settings, "database")
    assert (finding.level, finding.remedy) == ("warning", f"chmod 600 {settings.database_path}")


def test_a_look_through_a_large_file_ends_in_time(database: Database) -> None:
    with database.connection.transaction():
        for number in range(20_000):
            database.connection.execute("INSERT INTO hourly_stats (hour) VALUES (:number)", number=number)
    assert database.health.integrity_check(seconds=60) == []
    assert database.health.integrity_check(seconds=0) is None
    assert database.health.integrity_check(seconds=60) == []


@pytest.mark.parametrize(
    ("product", "level"),
    [
        ("SQLite 3.51.2", "warning"),
        ("SQLite 3.51.3", "ok"),
        ("SQLite 3.53.4", "ok"),
        ("PostgreSQL 14.9", "warning"),
        ("PostgreSQL 15.3", "ok"),
        ("PostgreSQL 18beta1", "ok"),
    ],
)
def test_versions_with_known_faults_are_named(product: str, level: str) -> None:
    assert database_health.known_faults(product).level == level


def test_the_version_in_use_is_told(ready: Settings) -> None:
    assert said(ready, "version").text.startswith("SQLite 3." if ready.database_path else "PostgreSQL ")


def test_a_restored_backup_at_which_no_sweep_has_looked_is_a_warning(ready: Settings) -> None:
    with open_database(ready) as database:
        database.progress.mark_as_backup(NOW)
    assert said(ready, "database").text.startswith("restored from a backup")


# Disk, clock, sender


def test_little_room_is_a_warning_and_none_an_error(tmp_path: Path) -> None:
    levels = [
        disk.room(tmp_path, ["log"], free).level for free in (10 * disk.WARNING_BYTES, disk.WARNING_BYTES - 1, 10)
    ]
    assert levels == ["ok", "warning", "error"]


@pytest.mark.parametrize(("ago", "level"), [(0, "ok"), (300 * 86400, "ok"), (367 * 86400, "error"), (-90_000, "error")])
def test_a_clock_that_jumped_is_judged_as_a_sweep_judges_it(ready: Settings, ago: int, level: str) -> None:
    with open_database(ready) as database:
        database.record_heartbeat(NOW - ago)
    finding = worst(list(clock.check_clock(ready)), "clock")
    assert finding.level == level
    assert level == "ok" or "--clock-is-right" in finding.remedy


def test_the_database_servers_clock_is_compared() -> None:
    levels = [clock._against_database(lead).level for lead in (0.3, -1.9, 5, -5, 61, -3600)]
    assert levels == ["ok", "ok", "warning", "warning", "error", "error"]
    assert "5.0 s behind this machine's" in clock._against_database(-5).text


def test_a_sender_that_did_not_run_for_90_seconds_is_an_error(ready: Settings) -> None:
    for ago, level in ((0, "ok"), (80, "ok"), (100, "error"), (901, "error")):
        with open_database(ready) as database:
            database.record_heartbeat(int(time.time()) - ago)
        finding = said(ready, "sender")
        assert finding.level == level, ago
        assert level == "ok" or "./makecron.sh" in finding.remedy
    assert re.fullmatch(r"the sender is not running \(last check 15 min( \d s)? ago\)", finding.text)


def settled_by_nobody(delivery: Delivery) -> DeliveryUpdate:
    raise AssertionError(f"nothing was sent, but {delivery} is in doubt")


def test_a_sender_that_has_been_at_work_for_hours_is_alive_by_its_lease(ready: Settings) -> None:
    now = int(time.time())
    with open_database(ready) as database:
        assert database.senders.register(1, now, settled_by_nobody) is not None
        database.record_heartbeat(now - 3 * 3600)
    assert said(ready, "sender").level == "ok"


def test_a_disk_without_room_for_one_more_email_is_an_error(small_disk: Path) -> None:
    settings = load_settings({}, small_disk)
    new_database.create(settings, datetime.now(UTC))
    fill(small_disk)
    assert worst(list(database_health.check_database(settings)), "database").level == "error"


def test_beside_redis_a_sweep_every_few_minutes_is_enough() -> None:
    ages = timedelta(minutes=10), timedelta(minutes=17)
    assert [delivery_health.heartbeat(age, "rq-scheduler").level for age in ages] == ["ok", "error"]


def test_mail_that_waits_is_an_error(ready: Settings) -> None:
    with open_database(ready) as database:
        sql = (
            "INSERT INTO emails (event_id, due_at, created_at, token, subject, content) VALUES (1, :due, 0, '', '', '')"
        )
        database.connection.execute(sql, due=int(time.time()) - 3 * 3600)
    finding = said(ready, "overdue")
    assert (finding.level, finding.text) == ("error", "1 email is overdue (by 3 h)")
