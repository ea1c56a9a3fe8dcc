"""The log line of each sweep: only from a long-running service, and in the format of LOG_FORMAT."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from sender.result import SweepResult
from sender.sweep_log import log_sweep
from tests.support.faults.killer import wait_until
from tests.support.installation import ForkingInstallation, Installation
from tests.support.servers.smtp_server import ScriptedServer


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return ForkingInstallation(tmp_path, LOG_FORMAT="json")


def watched(installation: Installation, done: str) -> str:
    """Return what `task.py --watch` wrote to stderr until tasklog.log had this line."""
    watcher = installation.start_task("--watch")
    wait_until(lambda: any(line.startswith(done) for line in installation.log()))
    watcher.send_signal(signal.SIGTERM)
    return watcher.communicate(timeout=20)[1]


def test_a_watchers_sweep_is_one_line_of_json(installation: Installation) -> None:
    installation.add_recipients(3)
    installation.save_email(1, subject="Grüße {", content="a secret")
    (line,) = watched(installation, "1").splitlines()
    facts = json.loads(line)
    assert 0 < facts.pop("seconds") < 60 and facts.pop("time").endswith("Z")
    assert facts == {"event": "sweep", "sent": 3, "deferred": 0, "failed": 0, "in_doubt": 0, "ended": "done"}


def test_what_a_server_said_stays_in_tasklog_and_out_of_it(installation: Installation) -> None:
    installation.add_recipients(3)
    installation.save_email(1)
    with ScriptedServer(on={"RCPT": lambda line, n: "550 no\x1b[2J" if n == 1 else "250 ok"}) as server:
        installation.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        lines = watched(installation, "1").splitlines()
    facts = [json.loads(line) for line in lines if not line.startswith("ERROR ")]
    assert [(fact["sent"], fact["failed"]) for fact in facts] == [(2, 1)]
    assert len(lines) == 2 and [line.partition(" ")[0] for line in installation.log()] == ["ERROR", "1"]


@pytest.mark.parametrize("arguments", [(), ("--ahead", "1")])
def test_cron_has_nothing_to_mail(installation: Installation, arguments: tuple[str, ...]) -> None:
    installation.add_recipients(1)
    installation.save_email(1)
    swept = installation.task(*arguments)
    assert (swept.returncode, swept.stdout, swept.stderr) == (0, "", "")
    assert installation.log() == ["1"]


@pytest.mark.parametrize(("sent", "log_format"), [(0, "text"), (0, "json"), (1, "off")])
def test_a_sweep_that_did_nothing_or_is_not_to_be_logged_says_nothing(
    capsys: pytest.CaptureFixture[str], sent: int, log_format: str
) -> None:
    log_sweep({"sent": sent}, 0.1, SweepResult.IDLE, log_format)
    assert capsys.readouterr() == ("", "")


def test_text_names_each_number(capsys: pytest.CaptureFixture[str]) -> None:
    log_sweep({"sent": 1_000_000, "in_doubt": 1}, 77.12345, SweepResult.QUOTA_REACHED, "text")
    _, _, rest = capsys.readouterr().err.partition("Z ")
    assert rest == "sweep sent=1000000 deferred=0 failed=0 in_doubt=1 seconds=77.123 ended=full\n"


def test_a_log_that_is_gone_stops_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails too
    monkeypatch.setattr("sys.stderr", full)
    log_sweep({"sent": 1}, 0.1, SweepResult.DONE, "text")
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space left"):
        full.close()
