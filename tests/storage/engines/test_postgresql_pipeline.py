"""Transactions that the server runs on its own: all or nothing. One whose client has gone blocks no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.connection import Statement
from storage.errors import DatabaseUnavailable
from storage.postgresql.connection import PostgreSQLConnection
from storage.postgresql.sql import MANY_ROWS
from tests.support.faults.killer import wait_until
from tests.support.faults.network_namespace import POSSIBLE, SecondHost
from tests.support.servers.postgresql_server import PostgreSQLServer, server_for_other_hosts
from tests.support.warm_python import is_readable

CHANGE = "UPDATE things SET said = ? WHERE number = ?"
CHANGE_MANY = """
UPDATE things SET said = given.said FROM unnest(%s::text[], %s::bigint[]) AS given (said, number)
WHERE things.number = given.number
"""
COUNT = "UPDATE totals SET changed = changed + :more, by = :by"
CLEAR_SNAPSHOT = "SELECT pg_stat_clear_snapshot()"  # otherwise a transaction would see the same activity until it ends
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%things%'
"""
# The final Sync is never sent. The server notices within 2 seconds instead of 20.
HALF = """
import sys, time
from pathlib import Path
from storage.postgresql.connection import SERVER_KEEPALIVES, PostgreSQLConnection
SERVER_KEEPALIVES.update(
    tcp_keepalives_idle=1, tcp_keepalives_interval=1, tcp_keepalives_count=1, tcp_user_timeout=2000
)
connection = PostgreSQLConnection(sys.argv[1], Path(sys.argv[2]))._connection.pgconn
connection.enter_pipeline_mode()
connection.send_query_params(b"UPDATE things SET said = 'half' WHERE number = 1", [])
connection.send_flush_request()
connection.flush()
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _change_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MANY_ROWS, CHANGE, CHANGE_MANY)


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> str:
    return with_things(postgresql.new_database())


@pytest.fixture
def connection(url: str, tmp_path: Path) -> Iterator[PostgreSQLConnection]:
    connection = PostgreSQLConnection(url, tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def other(url: str, tmp_path: Path) -> Iterator[PostgreSQLConnection]:
    connection = PostgreSQLConnection(url, tmp_path, wait=0.2)
    yield connection
    connection.close()


def with_things(url: str) -> str:
    connection = PostgreSQLConnection(url, Path())
    with connection.transaction():
        connection.executescript(
            "CREATE TABLE things (number BIGINT PRIMARY KEY, said TEXT); INSERT INTO things VALUES (1), (2), (3);"
            "CREATE TABLE totals (changed BIGINT, by TEXT); INSERT INTO totals VALUES (0, NULL)"
        )
    connection.close()
    return url


def changing(*rows: tuple[str, int], by: str | None = None) -> list[Statement]:
    return [(CHANGE, rows), (COUNT, {"more": len(rows), "by": by})]


def things(connection: PostgreSQLConnection) -> dict[int, str | None]:
    return dict(connection.fetch_all("SELECT number, said FROM things"))


def test_all_of_it_is_committed_once_it_is_done(connection: PostgreSQLConnection, other: PostgreSQLConnection) -> None:
    pending = connection.submit_transaction(changing(('a "quoted" \\ word', 1), ("ü", 3)))
    assert pending.wait()
    assert things(other) == {1: 'a "quoted" \\ word', 2: None, 3: "ü"}
    assert other.fetch_all("SELECT changed, by FROM totals") == [(2, None)]


def test_its_descriptor_becomes_readable_at_the_end(
    connection: PostgreSQLConnection, other: PostgreSQLConnection
) -> None:
    with other.transaction():
        other.execute("UPDATE things SET said = 'first' WHERE number = 1")
        pending = connection.submit_transaction(changing(("second", 1)))
        assert not is_readable(pending.descriptor, 0.3)
    assert is_readable(pending.descriptor, 5)
    assert pending.wait()
    assert things(other)[1] == "second"


def test_fewer_rows_than_were_named_undo_all_of_it(connection: PostgreSQLConnection) -> None:
    assert not connection.submit_transaction(changing(("one", 1), ("nobody", 9))).wait()
    assert things(connection) == {1: None, 2: None, 3: None}
    assert connection.fetch_all("SELECT changed FROM totals") == [(0,)]


def test_a_statement_that_fails_undoes_all_of_it(connection: PostgreSQLConnection) -> None:
    fails: Statement = ("UPDATE totals SET changed = :none", {"none": "no number"})
    assert not connection.submit_transaction([*changing(("one", 1)), fails]).wait()
    assert things(connection)[1] is None
    assert connection.submit_transaction(changing(("one", 1))).wait()


def test_asking_it_twice_gives_the_same_answer(connection: PostgreSQLConnection) -> None:
    pending = connection.submit_transaction(changing(("one", 1)))
    assert pending.wait()
    assert pending.wait()


def test_whoever_uses_the_connection_first_waits_for_its_end(connection: PostgreSQLConnection) -> None:
    pending = connection.submit_transaction(changing(("one", 1)))
    assert things(connection)[1] == "one"
    assert pending.wait()


def test_many_in_a_row_and_other_statements_between(connection: PostgreSQLConnection) -> None:
    for number in range(30):
        assert connection.submit_transaction(changing((f"{number}", 1), by=f"{number}")).wait()
        assert things(connection)[1] == f"{number}"
    assert connection.fetch_all("SELECT changed, by FROM totals") == [(30, "29")]


def test_values_larger_than_any_buffer_go_through(connection: PostgreSQLConnection) -> None:
    large = "x" * 20_000_000
    assert connection.submit_transaction(changing((large, 1), (large, 2))).wait()
    assert things(connection)[2] == large


def test_a_connection_that_is_cut_says_that_it_is_not_done_and_is_made_again(
    connection: PostgreSQLConnection, other: PostgreSQLConnection
) -> None:
    with other.transaction():
        other.execute("UPDATE things SET said = 'first' WHERE number = 1")
        pending = connection.submit_transaction(changing(("second", 1)))
        wait_until(lambda: other.fetch_all(CLEAR_SNAPSHOT) != [] and other.fetch_all(TERMINATE) != [])
        assert not pending.wait()
    assert things(connection)[1] == "first"
    assert connection.submit_transaction(changing(("third", 1))).wait()


def test_a_lost_connection_cannot_begin(connection: PostgreSQLConnection) -> None:
    connection.close()
    with pytest.raises(DatabaseUnavailable):
        connection.submit_transaction(changing(("one", 1)))
    assert things(connection)[1] is None


@pytest.mark.skipif(not POSSIBLE, reason="only root can make network namespaces")
def test_half_a_transaction_keeps_no_locks_once_its_host_is_gone(tmp_path: Path) -> None:
    with server_for_other_hosts() as server, SecondHost() as host:
        url = with_things(server.new_database())
        near = PostgreSQLConnection(url, tmp_path, wait=60)
        command = host.command(sys.executable, "-c", HALF, url.replace("127.0.0.1", host.near(0)), str(tmp_path))
        far = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[3])
        wait_until(lambda: near.fetch_all("SELECT 1 FROM things WHERE number = 1 FOR UPDATE SKIP LOCKED") == [])
        host.cut(0)
        assert near.execute("UPDATE things SET said = 'whole' WHERE number = 1") == 1
        assert things(near)[1] == "whole"
        near.close()
        far.kill()
        far.wait()
