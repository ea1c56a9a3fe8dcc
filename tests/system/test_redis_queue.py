"""Sweeps started by Redis, with a real redis-server, `rq worker` and `rqscheduler`."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rq import Queue

from schedulers.errors import QueueUnavailable
from schedulers.redis_queue import JOB_FUNCTION, MAX_QUEUED_WAKE_UPS, QUEUE_NAME, WakeUps
from tests.support import warm_python
from tests.support.installation import PROJECT, subjects
from tests.support.servers.redis_server import SCHEDULED
from tests.support.servers.smtp_server import ScriptedServer, Wait
from tests.support.servers.web_server import serve
from tests.support.service import wait_until

if TYPE_CHECKING:
    from tests.support.servers.redis_server import RedisInstallation, RedisServer

PASSWORD = "hunter2"  # of the fixture's Redis
UTC_8 = timezone(timedelta(hours=8))
LATE_ON_A_BUSY_MACHINE = 5  # seconds; bench/wakeup_latency.py measures it on a quiet one
STOP_SOON = "import task; from sender import sweeper; sweeper.MAX_QUEUED_SWEEP_SECONDS = {}; task.run_due()"
WITHOUT_RQ = "import sys; sys.modules['rq_scheduler'] = None; "


def enqueue(redis: RedisServer, function: str = JOB_FUNCTION, **options: str) -> None:
    Queue(QUEUE_NAME, connection=redis.client).enqueue(function, result_ttl=0, **options)


def run_python(installation: RedisInstallation, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=PROJECT, env=installation.environment, capture_output=True, text=True)


def test_a_posted_email_is_sent_in_its_second_and_one_that_is_due_at_once(
    installation: RedisInstallation, tmp_path: Path, web_port: int
) -> None:
    installation.add_recipients(1)
    environment = {name: installation.environment[name] for name in ("SCHEDULER", "REDIS_URL")}
    with installation.queue(), serve(tmp_path, web_port, **environment) as server:
        for event_id, due_in in enumerate((0, 2)):
            due = datetime.now(UTC_8).replace(microsecond=0) + timedelta(seconds=due_in)
            fields = {"event_id": event_id, "email_subject": "s", "email_content": "c", "timestamp": f"{due:%F %T}"}
            assert server.post(fields).body == "Successful"
            assert wait_until(lambda: len(installation.log()) == event_id + 1)  # noqa: B023 # run immediately
            late = max(file.stat().st_mtime for file in (tmp_path / "outbox" / "new").iterdir()) - due.timestamp()
            print(f"due in {due_in} s: {late:.2f} s after its due time")
            assert 0 <= late < LATE_ON_A_BUSY_MACHINE
        log = server.log.read_text()
    assert installation.log() == ["0", "1"]
    assert PASSWORD not in log


@pytest.mark.parametrize("job_ids", [["wake-1"] * 4, ["wake-1", "wake-2", "wake-3", "wake-4"]])
def test_the_same_wake_up_several_times_on_two_workers_sends_once(
    installation: RedisInstallation, redis_server: RedisServer, job_ids: list[str]
) -> None:
    installation.add_recipients(50)
    installation.save_email(1, subject="1")
    for job_id in job_ids:
        enqueue(redis_server, job_id=job_id)
    with installation.queue(), installation.start_worker():
        assert wait_until(lambda: installation.log() == ["1"])
        assert wait_until(lambda: redis_server.in_line() == 0)
    assert installation.delivered() == subjects([1], 50)


def test_a_wake_up_that_comes_too_early_sends_nothing_and_arms_the_next(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(1)
    due_at = installation.save_email(1, due_in=3600)
    enqueue(redis_server, job_id=f"wake-{due_at}")  # as if the clock of the scheduler's machine were ahead
    with installation.queue():
        assert wait_until(lambda: redis_server.armed() == [f"wake-{due_at + 1}"])
        assert installation.log() == []
        with installation.database() as database:  # an hour passes
            database.connection.execute("UPDATE emails SET due_at = due_at - 3600")
        redis_server.client.zadd(SCHEDULED, {f"wake-{due_at + 1}": due_at + 1 - 3600})
        assert wait_until(lambda: installation.log() == ["1"])


def test_a_pile_of_wake_ups_is_one(installation: RedisInstallation, redis_server: RedisServer) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    for _ in range(3 * MAX_QUEUED_WAKE_UPS):
        enqueue(redis_server)
    with installation.queue() as worker:
        assert wait_until(lambda: installation.log() == ["1"])
        assert wait_until(lambda: redis_server.in_line() == 0)
        assert wait_until(lambda: "Job OK" in worker.output)
        assert worker.output.count("Job OK") == 1


def test_jobs_of_another_version_fail_alone(installation: RedisInstallation, redis_server: RedisServer) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    enqueue(redis_server, "task.gone_since")
    enqueue(redis_server, job_id="garbage")
    redis_server.client.hset("rq:job:garbage", "data", b"\x80\x05no pickle")
    enqueue(redis_server)
    with installation.queue():
        assert wait_until(lambda: installation.log() == ["1"])
    assert installation.delivered() == subjects([1], 1)
    assert len(redis_server.failed()) == 2


def test_a_wake_up_that_stops_rqscheduler_is_removed_by_arming(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(1)
    due_at = installation.save_email(1, due_in=2)
    assert WakeUps(redis_server.url).arm([due_at]) == 1
    redis_server.client.hset(f"rq:job:wake-{due_at}", "data", b"no pickle")
    with installation.start_scheduler() as scheduler:
        assert wait_until(lambda: "DeserializationError" in scheduler.output)
    assert installation.arm().returncode == 0
    with installation.queue():
        assert wait_until(lambda: installation.log() == ["1"])
    assert not redis_server.client.exists(f"rq:job:wake-{due_at}")


def test_a_database_that_is_away_is_a_failed_job_and_looked_for_again(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    database = installation.folder / "email.db"
    database.rename(database.with_name("away"))
    enqueue(redis_server)
    with installation.queue():
        # At the start of a minute, the scheduled wake-up may be running already. It then schedules another one.
        assert wait_until(lambda: redis_server.failed() and redis_server.armed())
    said, *_ = redis_server.failed()
    assert said.startswith("storage.errors.DatabaseMissing: there is no database at ")


def test_bad_settings_are_a_failed_job(installation: RedisInstallation, redis_server: RedisServer) -> None:
    installation.environment["SENDERS"] = "many"
    enqueue(redis_server)
    with installation.queue():
        assert wait_until(redis_server.failed)
    assert "SENDERS" in redis_server.failed()[0]


def test_a_refused_login_is_a_failed_job_and_a_refused_recipient_is_none(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(2)
    installation.save_email(1)
    offers = ("PIPELINING", "AUTH PLAIN")
    no_login = {"AUTH": lambda line, n: "535 5.7.8 no"}
    no_mailbox = {"RCPT": lambda line, n: "550 5.1.1 no such user" if b"r1@" in line else None}
    for script in (no_login, no_mailbox):
        with ScriptedServer(offers=offers, on=script) as server:
            installation.environment["EMAIL_URL"] = f"smtp://user:{PASSWORD}@127.0.0.1:{server.port}"
            enqueue(redis_server)
            with installation.queue():
                assert wait_until(redis_server.failed)
                if script is no_login:
                    assert wait_until(redis_server.armed)  # tried again at the next full minute
                else:
                    assert wait_until(lambda: installation.statuses() == {"sent": 1, "failed": 1})
    said, *_ = redis_server.failed()
    assert "SweepRefused: cannot send now" in said


def test_a_worker_killed_in_a_sweep_loses_nothing_and_doubles_at_most_what_was_in_doubt(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(200)
    installation.save_email(1)
    killed = threading.Event()
    on = {"CONTENT": lambda line, n: (Wait(0 if n < 40 or killed.is_set() else 0.25), "250 2.0.0 Ok")}
    with ScriptedServer(on=on) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        enqueue(redis_server)
        with installation.queue() as worker:
            assert wait_until(lambda: len(server.accepted) > 40)
            worker.kill()
        killed.set()
        assert len(server.accepted) < 200
        assert redis_server.armed() or redis_server.in_line()  # there is a sweep at the next full minute
        assert installation.arm().stdout == "Scheduled 1 wake-up.\n"
        with installation.queue():
            assert wait_until(lambda: installation.statuses() == {"sent": 200})
            assert wait_until(lambda: installation.log()[-1:] == ["1"])
        times = Counter(server.recipients)
    assert len(times) == 200
    assert sum(times.values()) - 200 <= 4  # one for each connection


@pytest.mark.parametrize("way", ["flask wakeups arm", "the safety net"])
def test_a_redis_that_comes_back_empty_loses_no_email(
    installation: RedisInstallation, redis_server: RedisServer, way: str
) -> None:
    installation.add_recipients(1)
    now = int(time.time())
    with installation.database() as database, database.connection.transaction():
        for n in range(1000):  # half of them within a minute, the others later, each at its own second
            due_at = now + (50 + n % 4 // 2 if n % 2 == 0 else 3600 + n)
            installation.save_into(database, n, due_at + 0.5 - time.time(), subject=str(n))
    assert installation.arm().stdout == "Scheduled 502 wake-ups.\n"
    redis_server.kill()
    redis_server.start()
    assert redis_server.armed() == []
    with installation.database() as database, database.connection.transaction():
        database.connection.execute("UPDATE emails SET due_at = due_at - 49 WHERE due_at < :soon", soon=now + 60)
    with installation.queue():
        if way == "flask wakeups arm":
            assert installation.arm().returncode == 0
        else:
            assert installation.task().returncode == 0
        assert wait_until(lambda: len(installation.log()) == 500)
    assert installation.delivered() == subjects(range(0, 1000, 2), 1)


def test_wake_ups_are_armed_once_for_each_second_however_often(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    now = int(time.time())
    with installation.database() as database:
        seconds = [installation.save_into(database, n, now + 100.5 + n // 2 - time.time()) for n in range(6)]
    for _ in range(2):
        assert installation.arm().stdout == "Scheduled 3 wake-ups.\n"
        assert sorted(redis_server.armed()) == [f"wake-{second}" for second in sorted({*seconds})]


def test_a_sweep_stops_itself_and_the_next_one_goes_on_at_once(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(40)
    installation.save_email(1)
    installation.environment["SMTP_CONNECTIONS"] = "1"
    stopped = threading.Event()
    on = {"CONTENT": lambda line, n: "250 2.0.0 Ok" if stopped.is_set() else (Wait(0.5), "250 2.0.0 Ok")}
    with ScriptedServer(on=on) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        for seconds in (1, 4, 16):  # on a busy machine, the second may be over before the sweep starts
            redis_server.client.flushall()
            command = [sys.executable, "-c", STOP_SOON.format(seconds)]
            assert warm_python.start(command, installation.environment, cwd=str(PROJECT)).wait(60) == 0
            if server.accepted:
                break
        stopped.set()
        assert 0 < len(server.accepted) < 40
        assert redis_server.in_line() == 1
        assert set(installation.statuses()) <= {"sent", "queued"}
        with installation.queue():
            assert wait_until(lambda: installation.log() == ["1"])
        assert Counter(server.recipients).most_common(1)[0][1] == 1


def test_a_delivery_that_is_put_in_line_again_wakes_a_worker(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(1)
    installation.save_email(1)
    installation.task()
    redis_server.client.flushall()
    assert installation.task("--retry-failed", "1").returncode == 0
    assert redis_server.in_line() == 1


def test_what_cannot_be_armed_is_said_in_one_line_without_the_password(
    installation: RedisInstallation, redis_server: RedisServer
) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    redis_server.kill()
    armed = installation.arm()
    assert armed.returncode == 1
    assert armed.stderr.startswith(f"Error: cannot use Redis at {redis_server.place}: ")
    swept = installation.task()
    assert (swept.returncode, swept.stderr.count("\n")) == (0, 1)
    assert swept.stderr.startswith("could not schedule a wake-up: ")
    assert installation.delivered() == subjects([1], 1)
    redis_server.start()
    installation.environment["REDIS_URL"] = redis_server.url.replace(PASSWORD, "wrong-" + PASSWORD)
    wrong = installation.arm()
    assert "invalid username-password pair" in wrong.stderr
    assert PASSWORD not in armed.stderr + swept.stderr + wrong.stderr
    installation.environment["SCHEDULER"] = "cron"
    assert "SCHEDULER=cron does not use wake-ups" in installation.arm().stderr


def test_packages_that_are_missing_are_named_with_the_command_and_mail_goes_out(
    installation: RedisInstallation,
) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    remedy = "needs rq_scheduler: run .venv/bin/python -m pip install --no-deps -r requirements/redis.txt\n"
    swept = run_python(installation, WITHOUT_RQ + "import task; sys.exit(task.main([]))")
    assert (swept.returncode, swept.stderr) == (1, f"ERROR SCHEDULER=rq-scheduler {remedy}")
    assert installation.delivered() == subjects([1], 1)
    served = run_python(installation, WITHOUT_RQ + "import email_app; email_app.create_app()")
    assert (served.returncode, served.stderr) == (1, f"SCHEDULER=rq-scheduler {remedy}")


def test_without_redis_nothing_of_it_is_imported(installation: RedisInstallation) -> None:
    installation.environment["SCHEDULER"] = "cron"
    code = "import sys, task, email_app; email_app.create_app(); task.main([]); print({'redis', 'rq'} & {*sys.modules})"
    assert run_python(installation, code).stdout == "set()\n"


def test_an_option_of_the_url_that_is_wrong_is_said_without_the_url() -> None:
    with pytest.raises(QueueUnavailable, match="REDIS_URL has an invalid option") as caught:
        WakeUps(f"redis://:{PASSWORD}@127.0.0.1/0?socket_timeout={PASSWORD}")
    assert PASSWORD not in str(caught.value)
