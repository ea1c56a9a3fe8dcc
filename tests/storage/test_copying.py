"""`flask copy-database`: the copy is equal to the original, or nothing was done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import db_init
from settings import Settings, load_settings
from tests.support.installation import Installation, subjects
from tests.support.recipients_command import commands_of
from tests.support.servers.postgresql_server import PostgreSQLServer


def copied(settings: Settings, source: Installation, target: Mapping[str, str]) -> tuple[int, str]:
    """Return the output of `flask copy-database`."""
    command = commands_of(settings, "copy-database")
    variables = {"OLD_URL": source.environment["DATABASE_URL"], "NEW_DATABASE_URL": target["DATABASE_URL"]}
    with pytest.MonkeyPatch.context() as patched:
        for name, url in variables.items():
            patched.setenv(name, url)
        result = command(*variables)
    return result.exit_code, result.output


@pytest.fixture
def source(tmp_path: Path, where: dict[str, str]) -> Installation:
    """Return an installation with emails in every state, and unusual texts."""
    folder = tmp_path / "source"
    folder.mkdir()
    installation = Installation(folder, **where)
    installation.add_recipients(20)
    installation.save_email(1, subject="1")
    installation.task()
    installation.save_email(2, due_in=3600, subject="2", content="Größe 👋\t\\N \\. 日本\n" * 500)
    with installation.database() as database:
        database.connection.execute(
            "UPDATE recipients SET status = 'rejected', bounced_event_id = 1 WHERE recipient_id = 7"
        )
        database.connection.execute("INSERT INTO attempts VALUES (1, 3, 0, 'failed', '550 é')")
        database.imports.create("people.csv", [b"\xff\x00\r\n\\x41\\N", b"b"], datetime.now(UTC))
    return installation


@pytest.fixture
def target(tmp_path: Path, where: dict[str, str], postgresql: PostgreSQLServer) -> dict[str, str]:
    """Return an empty database on the other engine."""
    url = f"sqlite:///{tmp_path}/new.db" if where else postgresql.new_database()
    return {"DATABASE_URL": url}


def test_a_copy_goes_on_where_the_original_stopped(
    settings: Settings, source: Installation, target: dict[str, str], tmp_path: Path
) -> None:
    code, output = copied(settings, source, target)
    assert code == 0, output
    assert "recipients: 20 rows" in output
    assert "secret" not in output
    moved = Installation(tmp_path, **target)
    moved.save_email(3, subject="3")
    assert moved.task().returncode == 0
    wanted = subjects([3], 20)
    del wanted["3", "r15@example.com"]  # recipient 7, in the order of the addresses
    assert moved.delivered() == wanted
    with moved.database() as new, source.database() as old:
        assert new.emails.get(2) == old.emails.get(2)
        assert new.imports.get(1) == old.imports.get(1)
        assert new.imports.part(1, 0) == b"\xff\x00\r\n\\x41\\N"
        assert new.meta("secret_key") == old.meta("secret_key")


def test_a_database_that_is_not_empty_is_left_as_it_is(
    settings: Settings, source: Installation, target: dict[str, str], tmp_path: Path
) -> None:
    Installation(tmp_path, **target).add_recipients(1)
    code, output = copied(settings, source, target)
    assert (code, output) == (1, "Error: the target database is not empty (it has rows in recipients)\n")


def test_a_copy_that_breaks_off_leaves_nothing(
    settings: Settings, source: Installation, target: dict[str, str], tmp_path: Path
) -> None:
    with source.database() as database:  # values that the other engine would have refused to store
        database.connection.execute("DROP TABLE hourly_stats")
    code, _ = copied(settings, source, target)
    assert code == 1
    with Installation(tmp_path, **target).database() as database:
        assert database.recipients.counts()["active"] == 0


def test_a_sender_at_work_is_not_copied(settings: Settings, source: Installation, target: dict[str, str]) -> None:
    with source.database() as database:
        database.connection.execute("INSERT INTO senders VALUES (9, 'a clock', 0, 1, 0, 0)")
    assert copied(settings, source, target)[0] == 1


def test_a_bad_url_is_refused_with_what_is_allowed(settings: Settings, source: Installation) -> None:
    code, output = copied(settings, source, {"DATABASE_URL": "mysql://here"})
    assert code == 2
    assert "postgresql://USER:PASSWORD@HOST/NAME" in output


def test_a_copy_needs_no_password_on_the_command_line(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    Installation(folder).add_recipients(3)
    url = postgresql.new_database()
    env_file, url_file = folder / ".env", folder / "url"
    env_file.touch(0o600)
    command = commands_of(load_settings({}, folder), "copy-database")
    env_file.write_text(f"NEW_DATABASE_URL={url}\n")
    assert "recipients: 3 rows" in command("DATABASE_URL", "NEW_DATABASE_URL").output
    postgresql.drop(url)
    url = postgresql.new_database()
    url_file.write_text(url)
    env_file.write_text("NEW_DATABASE_URL_FILE=url\n")
    for name in ("NEW_DATABASE_URL", "NEW_DATABASE_URL_FILE"):
        result = command("DATABASE_URL", name)
    assert "not empty" in result.output and "password" not in result.output
    assert "SOMETHING" in command("DATABASE_URL", "SOMETHING").output


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://email:S3CRET@127.0.0.1:1/email", True),
        ("postgresql://email@127.0.0.1:1/email?user=x&password=S3CRET", True),
        ("postgresql://email@127.0.0.1:1/email", False),
        ("sqlite:///other.db", False),
    ],
)
def test_a_password_on_the_command_line_is_pointed_out(settings: Settings, url: str, warned: bool) -> None:
    result = commands_of(settings, "copy-database")("DATABASE_URL", url)
    assert ("can see the password" in result.stderr) == warned
    assert "S3CRET" not in result.output


def test_a_bad_url_is_blamed_on_the_variable_that_holds_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW_DATABASE_URL", "mysql://email:S3CRET@host/email")
    result = commands_of(settings, "copy-database")("DATABASE_URL", "NEW_DATABASE_URL")
    assert result.exit_code == 2 and "NEW_DATABASE_URL=" in result.output and "S3CRET" not in result.output


def test_a_relative_path_starts_in_the_folder_of_the_data(settings: Settings, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with_data_dir = settings._replace(data_dir=data)
    db_init(with_data_dir._replace(database_path=data / "email.db"), datetime.now(UTC))
    command = commands_of(with_data_dir, "copy-database")
    result = command("sqlite:///email.db", "sqlite:///new.db")
    assert result.exit_code == 0, result.output
    assert (data / "new.db").is_file()
