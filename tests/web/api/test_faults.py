"""The API while its database is locked, full, read-only, replaced or down: 503, no partial writes, and recovery."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from intake.recipients_csv.format import encode_rows
from settings import Settings, load_settings
from tests.support import new_database
from tests.support.servers.web_server import Answer, Server, serve
from tests.support.web.api_client import EMAIL, PROBLEM, Api, is_problem

JSON = {"Content-Type": "application/json"}
READS = ["/emails", "/emails/1", "/emails/1/deliveries", "/emails/1/deliveries/1", "/recipients", "/recipients/1"]
READS += ["/recipients?format=csv", "/emails/1/deliveries?format=csv", "/recipients/1/deliveries"]
ROWS = [EMAIL | {"event_id": number} for number in range(100, 200)]
WRITES: list[tuple[str, str, object]] = [
    ("PUT", "/emails/2", EMAIL),
    ("PUT", "/emails/1", EMAIL | {"content": "other"}),
    ("POST", "/emails", ROWS),
    ("POST", "/emails/1/cancel", None),
    ("POST", "/recipients", {"addresses": ["new@example.com"]}),
    ("DELETE", "/recipients/1", None),
]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Api]:
    """Return an API on SQLite, with email 1 and recipient 1."""
    made = Api(tmp_path)
    made.installation.add_recipients(1)
    made("PUT", "/emails/1", EMAIL)
    yield made
    made.close()


def is_unavailable(answer: Any, word: str, seconds: str = "60") -> bool:
    return is_problem(answer, 503, word) and answer.headers["Retry-After"] == seconds


def contents(api: Api) -> list[Any]:
    return [api.get("/emails?limit=1000"), api.get("/emails/1"), api.get("/recipients")]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_full_database_takes_nothing_and_goes_on_once_there_is_room(
    sqlite: Api, method: str, path: str, body: object
) -> None:
    before = contents(sqlite)
    sqlite.databases.current().connection.fetch_all(
        "PRAGMA max_page_count = 1"
    )  # for SQLite, this means: not one page more
    large = [EMAIL | {"event_id": number, "content": "x" * 50_000} for number in range(100)]
    for rows in (large, [EMAIL | {"event_id": -1, "content": "x" * 1_000_000}]):
        assert is_unavailable(sqlite("POST", "/emails", rows), "the disk is full")
        assert contents(sqlite) == before
        sqlite.databases.current().connection.fetch_all("PRAGMA max_page_count = 1")
    sqlite.close()  # as after the error of a write
    assert sqlite(method, path, body).status_code in (200, 201, 204)


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_database_that_cannot_be_written_is_read_still(sqlite: Api, method: str, path: str, body: object) -> None:
    before = contents(sqlite)
    sqlite.databases.current().connection.fetch_all("PRAGMA query_only = 1")
    assert contents(sqlite) == before
    assert is_unavailable(sqlite(method, path, body), "cannot write to the database")
    assert contents(sqlite) == before  # by a new connection
    assert sqlite(method, path, body).status_code in (200, 201, 204)


@pytest.mark.parametrize("path", READS)
def test_nothing_is_read_from_a_file_that_was_deleted(sqlite: Api, path: str) -> None:
    assert sqlite("GET", path).status_code in (200, 404)
    folder = sqlite.installation.folder
    for file in folder.glob("email.db*"):
        file.unlink()
    assert is_unavailable(sqlite("GET", path), "flask init-db")
    new_database.create(sqlite.installation.settings, datetime.now(UTC))
    assert sqlite("GET", path).status_code in (200, 404)
    assert sqlite.get("/emails")["emails"] == []


def test_a_file_that_was_put_in_its_place_is_the_database_from_then_on(sqlite: Api, tmp_path: Path) -> None:
    other = Api(_folder(tmp_path / "other"))
    other("PUT", "/emails/5", EMAIL)
    other.close()
    for file in tmp_path.glob("email.db*"):
        file.unlink()
    for file in (tmp_path / "other").glob("email.db*"):
        shutil.move(file, tmp_path / file.name)
    assert [email["event_id"] for email in sqlite.get("/emails")["emails"]] == [5]
    assert sqlite("PUT", "/emails/6", EMAIL).status_code == 201


@pytest.mark.parametrize(("version", "remedy"), [(0, "flask init-db"), (99, "newer program")])
def test_tables_of_another_version_are_left_alone(tmp_path: Path, version: int, remedy: str) -> None:
    api = Api(tmp_path)
    with api.installation.database() as database:
        database.connection.execute(
            "UPDATE meta SET value = :version WHERE name = 'schema_version'", version=str(version)
        )
    assert is_unavailable(api("GET", "/emails"), remedy)
    assert is_unavailable(api("PUT", "/emails/1", EMAIL), remedy)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def send(server: Server, method: str, path: str, body: object = None) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    return server.request(method, f"/api{path}", data, JSON if data else {})


def initialised(folder: Path) -> Settings:
    settings = load_settings({}, folder)
    new_database.create(settings, datetime.now(UTC))
    return settings


def test_while_the_database_is_locked_it_is_read_and_nothing_is_written(tmp_path: Path, free_port: int) -> None:
    initialised(tmp_path)
    with serve(tmp_path, free_port) as server:
        assert send(server, "PUT", "/emails/1", EMAIL).status == 201
        with sqlite3.connect(tmp_path / "email.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            start = time.monotonic()
            locked = send(server, "POST", "/emails", ROWS)
            assert 4 < time.monotonic() - start < 10
            assert (locked.status, locked.headers["retry-after"]) == (503, "5") and "locked" in locked.body
            assert locked.headers["content-type"] == PROBLEM
            assert len(json.loads(send(server, "GET", "/emails").body)["emails"]) == 1
            other.execute("ROLLBACK")
        other.close()
        assert json.loads(send(server, "POST", "/emails", ROWS).body)["saved"] == 100


@pytest.mark.parametrize("path", ["/recipients", "/emails/1/deliveries"])
def test_a_csv_that_cannot_be_written_to_its_end_is_not_begun(
    sqlite: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A server ends an incomplete response as if it were complete."""
    sqlite.installation.add_recipients(5)
    sqlite.installation.save_email(2)
    sqlite.sweep()
    rows = encode_rows

    def then_gone(*arguments: Any) -> bytes:
        for file in sqlite.installation.folder.glob("email.db*"):
            file.unlink()
        return rows(*arguments)

    monkeypatch.setattr("intake.recipients_csv.format.encode_rows", then_gone)
    for module in ("recipients_csv", "deliveries"):
        monkeypatch.setattr(f"web.api.{module}.MAX_PAGE_SIZE", 2)
    assert is_unavailable(sqlite("GET", path.replace("1", "2"), query_string={"format": "csv"}), "flask init-db")


def test_a_csv_that_finds_no_room_on_the_disk_is_answered_with_503(
    sqlite: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api.params.MAX_IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.tempdir", "/dev/full/none")
    assert is_unavailable(sqlite("GET", "/recipients?format=csv"), "cannot create a temporary file")


def test_a_csv_comes_whole_over_http_at_any_size(tmp_path: Path, free_port: int) -> None:
    initialised(tmp_path)
    with sqlite3.connect(tmp_path / "email.db") as database:
        rows = ((number, f"r{number}@example.com", f"r{number}@example.com") for number in range(1, 100_001))
        sql = "INSERT INTO recipients (recipient_id, address, address_key, created_at) VALUES (?, ?, ?, 0)"
        database.executemany(sql, rows)
    database.close()
    with serve(tmp_path, free_port) as server:
        answer = send(server, "GET", "/recipients?format=csv")
        head = send(server, "HEAD", "/recipients?format=csv")
    assert answer.body.count("@example.com") == 100_000
    assert answer.headers["content-length"] == head.headers["content-length"] == str(len(answer.body))
