"""The main job as a machine does it: makecron, a POST, and a message that the real cron daemon's job delivers."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.installation import Installation
from tests.support.project_copy import copy_project, makecron
from tests.support.web_server import serve

if TYPE_CHECKING:
    from tests.support.cron_daemon import Crontab

UTC_8 = timezone(timedelta(hours=8))
LATE_ON_A_BUSY_MACHINE = 5  # seconds; bench/wakeup_latency.py measures it on a quiet one


def soon_after_the_next_minute() -> datetime:
    """Return a second of the first minute of which the cron daemon will surely know the job."""
    noticed = datetime.now(UTC_8) + timedelta(seconds=5)  # the server starts, and a changed crontab is settled
    return noticed.replace(second=5, microsecond=0) + timedelta(minutes=1)


def test_a_posted_email_is_delivered_by_the_cron_job(
    own_crontab: Crontab, cron_daemon: None, tmp_path: Path, free_port: int
) -> None:
    project = copy_project(tmp_path / "a project")
    installation = Installation(project)
    installation.add_recipients(2)
    assert makecron(project).returncode == 0
    due_at = soon_after_the_next_minute()
    with serve(project, free_port) as server:
        fields = {"event_id": 7, "email_subject": "Hello", "email_content": "Now.\n", "timestamp": f"{due_at:%F %T}"}
        assert server.post(fields).body == "Successful"
    own_crontab.wait_for([project / "tasklog.log"])
    assert 0 <= time.time() - due_at.timestamp() < 20
    assert installation.log() == ["7"]
    assert installation.delivered() == {("Hello", "r0@example.com"): 1, ("Hello", "r1@example.com"): 1}
    for file in (project / "outbox" / "new").iterdir():
        assert 0 <= file.stat().st_mtime - due_at.timestamp() < LATE_ON_A_BUSY_MACHINE
    assert "Removed" in makecron(project, "--remove").stdout
    assert own_crontab.read() is None
