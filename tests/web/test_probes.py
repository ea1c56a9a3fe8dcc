"""/healthz, /readyz and /metrics: access, and what they report during problems."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from database import Database
from email_app import create_app
from monitoring.delivery_health import LATE_AFTER, OVERDUE_AFTER, STALLED_AFTER, heartbeat
from monitoring.probe import Probe
from settings import Settings
from settings.version import __version__
from tests.support.disk import fill
from tests.support.faults.killer import wait_until
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer, installed
from tests.support.servers.smtp_server import ScriptedServer
from web.services import services_of

TOKEN = "a-token-of-the-tests"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
MINUTE = 60


@pytest.fixture
def installation(tmp_path: Path, where: dict[str, str]) -> Installation:
    return Installation(tmp_path, API_TOKEN=TOKEN, **where)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Installation:
    return Installation(tmp_path, API_TOKEN=TOKEN)


def application(settings: Settings) -> Flask:
    """Return an application that runs its checks for each request, without a cache."""
    app = create_app(settings)
    services = services_of(app)
    for probe in (services.readiness, services.metrics):
        probe.ttl = 0
    return app


def client_of(installation: Installation) -> FlaskClient:
    return application(installation.settings).test_client()


def failed(answer: TestResponse) -> dict[str, str]:
    """Return the checks that failed, each with its remedy."""
    assert answer.json
    bad = {check["name"]: check["remedy"] for check in answer.json["checks"] if not check["ok"]}
    assert answer.status_code == (503 if bad else 200) and all(bad.values())
    return bad


def readiness(installation: Installation) -> dict[str, str]:
    return failed(client_of(installation).get("/readyz", headers=WITH_TOKEN))


def run(installation: Installation, sql: str, **values: object) -> None:
    with installation.database() as database, database.connection.transaction():
        database.connection.execute(sql, **values)


def sweep_was(installation: Installation, seconds: float) -> None:
    """Set the time of the last sweep to `seconds` ago."""
    then = int(time.time() - seconds)
    run(installation, "UPDATE counters SET value = :then WHERE name = 'last_sweep_at'", then=then)


class TestWhoSeesWhat:
    def test_the_process_answers_without_a_database_and_without_a_token(self, settings: Settings) -> None:
        answer = application(settings._replace(api_tokens=(TOKEN,))).test_client().get("/healthz")
        assert (answer.status_code, answer.json) == (200, {"status": "alive"})

    def test_a_stranger_learns_only_whether_it_is_ready(self, on_sqlite: Installation) -> None:
        client = client_of(on_sqlite)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json) == (200, {"status": "ready"})
        sweep_was(on_sqlite, 3600)
        answer = client.get("/readyz", headers={"Authorization": "Bearer wrong"})
        assert (answer.status_code, answer.json) == (503, {"status": "not ready"})

    def test_without_a_token_of_its_own_other_machines_are_strangers(self, on_sqlite: Installation) -> None:
        client = application(on_sqlite.settings._replace(api_tokens=())).test_client()
        answer = client.get("/readyz", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
        assert answer.json == {"status": "ready"}
        assert "checks" in client.get("/readyz").text

    def test_metrics_need_the_token(self, on_sqlite: Installation) -> None:
        client = client_of(on_sqlite)
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=WITH_TOKEN).status_code == 200

    def test_all_is_well_on_a_fresh_installation(self, installation: Installation) -> None:
        answer = client_of(installation).get("/readyz", headers=WITH_TOKEN)
        assert failed(answer) == {}
        assert answer.json
        assert [check["name"] for check in answer.json["checks"]] == [
            *("database", "schema", "sender", "overdue", "stalled")
        ]


class TestSweeps:
    def test_a_sender_that_did_not_run_for_15_minutes_is_not_ready(self, installation: Installation) -> None:
        sweep_was(installation, 15 * MINUTE)
        assert "makecron.sh" in readiness(installation)["sender"]
        assert installation.task().returncode == 0
        assert readiness(installation) == {}

    @pytest.mark.parametrize("scheduler", LATE_AFTER)
    def test_a_sender_that_is_not_running_is_noticed_after_90_seconds_with_cron(self, scheduler: str) -> None:
        late = LATE_AFTER[scheduler]
        second = timedelta(seconds=1)
        on_time = [heartbeat(age, scheduler).is_ok for age in (-60 * second, 0 * second, late, late + second)]
        assert on_time == [True, True, True, False]

    def test_a_clock_that_stepped_back_by_days_is_named(self) -> None:
        finding = heartbeat(timedelta(seconds=-(10**9)), "cron")
        assert finding.level == "error" and "--clock-is-right" in finding.remedy

    def test_a_sender_at_work_for_hours_is_a_heartbeat_too(self, installation: Installation) -> None:
        sweep_was(installation, 3600)
        run(installation, "INSERT INTO senders VALUES (9, 'c', 0, 1, 0, :now)", now=int(time.time()) - 15)
        assert readiness(installation) == {}

    def test_an_email_that_is_overdue_is_named(self, installation: Installation) -> None:
        client = client_of(installation)
        late = OVERDUE_AFTER.total_seconds()
        installation.save_email(1, due_in=-late + 30, saved_ago=3600)
        installation.save_email(2, due_in=-3600, saved_ago=late - 30)
        assert failed(client.get("/readyz", headers=WITH_TOKEN)) == {}
        installation.save_email(3, due_in=-late - 30, saved_ago=3600)
        assert list(failed(client.get("/readyz", headers=WITH_TOKEN))) == ["overdue"]

    def test_deliveries_that_a_server_refuses_to_take_stall(self, installation: Installation) -> None:
        installation.add_recipients(2)
        installation.save_email(1)
        with ScriptedServer(on={"EHLO": lambda line, n: "421 not now"}) as server:
            installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
            assert installation.task().returncode == 1
        assert list(readiness(installation)) == ["sender"]
        age(installation)
        long_ago = int(time.time() - STALLED_AFTER.total_seconds()) - 1
        run(installation, "UPDATE deliveries SET next_attempt_at = :long_ago", long_ago=long_ago)
        assert list(readiness(installation)) == ["sender", "stalled"]

    def test_what_waits_for_its_next_attempt_does_not(self, installation: Installation) -> None:
        installation.add_recipients(2)
        installation.save_email(1)
        with ScriptedServer(on={"RCPT": lambda line, n: "451 later"}) as server:
            installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
            assert installation.task().returncode == 1
        age(installation)
        assert readiness(installation) == {}


def age(installation: Installation) -> None:
    """Make the emails that are being sent look as if they had started long ago."""
    run(installation, "UPDATE progress SET started_at = started_at - :age", age=int(STALLED_AFTER.total_seconds()) + 1)


def test_only_one_look_is_under_way_however_many_ask(installation: Installation) -> None:
    looks: list[int] = []

    def look(database: Database) -> int:
        looks.append(database.last_heartbeat_at())
        time.sleep(0.2)
        return len(looks)

    probe = Probe(installation.settings, look)
    with ThreadPoolExecutor(20) as many:
        assert {answer.result() for answer in [many.submit(probe.answer) for _ in range(20)]} == {1}


class TestFaults:
    """Faults cause a 503 with the reason, in bounded time. Afterwards, no restart is needed."""

    @pytest.fixture
    def client(self, on_sqlite: Installation) -> FlaskClient:
        return client_of(on_sqlite)

    @staticmethod
    def reason(client: FlaskClient) -> str:
        """Return the reason why the service is not ready."""
        began = time.monotonic()
        answer = client.get("/readyz", headers=WITH_TOKEN)
        assert time.monotonic() - began < 8
        assert list(failed(answer)) == ["database"] and answer.json
        return str(answer.json["checks"][0]["found"])

    def test_locked(self, client: FlaskClient, on_sqlite: Installation) -> None:
        with on_sqlite.database() as other, other.connection.transaction():
            assert "locked" in self.reason(client)
            assert client.get("/metrics", headers=WITH_TOKEN).status_code == 200  # readers do not wait
        assert client.get("/readyz").status_code == 200

    def test_deleted(self, client: FlaskClient, on_sqlite: Installation) -> None:
        path = on_sqlite.settings.database_path
        assert path is not None and client.get("/readyz").status_code == 200
        kept = path.rename(path.with_name("kept"))
        assert "no database" in self.reason(client)
        answer = client.get("/metrics", headers=WITH_TOKEN)
        assert answer.status_code == 503 and "no database" in answer.text and "Retry-After" in answer.headers
        kept.rename(path)
        assert client.get("/readyz").status_code == client.get("/metrics", headers=WITH_TOKEN).status_code == 200

    def test_no_database_at_all(self, client: FlaskClient, on_sqlite: Installation) -> None:
        path = on_sqlite.settings.database_path
        assert path is not None
        content = path.read_bytes()
        path.write_bytes(b"not a database, not at all" * 1000)
        assert self.reason(client)
        assert client.get("/metrics", headers=WITH_TOKEN).status_code == 503
        path.write_bytes(content)
        assert client.get("/readyz").status_code == 200

    def test_full(self, small_disk: Path) -> None:
        client = client_of(Installation(small_disk, API_TOKEN=TOKEN))
        filler = fill(small_disk)
        assert re.search("the disk is full|disk error on the database", self.reason(client))
        filler.unlink()
        assert client.get("/readyz").status_code == 200

    def test_read_only(self, small_disk: Path) -> None:
        client = client_of(Installation(small_disk, API_TOKEN=TOKEN))
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        assert "cannot write to the database" in self.reason(client)
        assert client.get("/metrics", headers=WITH_TOKEN).status_code == 503
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        assert client.get("/readyz").status_code == client.get("/metrics", headers=WITH_TOKEN).status_code == 200

    def test_a_server_that_is_restarted(self, server: PostgreSQLServer, tmp_path: Path) -> None:
        client = client_of(Installation(tmp_path, API_TOKEN=TOKEN, DATABASE_URL=server.new_database()))
        assert client.get("/readyz").status_code == client.get("/metrics", headers=WITH_TOKEN).status_code == 200
        server.stop()
        assert "PostgreSQL" in self.reason(client)
        assert client.get("/metrics", headers=WITH_TOKEN).status_code == 503
        server.start()
        assert client.get("/readyz").status_code == client.get("/metrics", headers=WITH_TOKEN).status_code == 200

    def test_a_server_that_is_frozen(self, server: PostgreSQLServer, tmp_path: Path) -> None:
        client = client_of(Installation(tmp_path, API_TOKEN=TOKEN, DATABASE_URL=server.new_database()))
        assert client.get("/readyz").status_code == 200
        with frozen(tmp_path / "server"):
            assert "has not responded" in self.reason(client)
            began = time.monotonic()
            assert client.get("/readyz").status_code == 503
            assert time.monotonic() - began < 1  # the running check is not awaited again
        wait_until(lambda: client.get("/readyz").status_code == 200)

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[PostgreSQLServer]:
        """Return a PostgreSQL server for this test alone."""
        if not installed():
            pytest.skip("PostgreSQL is not installed")
        with TemporaryDirectory() as folder:
            (tmp_path / "server").symlink_to(folder)
            server = PostgreSQLServer(Path(folder), unused_port())
            server.start()
            yield server
            server.stop()

    def test_tables_of_another_version(self, installation: Installation) -> None:
        client = client_of(installation)
        assert client.get("/readyz").status_code == 200
        run(installation, "UPDATE meta SET value = '0' WHERE name = 'schema_version'")
        answer = client.get("/readyz", headers=WITH_TOKEN)
        assert failed(answer) == {"schema": "run: flask init-db"}


@contextmanager
def frozen(server: Path) -> Iterator[None]:
    """Freeze all processes of the PostgreSQL server in this folder."""
    parent = int((server / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    processes = [parent, *map(int, children)]
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def families(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples by name and label values."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def metrics(installation: Installation) -> dict[str, dict[tuple[str, ...], float]]:
    answer = client_of(installation).get("/metrics", headers=WITH_TOKEN)
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain; version=0.0.4")
    return {name.removeprefix("email_endpoint_"): samples for name, samples in families(answer.text).items()}


class TestMetrics:
    def test_of_a_fresh_installation_are_zero_but_there(
        self, installation: Installation, where: dict[str, str]
    ) -> None:
        found = metrics(installation)
        assert found["deliveries_total"] == {(o,): 0 for o in ("sent", "deferred", "failed", "in_doubt")}
        assert found["lateness_seconds_count"] == found["sweep_seconds_count"] == found["overdue_emails"] == {(): 0}
        assert found["database_bytes"][()] > 50_000
        kind = "postgresql" if "DATABASE_URL" in where else "sqlite"
        assert found["build_info"] == {(kind, __version__): 1}

    def test_count_what_was_sent_and_how_late(self, installation: Installation) -> None:
        installation.add_recipients(3)
        installation.save_email(1)
        run(installation, "UPDATE emails SET due_at = due_at - 100, created_at = created_at - 50")
        assert installation.task().returncode == 0
        found = metrics(installation)
        assert found["emails"][("sent",)] == 1 and found["recipients"][("active",)] == 3
        assert found["deliveries_total"][("sent",)] == found["lateness_seconds_count"][()] == 3
        buckets = found["lateness_seconds_bucket"]
        assert [buckets[bound,] for bound in ("1.0", "15.0", "60.0", "+Inf")] == [0, 0, 3, 3]
        assert 3 * 50 <= found["lateness_seconds_sum"][()] <= 3 * 60
        assert found["sweep_seconds_count"] == {(): 1} and 0 < found["sweep_seconds_sum"][()] < 60

    def test_count_deferrals_by_the_code_of_the_reply(self, installation: Installation) -> None:
        replies = ["451 4.7.1 greylisted", "450 busy", "451 later", "250 ok"]
        installation.add_recipients(4)
        installation.save_email(1)
        with ScriptedServer(on={"RCPT": lambda line, n: replies[(n - 1) % 4]}) as server:
            installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
            installation.task()
        found = metrics(installation)
        assert found["deferrals_total"] == {("450",): 1, ("451",): 2}
        assert found["deliveries_total"][("deferred",)] == 3

    def test_name_what_is_overdue(self, installation: Installation) -> None:
        installation.save_email(1, due_in=-1000, saved_ago=2000)
        installation.save_email(2, due_in=-500, saved_ago=2000)
        found = metrics(installation)
        assert found["overdue_emails"] == {(): 2} and 1000 <= found["overdue_oldest_seconds"][()] < 1010
