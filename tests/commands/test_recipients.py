"""`flask recipients` and `flask init-db`, as people and scripts use them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from database import Database, open_database
from email_app import create_app
from intake.address import stored_address
from settings import Settings, load_settings
from tests.support.recipients_command import Command, commands_of, stored


@pytest.fixture
def recipients(settings: Settings, database: Database) -> Command:
    return commands_of(settings)


def unsubscribe(database: Database, address: str) -> None:
    sql = "UPDATE recipients SET status = 'unsubscribed' WHERE address = :address"
    assert database.connection.execute(sql, address=address) == 1


def test_init_db_makes_the_tables_and_says_so(settings: Settings) -> None:
    runner = create_app(settings).test_cli_runner()
    first, second = runner.invoke(args=["init-db"]), runner.invoke(args=["init-db"])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "created the tables" in first.output
    assert "up to date" in second.output
    assert commands_of(settings)("list").output == ""


def test_added_recipients_are_listed_in_their_order(recipients: Command) -> None:
    assert recipients("add", "b@example.com").output == "1 added, 0 already existed\n"
    result = recipients("add", "Anna@Example.com", "anna@example.COM", "josé@exämple.com", "B@example.com")
    assert (result.exit_code, result.output) == (0, "2 added, 1 already existed\n")
    lines = recipients("list").output.splitlines()
    assert lines == ["b@example.com\tactive", "Anna@example.com\tactive", "josé@xn--exmple-cua.com\tactive"]


def test_addresses_may_be_typed_with_names_or_as_links(recipients: Command, database: Database) -> None:
    result = recipients("add", "Ada <ada@example.com>", "mailto:b%2Bc@example.com?subject=x", "d@home.arpa")
    assert result.exit_code == 0
    assert list(stored(database)) == ["ada@example.com", "b+c@example.com", "d@home.arpa"]
    assert recipients("remove", "Ada <ADA@example.com>").output == "1 removed\n"


def test_a_recipient_that_todays_rules_refuse_can_still_be_removed(recipients: Command, database: Database) -> None:
    for text in ("ada\ufe0f@example.com", "root@mailhost"):
        assert recipients("remove", text).exit_code == 1
        assert recipients("add", text).exit_code == 1
        database.recipients.add([stored_address(text)], datetime.now(UTC))
        assert recipients("remove", text).output == "1 removed\n"
    assert stored(database) == {}


def test_a_domain_without_a_dot_needs_the_setting(settings: Settings, database: Database) -> None:
    recipients = commands_of(settings._replace(single_label_domains=True))
    assert recipients("add", "root@mailhost").exit_code == 0
    assert recipients("import", "-", stdin=b"cron@mailhost\n").exit_code == 0
    assert list(stored(database)) == ["root@mailhost", "cron@mailhost"]


def test_a_first_line_for_excel_names_the_delimiter(recipients: Command, database: Database) -> None:
    result = recipients("import", "-", stdin=b"sep=;\r\nrecipient_email;name\r\na@example.com;A,B\r\n")
    assert result.exit_code == 0 and stored(database) == {"a@example.com": "active"}


def test_the_list_is_also_given_as_json_lines(recipients: Command) -> None:
    recipients("add", "a@example.com", "josé@example.com")
    first, second = map(json.loads, recipients("list", "--json").output.splitlines())
    assert (first["address"], first["status"]) == ("a@example.com", "active")
    assert first["created_at"].endswith("+00:00")
    assert second["address"] == "josé@example.com"


def test_recipients_are_found_by_words_domain_list_and_status(recipients: Command, database: Database) -> None:
    database.lists.add("gala", datetime.now(UTC))
    recipients("add", "ada@example.com", "bob@example.org", "--list", "gala")
    recipients("add", "anna@example.com")
    assert recipients("list", "--search", "ADA").output == "ada@example.com\tactive\n"
    assert recipients("list", "--search", "example.com ann").output == "anna@example.com\tactive\n"
    assert recipients("list", "--domain", "example.com", "--list", "Gala").output == "ada@example.com\tactive\n"
    assert recipients("list", "--search", "ada", "--status", "rejected").output == ""
    assert 'no list "other"' in recipients("list", "--list", "other").stderr
    assert recipients("list", "--search", " ").stderr == "Error: --search: the text is empty\n"


def test_one_bad_address_and_none_is_added(recipients: Command, database: Database) -> None:
    result = recipients("add", "a@example.com", "b@", "c d@example.com\x1b[2J")
    assert result.exit_code == 1
    assert "b@ is not valid" in result.stderr
    assert "c d@example.com\\x1b[2J is not valid" in result.stderr
    assert stored(database) == {}


def test_removing_names_who_was_not_there(recipients: Command, database: Database) -> None:
    recipients("add", "a@example.com", "b@example.com")
    result = recipients("remove", "A@example.com", "q@example.com")
    assert (result.exit_code, result.stdout) == (1, "1 removed\n")
    assert result.stderr == "Error: not found: q@example.com\n"
    assert stored(database) == {"b@example.com": "active"}
    assert recipients("remove", "b@example.com").exit_code == 0


def test_an_import_says_what_it_did(recipients: Command, database: Database) -> None:
    recipients("add", "a@example.com")
    data = b"\xef\xbb\xbfname;Recipient_Email\r\nAnn;A@example.com\rBob;b@example.com\n\nB.;B@example.com\n"
    result = recipients("import", "-", stdin=data)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "1 added, 1 already existed, 1 duplicate\n"
    assert list(stored(database)) == ["a@example.com", "b@example.com"]


def test_a_bad_line_and_nothing_is_imported(recipients: Command, database: Database) -> None:
    data = b"a@example.com\nb@\n" + b"\n".join(b"c%d@example.com\nd@" % number for number in range(30))
    result = recipients("import", "-", stdin=data)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("line 2: b@ is not valid: ")
    assert [line.split(":")[0] for line in lines[1:20]] == [f"line {number}" for number in range(4, 42, 2)]
    assert lines[20:] == ["and 11 more", "Error: Nothing was imported: 31 invalid lines"]
    assert stored(database) == {}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a@example.com\n" + b"x" * 200_000 + b"@example.com\n", "line 2: xxxx"),
        (b"a@example.com\n'\x1b]0;title\x07@example.com\n", "line 2: '\\x1b]0;title\\x07@example.com "),
        (b'a@example.com\n"b@example.com\n', "line 2: unclosed quote"),
        (b"a@example.com\0\n", "line 1: the file is UTF-16 or not text"),
        (b"name,contact\nAnn,Bonn\n", "line 1: the file has 2 columns"),
    ],
)
def test_what_is_wrong_is_said_in_short_lines(recipients: Command, data: bytes, complaint: str) -> None:
    result = recipients("import", "-", stdin=data)
    assert result.exit_code == 1
    assert result.stderr.startswith(complaint)
    assert max(map(len, result.stderr.splitlines())) < 300
    assert result.stderr.endswith("Error: Nothing was imported: 1 invalid line\n")


def test_a_dry_run_stores_nothing(recipients: Command, database: Database) -> None:
    assert recipients("import", "--dry-run", "-", stdin=b"a@example.com\n").output == (
        "1 valid address. Nothing was saved (dry run).\n"
    )
    assert recipients("import", "--dry-run", "-", stdin=b"a@\n").exit_code == 1
    assert stored(database) == {}


def test_nobody_who_unsubscribed_becomes_active_again(recipients: Command, database: Database) -> None:
    recipients("add", "a@example.com", "b@example.com")
    unsubscribe(database, "a@example.com")
    recipients("import", "-", stdin=b"A@example.com\nc@example.com\n")
    assert recipients("add", "a@example.com").output.splitlines()[1] == "a@example.com stays unsubscribed"
    recipients("remove", "a@example.com")
    recipients("import", "-", stdin=b"a@example.com\n")
    assert stored(database)["a@example.com"] == "unsubscribed"


def test_an_export_makes_nobody_active_elsewhere(recipients: Command, database: Database, tmp_path: Path) -> None:
    recipients("add", "+a@example.com", "b@example.com")
    unsubscribe(database, "b@example.com")
    assert recipients("export").stdout_bytes == b"recipient_email\r\n'+a@example.com\r\n"
    everyone = recipients("export", "--all").stdout_bytes
    assert everyone.endswith(b"'+a@example.com,active\r\nb@example.com,unsubscribed\r\n")
    elsewhere = installation(tmp_path / "elsewhere")
    result = commands_of(elsewhere)("import", "-", stdin=everyone)
    assert result.output == "1 added, 0 already existed, 1 skipped (inactive in the file)\n"
    with open_database(elsewhere) as other:
        assert stored(other) == {"+a@example.com": "active"}


def installation(folder: Path) -> Settings:
    folder.mkdir()
    settings = load_settings({}, folder)
    assert create_app(settings).test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    return settings


@pytest.fixture(scope="module")
def first_and_second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Command, Database]]]:
    """Two installations: their `flask recipients …`, and their databases."""
    folder = tmp_path_factory.mktemp("round trip")
    each = [installation(folder / name) for name in ("first", "second")]
    with ExitStack() as databases:
        yield [(commands_of(settings), databases.enter_context(open_database(settings))) for settings in each]


local_parts = st.text("'=+-@,; \"abAZ09!#_~éσς用", min_size=1, max_size=12)


@given(names=st.lists(local_parts))
@example(names=["=1+1", "+tag", "-a", "@x", "'+a", "''=a", "'a", '"a b"', '"a,;b"', '"=1"'])
@examples(max_examples=30, deadline=None)
def test_export_then_import_gives_the_same_rows(
    names: list[str], first_and_second: list[tuple[Command, Database]]
) -> None:
    (first, one), (second, other) = first_and_second
    for database in (one, other):
        database.connection.execute("DELETE FROM recipients")
    for local in names:
        first("add", "--", f"{local}@example.com")  # some are not addresses and are refused
    exported = first("export").stdout_bytes
    assert not re.search(rb'(^|\n)"?[=+\-@\t\r\0]', exported)
    assert second("import", "-", stdin=exported).exit_code == 0
    assert set(stored(one)) == set(stored(other))
    assert sorted(second("export").stdout_bytes.split()) == sorted(exported.split())


def test_an_exported_file_is_private_and_whole(recipients: Command, tmp_path: Path) -> None:
    recipients("add", "a@example.com")
    target = tmp_path / "people.csv"
    target.write_text("old")
    result = recipients("export", "--output", str(target))
    assert (result.exit_code, result.output) == (0, "")
    assert target.read_bytes() == b"recipient_email\r\na@example.com\r\n"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob(".people*")) == []


def test_an_export_into_a_device_leaves_the_device(recipients: Command) -> None:
    assert recipients("export", "--output", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("target", ["no/such/folder/people.csv", "."])
def test_a_file_that_cannot_be_written_is_one_line(recipients: Command, tmp_path: Path, target: str) -> None:
    result = recipients("export", "--output", str(tmp_path / target))
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: .*: (No such file or directory|Is a directory)\n", result.stderr)


@pytest.mark.parametrize("words", [["list"], ["export"], ["add", "a@b.com"], ["remove", "a@b.com"], ["import", "-"]])
def test_a_missing_database_is_one_line_with_the_remedy(settings: Settings, words: list[str]) -> None:
    result = commands_of(settings)(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: there is no database at .* \(run: flask init-db\)\n", result.stderr)


def test_a_locked_database_is_one_line(
    recipients: Command, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["commands.recipients"], "open_database", partial(open_database, wait=0.2))
    with database.connection.transaction():
        result = recipients("add", "a@example.com")
    assert result.exit_code == 1
    assert result.stderr == "Error: the database is locked by another process (try again in a moment)\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_file_as_excel_saves_it_is_imported(recipients: Command, database: Database, encoding: str) -> None:
    text = "First name;E-mail\r\nJürgen;juergen@example.com\r\nAnn;Ann Lee <ann@example.com>\r\n"
    result = recipients("import", "-", stdin=text.encode(encoding))
    assert result.exit_code == 0, result.output
    assert set(stored(database)) == {"juergen@example.com", "ann@example.com"}
