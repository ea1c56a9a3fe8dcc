"""`flask check` with a real crontab and a real Redis."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from database import Database
from monitoring import delivery_health, sending
from monitoring.finding import Finding
from schedulers.cron import install
from sender.shutdown import StopRequest
from settings import Settings, SettingsError, load_settings
from tests.support import new_database
from tests.support.project_copy import copy_project, makecron

if TYPE_CHECKING:
    from tests.support.servers.cron_daemon import Crontab
    from tests.support.servers.redis_server import RedisInstallation, RedisServer


def found(settings: Settings, subject: str) -> list[Finding]:
    return [each for each in sending.check_sending(settings) if each.subject == subject]


def cron_job(settings: Settings) -> Finding:
    (finding,) = found(settings, "cron")
    return finding


def test_the_cron_job_is_looked_at(own_crontab: Crontab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({}, copy_project(tmp_path / "here"))
    new_database.create(settings, datetime.now(UTC))
    assert cron_job(settings).level == "ok"  # a sweep has just run
    new_database.create(settings._replace(database_path=tmp_path / "old.db"), datetime.fromtimestamp(0, UTC))
    old = settings._replace(database_path=tmp_path / "old.db")
    assert (cron_job(old).level, cron_job(old).remedy) == ("warning", delivery_health.START_SENDER["cron"])
    assert makecron(tmp_path / "here").returncode == 0
    monkeypatch.setattr(install, "daemon_is_running", lambda: True)
    assert (
        cron_job(settings).text
        == f"the cron job runs {tmp_path}/here/.venv/bin/python {tmp_path}/here/task.py --ahead 60 (* * * * *)"
    )
    monkeypatch.setattr(install, "daemon_is_running", lambda: False)
    assert [cron_job(each).level for each in (settings, old)] == ["warning", "error"]
    assert cron_job(old).remedy == "start it: service cron start"
    elsewhere = cron_job(settings._replace(folder=tmp_path))
    assert (elsewhere.level, elsewhere.remedy) == ("warning", "run ./makecron.sh to move it here")


def test_without_a_crontab_command_the_others_are_named(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert cron_job(settings).level == "ok"
    database.record_heartbeat(0)
    finding = cron_job(settings)
    assert finding.level == "warning"
    assert finding.text.startswith("There is no crontab command")


def test_the_parts_that_live_with_redis_are_looked_for(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    texts = [(each.level, each.text) for each in found(installation.settings, "redis")]
    assert texts == [
        ("ok", f"{redis_server.place}: 0 wake-ups scheduled, 0 queued"),
        ("error", "no RQ worker is running for the queue email-endpoint"),
        ("error", "rqscheduler is not running"),
    ]
    with installation.queue():
        for _ in range(100):
            if [each.level for each in found(installation.settings, "redis")] == ["ok"]:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(found(installation.settings, "redis"))
        for _ in range(20):  # and not just sometimes
            assert [each.level for each in found(installation.settings, "redis")] == ["ok"]


def test_a_redis_that_is_away_is_an_error_without_its_password(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    redis_server.kill()
    (finding,) = found(installation.settings, "redis")
    assert finding.level == "error"
    assert redis_server.place in finding.text
    assert "hunter2" not in str(finding)


def test_rq_is_refused_on_windows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SettingsError) as refused:
        load_settings({"SCHEDULER": "rq-scheduler"}, tmp_path)
    assert refused.value.errors == [
        "SCHEDULER='rq-scheduler': rq-scheduler does not run on Windows; allowed there: cron"
    ]
    assert load_settings({"SCHEDULER": "cron"}, tmp_path).scheduler == "cron"


def test_ctrl_break_stops_a_sweep_as_sigterm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another signal stands in for SIGBREAK, which only Windows has."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        stop = StopRequest()
        stop.install()
        signal.raise_signal(signal.SIGUSR1)
        assert stop.requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
