"""Sweeps by `task.py`, as cron and people run it."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import warm_python
from tests.support.installation import PROJECT, ForkingInstallation, Installation, subjects
from tests.support.servers.smtp_server import ScriptedServer

LATE_ON_A_BUSY_MACHINE = 5  # seconds; bench/wakeup_latency.py measures it on a quiet one


@pytest.fixture
def installation(tmp_path: Path, where: dict[str, str]) -> Installation:
    return ForkingInstallation(tmp_path, **where)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Installation:
    return ForkingInstallation(tmp_path)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not come about in time"
        time.sleep(0.02)


def test_what_is_due_is_sent_to_every_recipient_and_logged(installation: Installation) -> None:
    installation.add_recipients(3)
    for event_id in (1, 2):
        installation.save_email(event_id, subject=str(event_id))
    swept = installation.task()
    assert (swept.returncode, swept.stdout, swept.stderr) == (0, "", "")
    assert installation.delivered() == subjects([1, 2], 3)
    assert installation.log() == ["1", "2"]


def test_what_is_not_due_stays(installation: Installation) -> None:
    installation.add_recipients(1)
    installation.save_email(1, due_in=60)
    assert installation.task().returncode == 0
    assert installation.messages() == []
    assert installation.log() == []


def test_with_ahead_an_email_goes_out_at_its_second(installation: Installation) -> None:
    installation.add_recipients(1)
    due_at = installation.save_email(1, due_in=2)
    assert installation.task("--ahead", "5").returncode == 0
    assert 0 <= arrived_at(installation, "Subject") - due_at < LATE_ON_A_BUSY_MACHINE


def arrived_at(installation: Installation, subject: str) -> float:
    """Return when the only message with this subject was saved in the outbox."""
    files = (installation.folder / "outbox" / "new").iterdir()
    (file,) = [file for file in files if f"Subject: {subject}\n" in file.read_text()]
    return file.stat().st_mtime


def test_with_ahead_nothing_due_in_time_ends_it_at_once(installation: Installation) -> None:
    installation.save_email(1, due_in=60)
    began = time.monotonic()
    assert installation.task("--ahead", "50").returncode == 0
    assert time.monotonic() - began < 30


def test_watch_sends_what_is_saved_while_it_runs_until_it_is_stopped(installation: Installation) -> None:
    installation.add_recipients(1)
    watcher = installation.start_task("--watch")
    due_at = installation.save_email(1, due_in=3, subject="1")
    installation.save_email(2, due_in=-1, subject="2")
    wait_until(lambda: installation.log() == ["2", "1"])
    assert 0 <= arrived_at(installation, "1") - due_at < LATE_ON_A_BUSY_MACHINE
    watcher.send_signal(signal.SIGTERM)
    stdout, stderr = watcher.communicate(timeout=20)
    assert (watcher.returncode, stdout) == (0, "")
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ sweep sent=1 deferred=0 failed=0 in_doubt=0 seconds=\d+\.\d+ ended=done\n"
    assert re.fullmatch(line * 2, stderr), stderr


def test_a_daily_quota_is_kept_and_the_rest_waits(installation: Installation) -> None:
    with ScriptedServer() as server:
        installation.environment |= {"SMTP_MAX_PER_DAY": "2", "EMAIL_URL": f"smtp://127.0.0.1:{server.port}"}
        installation.add_recipients(5)
        installation.save_email(1)
        assert "daily limit reached (SMTP_MAX_PER_DAY=2)" in installation.task().stderr
        again = installation.task()
    assert (again.returncode, again.stderr) == (0, "")
    assert installation.statuses() == {"sent": 2}
    with installation.database() as database:
        assert database.progress.remaining_recipients(1)


def test_what_is_deferred_is_reported_once_for_each_email(installation: Installation) -> None:
    installation.add_recipients(3)
    installation.save_email(7)
    with ScriptedServer(on={"RCPT": lambda line, n: "451 4.7.1 come back later"}) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        swept = installation.task()
    assert swept.returncode == 1
    assert swept.stderr.startswith("ERROR 7: 3 deliveries deferred, will retry; last reply: 451 4.7.1 ")
    assert len(installation.log()) == 1


def test_an_unwritable_log_delays_no_later_email(installation: Installation) -> None:
    (installation.folder / "tasklog.log").mkdir()
    installation.add_recipients(1)
    watcher = installation.start_task("--watch")
    for event_id in (1, 2):
        installation.save_email(event_id, subject=str(event_id))
        wanted = subjects(range(1, event_id + 1), 1)
        wait_until(lambda wanted=wanted: installation.delivered() == wanted)  # type: ignore[misc]
    watcher.terminate()
    _, stderr = watcher.communicate(timeout=20)
    assert 1 <= sum(line.startswith("ERROR ") for line in stderr.splitlines()) <= 2


def test_a_watcher_says_that_its_database_was_deleted_and_ends(on_sqlite: Installation) -> None:
    on_sqlite.add_recipients(1)
    on_sqlite.save_email(1)
    watcher = on_sqlite.start_task("--watch")
    wait_until(lambda: on_sqlite.log() == ["1"])
    for file in on_sqlite.folder.glob("email.db*"):
        file.unlink()
    _, stderr = watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    assert "was deleted or replaced while in use" in stderr


def test_an_email_without_recipients_is_held_and_reported(installation: Installation) -> None:
    installation.save_email(1)
    swept = installation.task()
    assert swept.returncode == 1
    assert swept.stderr == "ERROR 1: held: there were no active recipients when it was due\n"
    assert installation.log() == swept.stderr.splitlines()
    assert installation.task().returncode == 0


def test_failed_deliveries_are_retried_by_hand(installation: Installation) -> None:
    installation.add_recipients(2)
    installation.save_email(1, subject="1")
    installation.task()
    with installation.database() as database:
        database.connection.execute("UPDATE deliveries SET status = 'failed' WHERE recipient_id = 1")
        database.connection.execute("UPDATE progress SET sent = 1, failed = 1")
        database.connection.execute("INSERT INTO attempts VALUES (1, 1, 0, 'failed', 'no')")
    for file in (installation.folder / "outbox" / "new").glob("*"):
        file.unlink()
    retried = installation.task("--retry-failed", "1")
    assert retried.stdout == "Retrying 1 delivery of email 1 on the next sweep.\n"
    installation.task()
    assert [message["To"] for message in installation.messages()] == ["r0@example.com"]
    assert installation.statuses() == {"sent": 2}


def test_retrying_an_unknown_email_says_so(installation: Installation) -> None:
    retried = installation.task("--retry-failed", "9")
    assert (retried.returncode, retried.stderr) == (1, "email 9 not found\n")
    assert installation.log() == []


def test_a_message_that_cannot_be_built_fails_alone(installation: Installation) -> None:
    installation.add_recipients(2)
    installation.save_email(1, subject="a control \x07 character")
    installation.save_email(2, subject="2")
    swept = installation.task()
    assert swept.returncode == 1
    assert len(swept.stderr.splitlines()) == 2
    assert installation.delivered() == subjects([2], 2)
    assert installation.statuses() == {"sent": 2, "failed": 2}


def test_a_bad_setting_is_named(installation: Installation) -> None:
    installation.environment |= {"SENDERS": "many", "IN_DOUBT": "shrug"}
    swept = installation.task()
    assert swept.returncode == 1
    assert [line.partition("=")[0] for line in swept.stderr.splitlines()] == ["SENDERS", "IN_DOUBT"]


def test_a_missing_database_is_named_with_the_command_that_makes_it(on_sqlite: Installation) -> None:
    (on_sqlite.folder / "email.db").unlink()
    swept = on_sqlite.task()
    assert swept.returncode == 1
    assert "there is no database at" in swept.stderr
    assert "flask init-db" in swept.stderr
    assert not (on_sqlite.folder / "email.db").exists()


def test_another_schema_version_is_refused_and_nothing_is_sent(installation: Installation) -> None:
    installation.add_recipients(1)
    installation.save_email(1)
    with installation.database() as database:
        database.connection.execute("UPDATE meta SET value = '0' WHERE name = 'schema_version'")
    swept = installation.task()
    assert swept.returncode == 1
    assert "run: flask init-db" in swept.stderr
    assert installation.messages() == []


@pytest.mark.parametrize("protected", ["email.db", "."])
def test_a_database_that_cannot_be_written_is_named_and_nothing_is_sent(protected: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which other users cannot reach
        installation = Installation(Path(folder))
        installation.add_recipients(1)
        installation.save_email(1)
        for path in (installation.folder, *installation.folder.iterdir()):
            path.chmod(0o777 if path.is_dir() else 0o666)
        (installation.folder / protected).chmod(0o555 if protected == "." else 0o444)
        swept = installation.task(user="nobody")
        assert swept.returncode == 1, swept.stderr
        assert "give this user write access" in swept.stderr
        assert installation.messages() == []


def test_an_outbox_that_cannot_be_made_is_named_and_everything_stays_due(installation: Installation) -> None:
    installation.add_recipients(2)
    installation.save_email(1, subject="1")
    (installation.folder / "outbox").write_text("a file stands where the folder should be")
    swept = installation.task()
    assert swept.returncode == 1
    assert len(swept.stderr.splitlines()) == 1
    assert str(installation.folder / "outbox") in swept.stderr
    (installation.folder / "outbox").unlink()
    assert installation.task().returncode == 0
    assert installation.delivered() == subjects([1], 2)


def test_a_log_that_cannot_be_written_stops_no_mail_and_its_line_stays_owed(installation: Installation) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    (installation.folder / "tasklog.log").mkdir()
    swept = installation.task()
    assert swept.returncode == 1
    assert "tasklog.log: " in swept.stderr
    assert installation.delivered() == subjects([1], 1)
    (installation.folder / "tasklog.log").rmdir()
    assert installation.task().returncode == 0
    assert installation.log() == ["1"]


def test_a_disk_that_fills_during_a_sweep_is_waited_for(small_disk: Path) -> None:
    installation = ForkingInstallation(small_disk)
    installation.add_recipients(1000)
    installation.save_email(1, subject="1")
    installation.environment["EMAIL_URL"] = f"maildir:{small_disk}-outbox"
    sweep = installation.start_task()
    wait_until(lambda: shutil.disk_usage(small_disk).free < 16_384, 20)
    time.sleep(1)
    assert sweep.poll() is None, sweep.communicate()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert sweep.communicate(timeout=60) == ("", "")
    assert installation.statuses() == {"sent": 1000}
    assert installation.log() == ["1"]


def test_a_disk_that_is_full_when_a_sender_enters_is_waited_for(small_disk: Path) -> None:
    installation = ForkingInstallation(small_disk, EMAIL_URL=f"maildir:{small_disk}-outbox")
    installation.add_recipients(3)
    installation.save_email(1)
    filler = small_disk / "filler"
    with installation.database() as open_meanwhile:
        open_meanwhile.record_heartbeat(int(time.time()))
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        sweep = installation.start_task()
        time.sleep(1)
        assert sweep.poll() is None
        filler.unlink()
        assert sweep.communicate(timeout=30) == ("", "")
    assert installation.statuses() == {"sent": 3}


def test_a_locked_database_is_waited_for(on_sqlite: Installation) -> None:
    on_sqlite.add_recipients(1)
    on_sqlite.save_email(1, subject="1")
    impatient = (
        "import functools, sys, task; from sender import sweeper;"
        "sweeper.open_database = functools.partial(sweeper.open_database, wait=0.2);"
        "sys.exit(task.main([]))"
    )
    command = [sys.executable, "-c", impatient]
    with on_sqlite.database() as database:
        with database.connection.transaction():
            sweep = warm_python.start(command, on_sqlite.environment, cwd=str(PROJECT))
            time.sleep(1.5)  # many times longer than one wait for the lock
            assert sweep.poll() is None
        assert sweep.communicate(timeout=30) == ("", "")
    assert on_sqlite.delivered() == subjects([1], 1)


@pytest.mark.parametrize("days", [400, -2])
def test_a_clock_that_jumped_sends_nothing_until_a_person_says_that_it_is_right(
    installation: Installation, days: int
) -> None:
    installation.add_recipients(1)
    installation.save_email(1, subject="1")
    with installation.database() as database:
        database.record_heartbeat(int(time.time()) - days * 86_400)
    swept = installation.task()
    assert swept.returncode == 1
    assert "but the last check was on" in swept.stderr
    assert installation.messages() == []
    assert installation.task("--clock-is-right").returncode == 0
    assert installation.delivered() == subjects([1], 1)


def test_a_mailbox_that_does_not_exist_on_two_emails_gets_no_third(installation: Installation) -> None:
    with ScriptedServer(on={"RCPT": refuse_r1}) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        installation.add_recipients(3)
        for event_id in (1, 2, 3):
            installation.save_email(event_id)
            said = installation.task()
            assert said.returncode == (1 if event_id < 3 else 0), said.stderr
            with installation.database() as database:  # as if this had happened an hour ago
                database.connection.execute("UPDATE attempts SET attempted_at = attempted_at - 3600")
    assert Counter(server.recipients) == {"r0@example.com": 3, "r2@example.com": 3}
    with installation.database() as database:
        (page,) = database.recipients.pages()
    assert [recipient.status for recipient in page] == ["active", "rejected", "active"]


def test_a_mailbox_that_is_missing_for_two_emails_within_an_hour_may_get_a_third(installation: Installation) -> None:
    with ScriptedServer(on={"RCPT": refuse_r1}) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        installation.add_recipients(2)
        for event_id in (1, 2):
            installation.save_email(event_id)
        installation.task()
        with installation.database() as database:
            assert database.recipients.counts()["rejected"] == 0
            database.connection.execute("UPDATE attempts SET attempted_at = attempted_at - 3600")
        installation.save_email(3)
        installation.task()
    with installation.database() as database:
        assert database.recipients.counts()["rejected"] == 1


def refuse_r1(line: bytes, n: int) -> str:
    return "550 5.1.1 no such user" if b"r1@" in line else "250 2.1.5 ok"


def test_a_restored_backup_sends_nothing_a_second_time(installation: Installation) -> None:
    installation.add_recipients(2)
    for event_id, due_in in ((1, -2), (2, -2), (3, 3600)):
        installation.save_email(event_id, due_in, subject=f"{event_id}")
    with installation.database() as database:
        database.progress.start_due_emails(int(time.time()), limit=1)
        database.progress.mark_as_backup(int(time.time()))
    swept = installation.task()
    assert swept.returncode == 1
    assert "put 2 due or partly sent emails on hold" in swept.stderr
    assert installation.messages() == []
    with installation.database() as database:
        kept = [email and email.status for email in map(database.emails.get, (1, 2, 3))]
    assert kept == ["held", "held", "scheduled"]


def test_what_is_posted_after_a_restore_is_sent(installation: Installation) -> None:
    installation.add_recipients(1)
    with installation.database() as database:
        database.progress.mark_as_backup(int(time.time()) - 1)
    installation.save_email(4, subject="4")
    assert "put 0 due or partly sent emails on hold" in installation.task().stderr
    assert installation.delivered() == subjects([4], 1)
    assert installation.task().stderr == ""


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai", ""])
def test_the_hosts_zone_changes_nothing(installation: Installation, zone: str) -> None:
    installation.environment["TZ"] = zone
    installation.add_recipients(1)
    installation.save_email(1, due_in=60, subject="1")
    assert installation.task().returncode == 0
    assert installation.messages() == []
    installation.save_email(2, due_in=1, subject="2")
    assert installation.task("--ahead", "5").returncode == 0
    assert installation.delivered() == subjects([2], 1)


def test_a_bare_environment_as_cron_has_it_is_enough(tmp_path: Path, where: dict[str, str]) -> None:
    installation = Installation(tmp_path, **where)
    installation.add_recipients(1)
    installation.save_email(1, subject="Grüße", content="日本\n")
    installation.environment |= {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    assert installation.task().returncode == 0
    assert [message["Subject"] for message in installation.messages()] == ["Grüße"]
