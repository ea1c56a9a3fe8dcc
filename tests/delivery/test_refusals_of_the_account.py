"""Sweeps against a server that refuses the account: no delivery fails, and everything stays due."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import ForkingInstallation, Installation
from tests.support.servers.smtp_server import Call, Handler, ScriptedServer, Wait

QUOTA = "550 5.4.5 Daily user sending quota exceeded. For more information, see https://example.net/q - gsmtp"


@pytest.fixture
def installation(tmp_path: Path, where: dict[str, str]) -> Installation:
    return ForkingInstallation(tmp_path, **where)


def use(installation: Installation, server: ScriptedServer, connections: int = 4) -> None:
    installation.environment |= {
        "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
        "SMTP_CONNECTIONS": str(connections),
    }


def after(number: int, answer: str) -> Handler:
    return lambda line, n: answer.format(n=n) if n >= number else None


def failed(installation: Installation) -> int:
    with installation.database() as database:
        (row,) = database.connection.fetch_all("SELECT COALESCE(SUM(failed), 0) FROM progress")
        attempts = database.connection.fetch_all("SELECT * FROM attempts")
    return int(row[0]) + len(attempts) + installation.statuses()["failed"] + installation.statuses()["unknown"]


@pytest.mark.parametrize("step", ["RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize("answer", [QUOTA, "554 5.7.1 No, {n} times no"], ids=["words", "again and again"])
def test_a_quota_in_the_middle_of_a_mailing_fails_nobody_and_the_next_sweep_sends_the_rest(
    installation: Installation, step: str, answer: str
) -> None:
    installation.add_recipients(60)
    installation.save_email(1)
    with ScriptedServer(on={step: after(10, answer)}) as server:
        use(installation, server)
        swept = installation.task()
        sent = Counter(server.recipients)
    assert swept.returncode == 1
    assert swept.stderr.count("\n") == 1 and swept.stderr.startswith("ERROR ")
    assert answer[:10] in swept.stderr
    (logged,) = installation.log()
    assert "ERROR" in logged and answer[:10] in logged
    assert (sent.total(), failed(installation)) == (10, 0)
    with ScriptedServer() as server:
        use(installation, server)
        assert installation.task().returncode == 0
        sent += Counter(server.recipients)
    assert sent == Counter(f"r{n}@example.com" for n in range(60))
    assert installation.log()[1:] == ["1"]


def test_a_quota_that_lasts_stops_every_sweep_and_fails_nobody(installation: Installation) -> None:
    installation.add_recipients(200)
    installation.save_email(1)
    with ScriptedServer(on={"CONTENT": after(0, "554 5.7.1 No, {n} times no")}) as server:
        use(installation, server, 50)
        assert [installation.task().returncode for _ in range(4)] == [1] * 4
    assert failed(installation) == 0


def test_small_emails_that_are_all_refused_alike_are_not_logged_as_finished(installation: Installation) -> None:
    installation.add_recipients(2)
    for event_id in range(1, 16):
        installation.save_email(event_id)
    with ScriptedServer(on={"CONTENT": after(0, "554 5.7.1 no")}) as server:
        use(installation, server)
        assert installation.task().returncode == 1
    assert failed(installation) == 0
    assert len(installation.log()) == 1
    with ScriptedServer() as server:
        use(installation, server)
        assert installation.task().returncode == 0
        assert len(server.accepted) == 30
    assert sorted(installation.log()[1:], key=int) == [str(event_id) for event_id in range(1, 16)]


def test_overlapping_senders_at_a_quota_fail_nobody_and_send_nothing_twice(installation: Installation) -> None:
    installation.environment["SENDERS"] = "2"
    installation.add_recipients(100)
    installation.save_email(1)
    with ScriptedServer(on={"CONTENT": after(30, "554 5.7.1 No, {n} times no")}) as server:
        use(installation, server)
        for sender in [installation.start_task() for _ in range(2)]:
            sender.communicate(timeout=60)
        sent = Counter(server.recipients)
    assert failed(installation) == 0
    with ScriptedServer() as server:
        use(installation, server)
        assert installation.task().returncode == 0
        sent += Counter(server.recipients)
    assert sent == Counter(f"r{n}@example.com" for n in range(100))


def test_a_sender_that_is_killed_before_the_verdict_leaves_no_refused_message_in_doubt(
    installation: Installation,
) -> None:
    started: list[subprocess.Popen[str]] = []

    def refuse_then_kill(content: bytes, n: int) -> Any:
        return "554 5.7.1 no" if n < 5 else (Call(lambda: started[0].kill()), Wait(60))

    installation.add_recipients(20)
    installation.save_email(1)
    with ScriptedServer(on={"CONTENT": refuse_then_kill}) as server:
        use(installation, server, 1)
        started.append(installation.start_task())
        started[0].communicate(timeout=60)
    assert installation.statuses()["sending"] == 1, "the one that was under way"
    with ScriptedServer() as server:
        use(installation, server)
        installation.task()
        assert len(server.accepted) >= 19
    with installation.database() as database:
        outcomes = database.connection.fetch_all("SELECT outcome FROM attempts")
    assert outcomes == [("in_doubt",)]


def test_refusals_that_name_the_mailbox_or_come_between_acceptances_fail_their_recipients(
    installation: Installation,
) -> None:
    answers = {
        b"r3@": "550 5.7.1 The recipient has blocked you",
        b"r5@": "552 5.2.2 The email account that you tried to reach is over quota",
        b"r7@": "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        b"r9@": "550 5.7.708 No",
    }
    installation.add_recipients(40)
    installation.save_email(1)
    on = {"RCPT": lambda line, n: next((reply for part, reply in answers.items() if part in line), None)}
    with ScriptedServer(on=on) as server:
        use(installation, server)
        swept = installation.task()
    assert swept.returncode == 1
    assert all(f"failed: {reply}" in swept.stderr for reply in answers.values())
    assert swept.stderr.count("\n") == len(answers)
    assert installation.statuses() == {"sent": 36, "failed": 4}
    assert installation.log()[-1] == "1"
