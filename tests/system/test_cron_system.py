"""The cron job, run by the real cron daemon: it delivers a POST, whatever the folder's name."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schedulers.cron.crontab_file import BEGIN, END
from schedulers.cron.install import daemon_is_running
from schedulers.cron.job_line import Job, line_of
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.project_copy import copy_project, makecron, stand_in, with_venv
from tests.support.servers.cron_daemon import ODD_FOLDERS, Crontab, crontab_for_this_test, running_daemon
from tests.support.servers.web_server import serve

UTC_8 = timezone(timedelta(hours=8))
LATE_ON_A_BUSY_MACHINE = 5  # seconds; bench/wakeup_latency.py measures it on a quiet one


class Minute(NamedTuple):
    """What happened in the minute."""

    crontab: Crontab
    project: Path
    due_at: datetime
    logged_at: float
    ran: list[dict[str, Any]]  # how each job was run, in each folder with an unusual name
    as_installed: dict[str, Any]  # the same, in the last of them again, by the line that makecron.sh wrote


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minute]:
    """The crontab has two jobs as makecron.sh installed them: the service's, and one below the user's variables."""
    folder = tmp_path_factory.mktemp("cron")
    odd = [folder / name for name in ODD_FOLDERS]
    ran = [stand_in(with_venv(each)) for each in odd]
    project, elsewhere = copy_project(folder / "a project"), copy_project(folder / "else where")
    ran.append(stand_in(elsewhere))
    with crontab_for_this_test() as crontab, running_daemon(crontab):
        assert daemon_is_running()
        assert makecron(elsewhere).returncode == 0
        job = (crontab.read() or b"").removeprefix(BEGIN).removesuffix(END)
        crontab.remove()
        assert makecron(project).returncode == 0
        crontab.write((crontab.read() or b"") + lines_for(odd) + b"HOME=/usr\nABOVE=it's above\nPATH=/nowhere\n" + job)
        due_at = post_email(project)
        crontab.wait_for([*ran, project / "tasklog.log"])
        logged_at = time.time()
        told = [json.loads(file.read_text()) for file in ran]
        yield Minute(crontab, project, due_at, logged_at, told[:-1], told[-1])


def lines_for(folders: list[Path]) -> bytes:
    """Return a job for each folder, run by different shells."""
    jobs = [Job(folder / ".venv/bin/python", folder) for folder in folders]
    shells = [shell for shell in ("/bin/sh", "/bin/bash") if Path(shell).exists()]
    return os.fsencode("".join(f"SHELL={shells[n % len(shells)]}\n{line_of(job)}\n" for n, job in enumerate(jobs)))


def post_email(project: Path) -> datetime:
    """POST an email to two recipients that is due soon after the next full minute. Return its due time."""
    Installation(project).add_recipients(2)
    with serve(project, unused_port()) as server:
        due_at = soon_after_the_next_minute()
        fields = {"event_id": 7, "email_subject": "Hello", "email_content": "Now.\n", "timestamp": f"{due_at:%F %T}"}
        assert server.post(fields).body == "Successful"
    return due_at


def soon_after_the_next_minute() -> datetime:
    """Return a time in the first minute in which the cron daemon certainly knows the job."""
    noticed = datetime.now(UTC_8) + timedelta(seconds=5)  # the server stops, and a changed crontab takes effect
    return noticed.replace(second=6, microsecond=0) + timedelta(minutes=1)


def test_a_posted_email_is_delivered_by_the_cron_job(minute: Minute) -> None:
    installation, due_at = Installation(minute.project), minute.due_at.timestamp()
    assert 0 <= minute.logged_at - due_at < 30
    assert installation.log() == ["7"]
    assert installation.delivered() == {("Hello", "r0@example.com"): 1, ("Hello", "r1@example.com"): 1}
    for file in (minute.project / "outbox" / "new").iterdir():
        assert 0 <= file.stat().st_mtime - due_at < LATE_ON_A_BUSY_MACHINE
    assert "Removed" in makecron(minute.project, "--remove").stdout
    assert b"a\\ project" not in (minute.crontab.read() or b"")


def test_cron_runs_the_job_whatever_its_folder_is_called(minute: Minute) -> None:
    assert [each["arguments"] for each in (*minute.ran, minute.as_installed)] == [["--ahead", "60"]] * 10
    last = minute.as_installed
    assert (last["folder"], last["environment"]["ABOVE"]) == ("/usr", "it's above")
