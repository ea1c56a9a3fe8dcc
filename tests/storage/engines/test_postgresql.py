"""Failures of a database server: restarted, unreachable, read-only, out of connections, or a wrong password."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import storage.postgresql.connection
from database import (
    Address,
    DatabaseBusy,
    DatabaseUnavailable,
    DBError,
    Delivery,
    DeliveryUpdate,
    Email,
    db_init,
    open_database,
)
from settings import load_settings
from storage.deliveries.claim import INSERT_CLAIMED
from storage.postgresql.connection import PostgreSQLConnection
from storage.postgresql.parameters import connection_parameters
from storage.schema.version import VERSION
from tests.support.faults.cutting_proxy import CuttingProxy
from tests.support.faults.killer import wait_until
from tests.support.installation import PROJECT, Installation, subjects
from tests.support.invariants import Mailing
from tests.support.servers.postgresql_server import PASSWORD, PostgreSQLServer
from tests.support.servers.smtp_server import Action, Call, ScriptedServer, Wait
from tests.support.warm_python import start

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
WAITING = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND state = 'idle' AND state_change < clock_timestamp() - INTERVAL '0.2 seconds'
"""


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


def in_content(number: int, act: Callable[[], object]) -> Callable[[bytes, int], Action]:
    return lambda content, n: (Call(act), "250 ok") if n == number else "250 ok"


@pytest.mark.parametrize("number", [0, 1, 25, 49])
def test_a_sweep_goes_on_after_the_server_crashed(
    postgresql: PostgreSQLServer, url: str, number: int, tmp_path: Path
) -> None:
    with ScriptedServer(on={"CONTENT": in_content(number, postgresql.restart)}) as server:
        mailing = Mailing(tmp_path, server, 50, DATABASE_URL=url, SMTP_CONNECTIONS="2")
        swept = mailing.task()
        assert (swept.returncode, swept.stderr) == (0, "")
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 50}, 0)


def test_connections_that_are_terminated_all_the_time_lose_and_double_nothing(url: str, tmp_path: Path) -> None:
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.003), "250 ok")}) as server:
        mailing = Mailing(
            tmp_path, server, 200, DATABASE_URL=url, SMTP_CONNECTIONS="2", SMTP_MESSAGES_PER_CONNECTION="10"
        )
        sender = mailing.start_task()
        wait_until(lambda: bool(server.accepted))  # if one dies before it has started, the next sweep takes over
        with psycopg.connect(url, autocommit=True) as killer:
            kills = 0
            while sender.poll() is None:
                kills += len(killer.execute(TERMINATE).fetchall())
                time.sleep(0.15)
        assert sender.communicate() == ("", "")
        mailing.finish()
        found = mailing.check(most_in_doubt=0)
    assert kills > 3
    assert (found.statuses, found.doubled) == ({"sent": 200}, 0)


def test_an_answer_to_commit_that_is_lost_changes_nothing(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    """For each commit of a sweep in turn: register, start, claim, record, unregister."""
    number, reached = 1, True
    while reached:
        reached = _survives_a_lost_answer(postgresql, tmp_path / f"{number}", number)
        number += 1
    assert number > 8


def _survives_a_lost_answer(postgresql: PostgreSQLServer, folder: Path, number: int) -> bool:
    folder.mkdir()
    direct = postgresql.new_database()
    with ScriptedServer() as server, CuttingProxy(postgresql.port, number) as proxy:
        mailing = Mailing(folder, server, 4, DATABASE_URL=direct, SMTP_CONNECTIONS="1")
        mailing.environment["DATABASE_URL"] = direct.replace(f":{postgresql.port}/", f":{proxy.port}/")
        mailing.task()
        mailing.environment["DATABASE_URL"] = direct
        with mailing.database() as database:  # a slot without a sender is free again once its lease has expired
            database.connection.execute("UPDATE senders SET lease_until = 0")
        mailing.finish()
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 4}, 0), number
    return proxy.commits >= number


def test_a_database_that_cannot_store_every_text_is_refused_with_the_remedy(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = url.rpartition("/")[0] + "/latin"
    with pytest.raises(DatabaseUnavailable, match="--encoding UTF8"):
        db_init(load_settings({"DATABASE_URL": latin}, tmp_path), NOW)


def test_a_wrong_password_is_one_clear_line_without_it(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    installation = Installation(tmp_path, DATABASE_URL=postgresql.new_database())
    installation.environment["DATABASE_URL"] = postgresql.url("test1", password="never-shown")
    swept = installation.task()
    assert swept.returncode == 1
    (line,) = swept.stderr.splitlines()
    assert "password authentication failed" in line
    assert "check the user name and password in DATABASE_URL" in line
    assert "never-shown" not in line


def test_a_server_that_is_away_is_one_clear_line(free_port: int, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port}/name"}, tmp_path)
    with pytest.raises(DatabaseUnavailable, match="check the server") as caught:
        open_database(settings)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_database_that_cannot_be_written_is_named_and_nothing_is_sent(url: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path, DATABASE_URL=url)
    installation.add_recipients(1)
    installation.save_email(1)
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    swept = installation.task()
    assert swept.returncode == 1
    assert "read-only transaction" in swept.stderr
    assert installation.messages() == []


def test_a_role_that_may_not_create_temporary_tables_is_told_the_grant_that_it_needs(
    url: str, tmp_path: Path, postgresql: PostgreSQLServer
) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    name = url.rpartition("/")[2]
    postgresql.run(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    postgresql.run(f"CREATE ROLE limited_{name} LOGIN PASSWORD '{PASSWORD}'")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO limited_{name}".encode())
    limited = load_settings({"DATABASE_URL": url.replace("//postgres:", f"//limited_{name}:")}, tmp_path)
    with open_database(limited) as database, pytest.raises(DatabaseUnavailable) as caught:
        database.recipients.add([Address("a@example.com", "a@example.com")], NOW)
    assert f'GRANT TEMPORARY ON DATABASE "{name}" TO the user of DATABASE_URL' in caught.value.remedy


def test_a_statement_that_the_server_refuses_is_not_blamed_on_a_server_that_is_away(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database, pytest.raises(DatabaseUnavailable) as caught:
        database.connection.execute("INSERT INTO meta (name, value) VALUES ('schema_version', '2')")
    assert caught.value.remedy == "report this as a bug"


def test_deliveries_are_made_without_a_look_at_recipients_that_are_not_their_turn(url: str, tmp_path: Path) -> None:
    """The plan must be right without statistics, because a new table has none."""
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database:
        database.recipients.add((Address(name, name) for name in map("{}@example.com".format, range(5000))), NOW)
        values = {"event_id": 1, "sender_id": 1, "now": 0, "after": 4000, "last": 5000, "limit": 100}
        explained = database.connection.fetch_all(f"EXPLAIN ANALYZE {INSERT_CLAIMED}", **values)
    plan = "\n".join(line for (line,) in explained)
    assert "Sort" not in plan
    assert re.search(r"Index Scan using recipients_pkey.*actual time=\S+ rows=100 ", plan), plan


@pytest.mark.parametrize(
    "reply", ['250 "quoted"', "250 back\\slash \\", "250 {1,2}", "NULL", "", "250 é, 漢字 %s :name ?"]
)
def test_a_servers_reply_is_kept_as_it_is(reply: str, url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database:
        database.recipients.add([Address("a@example.com", "a@example.com")], NOW)
        database.emails.save(Email(1, "s", "c", NOW), NOW)
        database.progress.start_due_emails(int(NOW.timestamp()))
        sender_id = database.senders.register(1, 0, settle_abandoned_never)
        assert sender_id is not None
        ((_, recipient_id, _),) = database.claims.claim(sender_id, 0, int(time.time()), 1)
        database.deliveries.record(sender_id, [], [], [(1, recipient_id, sender_id)])
        database.deliveries.record(sender_id, [(1, recipient_id, sender_id, reply, 1)], [], [])
        assert database.connection.fetch_all("SELECT status, reply FROM deliveries") == [("sent", reply)]


def shown(url: str, folder: Path, *names: str) -> list[object]:
    """Return the value of settings of a session with this DATABASE_URL."""
    with closing(PostgreSQLConnection(load_settings({"DATABASE_URL": url}, folder).database_url, folder)) as connection:
        return [connection.fetch_all(f"SHOW {name}")[0][0] for name in names]


def test_a_server_is_found_by_its_socket_and_among_several_hosts(
    url: str, postgresql: PostgreSQLServer, tmp_path: Path, free_port: int
) -> None:
    name = url.rpartition("/")[2]
    folder = shown(url, tmp_path, "unix_socket_directories")[0]
    encoded = str(folder).replace("/", "%2F")
    for same in (
        f"postgres://postgres:{PASSWORD}@/{name}?host={folder}&port={postgresql.port}",
        f"postgresql://postgres:{PASSWORD}@{encoded}:{postgresql.port}?dbname={name}",
        f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port},127.0.0.1:{postgresql.port}/{name}",
    ):
        assert shown(same, tmp_path, "data_directory") == shown(url, tmp_path, "data_directory")


def test_what_the_url_says_of_the_session_goes_before_the_programs_own(url: str, tmp_path: Path) -> None:
    names = ("search_path", "statement_timeout", "application_name", "lock_timeout", "client_encoding")
    assert shown(url, tmp_path, *names) == ['"$user", public', "10min", "email-endpoint", "5s", "UTF8"]
    options = "-c%20search_path=mail%20-cstatement_timeout%3d7s"
    more = f"?options={options}&application_name=a/b@c&keepalives_idle=77&connect_timeout=9&client_encoding=LATIN1"
    assert shown(url + more, tmp_path, *names) == ["mail", "7s", "a/b@c", "5s", "UTF8"]
    parameters = connection_parameters(url + "?keepalives_idle=77&connect_timeout=9", "")
    assert not {"keepalives_idle", "connect_timeout"} & set(parameters) and parameters["tcp_user_timeout"] == 20_000


def test_a_service_file_names_the_server_and_sets_the_session(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").write_text(
        "[mail]\n"
        + "\n".join(f"{name}={value}" for name, value in conninfo_to_dict(url).items())
        + "\noptions=-c search_path=mail\nconnect_timeout=9\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    names = ("search_path", "statement_timeout", "data_directory")
    directory = shown(url, tmp_path, "data_directory")[0]
    assert shown("postgresql://?service=mail", tmp_path, *names) == ["mail", "10min", directory]
    assert "connect_timeout" not in connection_parameters("postgresql:///?service=mail", "")
    assert "PGSERVICE" not in os.environ


def test_a_parameter_that_libpq_does_not_know_is_one_clear_line(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url + "?sslmod=require"}, tmp_path)
    with pytest.raises(DatabaseUnavailable, match='"sslmod"') as caught:
        open_database(settings)
    assert PASSWORD not in str(caught.value)


def test_sums_are_64_bit_integers(url: str, tmp_path: Path) -> None:
    """psycopg hands over 20000 as a SMALLINT: the import of 40,000 addresses overflowed."""
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database:
        assert database.connection.fetch_one("SELECT :a + :b", a=20_000, b=20_000) == (40_000,)


def test_a_stream_may_be_read_for_longer_than_a_transaction_may_be_idle(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large copy is compared for longer than that while the original waits in its transaction."""
    monkeypatch.setitem(storage.postgresql.connection.TIMEOUTS, "idle_in_transaction_session_timeout", 0.3)
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database, database.connection.transaction():
        rows = list(database.connection.stream("SELECT name FROM meta"))
        time.sleep(0.8)
        assert database.connection.fetch_one("SELECT COUNT(*) FROM meta") == (len(rows),)


def test_a_connection_that_died_while_idle_costs_no_error(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    now = datetime.now(UTC).replace(microsecond=0)
    with open_database(settings) as database, psycopg.connect(url, autocommit=True) as killer:
        killer.execute(TERMINATE)
        database.emails.save(Email(1, "s", "c", now), now)
        killer.execute(TERMINATE)
        assert database.emails.get(1) is not None


def test_two_processes_that_create_the_tables_at_once_create_them_once(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "email_app", "init-db"]
    both = [
        subprocess.Popen(
            command, cwd=PROJECT, env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=60)[0].rpartition(": ")[2].strip() for process in both)
    assert said == [f"created the tables (schema version {VERSION})", "up to date"]


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["a deadlock", "a serialization failure"])
def test_a_deadlock_or_a_serialization_failure_is_reported_as_a_busy_database(
    code: str, url: str, tmp_path: Path
) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'; END $$"
    connection = storage.postgresql.connection.PostgreSQLConnection(url, tmp_path)
    with pytest.raises(DatabaseBusy, match="try again"):
        connection.executescript(statement)
    with pytest.raises(DatabaseBusy, match="try again"), connection.transaction():
        connection.executescript(statement)
    connection.close()


def test_a_lock_timeout_is_reported_as_a_busy_database(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    with open_database(settings, wait=0.1) as one, open_database(settings, wait=0.1) as two:
        with one.connection.transaction():
            one.record_heartbeat(1)
            with pytest.raises(DatabaseBusy, match="try again"):
                two.record_heartbeat(2)
        two.record_heartbeat(2)
        assert one.last_heartbeat_at() == 2


@contextmanager
def watched(url: str, folder: Path, look: float) -> Iterator[Installation]:
    """An installation with one recipient and a watcher that polls every `look` seconds."""
    installation = Installation(folder, DATABASE_URL=url)
    installation.add_recipients(1)
    watch = (
        "import sys, task, sender.watch_loop\n"
        f"sender.watch_loop.POLL_SECONDS = {look}\n"
        "sys.exit(task.main(['--watch']))"
    )
    watcher = start((sys.executable, "-c", watch), installation.environment)
    wait_until(lambda: is_waiting(url))
    yield installation
    watcher.terminate()
    assert watcher.communicate(timeout=10)[0] == ""


def is_waiting(url: str) -> bool:
    """Return whether a client is connected that has been idle for a while."""
    with psycopg.connect(url) as connection:
        return connection.execute(WAITING).fetchone() is not None


def test_a_watcher_on_another_machine_is_notified_of_a_post_at_once(url: str, tmp_path: Path) -> None:
    with watched(url, tmp_path, look=20) as installation:
        for event_id in range(1, 4):
            wait_until(lambda: is_waiting(url))
            installation.save_email(event_id, subject=f"{event_id}")
            wait_until(lambda: len(installation.messages()) == event_id, seconds=10)  # noqa: B023


def test_a_watcher_finds_what_was_posted_while_its_connection_was_gone(
    url: str, tmp_path: Path, postgresql: PostgreSQLServer
) -> None:
    with watched(url, tmp_path, look=0.5) as installation:
        postgresql.stop()
        wait_until(lambda: installation.log() != [])
        postgresql.start()
        installation.save_email(1, subject="1")
        wait_until(lambda: len(installation.messages()) == 1)


def test_overlapping_sweeps_send_each_message_once(url: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path, DATABASE_URL=url, SENDERS="4")
    installation.add_recipients(150)
    for event_id in (1, 2):
        installation.save_email(event_id, subject=f"{event_id}")
    sweeps = [installation.start_task() for _ in range(12)]
    assert {sweep.communicate(timeout=120) for sweep in sweeps} == {("", "")}
    assert installation.delivered() == subjects([1, 2], 150)
    assert sorted(installation.log()) == ["1", "2"]


def test_four_senders_that_claim_at_once_share_the_daily_quota(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    installation = Installation(tmp_path, DATABASE_URL=url)
    installation.add_recipients(400)
    installation.save_email(1)
    now = int(time.time())
    claimed: list[int] = []

    def claim() -> None:
        with open_database(settings) as database:
            sender_id = database.senders.register(9, now, settle_abandoned_never)
            assert sender_id is not None
            together.wait()
            claimed.extend(len(database.claims.claim(sender_id, 0, now, 20, per_day=50)) for _ in range(3))
            together.wait()  # a sender that has gone loses its claims, and others may claim as many more

    together = threading.Barrier(4, timeout=30)
    with installation.database() as database:
        database.progress.start_due_emails(now)
    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claimed) == 50


def settle_abandoned_never(delivery: Delivery) -> DeliveryUpdate:
    raise AssertionError(f"{delivery} was never ended")


def test_fifty_posts_of_the_same_email_save_it_once(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    now = datetime.now(UTC).replace(microsecond=0)
    said: list[str] = []

    def post() -> None:
        try:
            with open_database(settings) as database:
                database.emails.save(Email(1, "s", "c", now), now)
            said.append("saved")
        except DBError as error:
            said.append("identical" if "identical" in str(error) else str(error))

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["identical"] * 49 + ["saved"]


def test_an_import_of_the_same_list_by_two_at_once_adds_each_address_once(url: str, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": url}, tmp_path)
    db_init(settings, datetime.now(UTC))
    addresses = [Address(f"p{n}@example.com", f"p{n}@example.com") for n in range(3000)]

    def add() -> None:
        with open_database(settings, wait=30) as database:
            database.recipients.add(addresses, datetime.now(UTC))

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_database(settings) as database:
        assert database.recipients.counts()["active"] == 3000
