"""Few file descriptors, many messages and sweeps, missing servers and names, and servers that do not respond."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import Address
from tests.support.faults.killer import Victim, in_shell
from tests.support.invariants import Mailing, check_whole
from tests.support.ports import unused_port
from tests.support.servers.smtp_server import Call, Handler, ScriptedServer, Wait


def test_with_32_descriptors_100_connections_become_as_many_as_there_can_be(tmp_path: Path) -> None:
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.01), "250 ok")}) as server:
        mailing = Mailing(tmp_path, server, 1000, SMTP_CONNECTIONS="100")
        swept = in_shell(mailing, 'ulimit -n 32; exec "$@"')
        found = mailing.check(most_in_doubt=0)
    assert (swept.returncode, swept.stderr) == (0, "")
    assert found.statuses == {"sent": 1000}
    assert 4 <= server.most_at_once <= 32


@pytest.mark.parametrize("descriptors", range(8, 16))
def test_too_few_descriptors_for_anything_keep_no_claim_and_lose_nothing(descriptors: int, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        mailing = Mailing(tmp_path, server, 3, SMTP_CONNECTIONS="2")
        swept = in_shell(mailing, f'ulimit -n {descriptors}; exec "$@"')
        if swept.returncode:
            assert any(words in swept.stderr for words in ("Too many open files", "cannot", "disk error"))
            assert mailing.statuses()["claimed"] == 0
        mailing.finish()
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 3}, 0)


def test_over_500_connections_no_descriptor_is_leaked(tmp_path: Path) -> None:
    victim = Victim()
    counts: list[int] = []

    def count() -> None:
        counts.append(len(list(Path(f"/proc/{victim.pid}/fd").iterdir())))

    with ScriptedServer(on={"CONTENT": lambda content, n: (Call(count), "250 ok") if n % 75 == 37 else None}) as server:
        mailing = Mailing(tmp_path, server, 1500, SMTP_CONNECTIONS="4", SMTP_MESSAGES_PER_CONNECTION="3")
        assert victim.run(mailing) == 0
        found = mailing.check(most_in_doubt=0)
    assert found.statuses == {"sent": 1500}
    assert len(server.peers) >= 500
    assert len(counts) == 20
    assert max(counts[10:]) <= max(counts[:10]) + 2


def test_many_sweeps_at_once_open_no_more_connections_than_were_allowed(tmp_path: Path) -> None:
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.001), "250 ok")}) as server:
        mailing = Mailing(tmp_path, server, 1000, SENDERS="2", SMTP_CONNECTIONS="4")
        sweeps = [mailing.start_task() for _ in range(25)]
        ends = Counter((*sweep.communicate(timeout=120), sweep.returncode) for sweep in sweeps)
        found = mailing.check(most_in_doubt=0)
    assert ends == {("", "", 0): 25}
    assert (found.statuses, found.doubled) == ({"sent": 1000}, 0)
    assert server.most_at_once <= 2 * 4


def test_a_server_that_is_not_there_costs_one_error_and_nothing_for_each_message(tmp_path: Path) -> None:
    port = unused_port()
    with ScriptedServer() as server:
        mailing = Mailing(tmp_path, server, 1000)
        mailing.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{port}"
        swept = mailing.task()
        assert (swept.returncode, len(swept.stderr.splitlines())) == (1, 1)
        assert "refused" in swept.stderr
        assert set(mailing.statuses()) == {"queued"}
        assert mailing.statuses().total() < 100, "made although nothing can be sent"
        with mailing.database() as database:
            assert database.connection.fetch_all("SELECT SUM(attempts) FROM deliveries") == [(0,)]
            assert database.connection.fetch_all("SELECT * FROM senders") == []
        mailing.move_to(server)
        assert mailing.task().returncode == 0
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 1000}, 0)


def test_thousands_of_recipients_at_a_dead_domain_keep_nobody_waiting_and_cost_one_attempt_each(tmp_path: Path) -> None:
    """No connection is lost either, because refusing recipients is normal for a server."""
    refused_before: list[int] = []  # each of the valid recipients

    def take(content: bytes, n: int) -> None:
        refused_before.append(server.script.counts["RCPT"] - n)

    on: dict[str, Handler] = {
        "RCPT": lambda line, n: None if b"@good" in line else "451 4.4.4 no server of this domain answers",
        "CONTENT": take,
    }
    with ScriptedServer(on=on) as server:
        mailing = Mailing(tmp_path, server, 3000, SMTP_CONNECTIONS="4", SMTP_MESSAGES_PER_CONNECTION="0")
        begin_for_ten_good_ones_an_email_behind_it(mailing)
        swept = mailing.task()
        assert (swept.returncode, len(swept.stderr.splitlines())) == (1, 1)
        assert "3000 deliveries deferred" in swept.stderr
    assert sorted(server.recipients) == [f"{number}@good.example" for number in range(10)]
    assert max(refused_before) < 500
    assert len(server.peers) == 4
    with mailing.database() as database:
        counted = database.connection.fetch_all("SELECT status, attempts, COUNT(*) FROM deliveries GROUP BY 1, 2")
        assert sorted(counted) == [("queued", 1, 3000), ("sent", 1, 10)]
        check_whole(database)


def begin_for_ten_good_ones_an_email_behind_it(mailing: Mailing) -> None:
    """Start an email to the present recipients, then another one to ten recipients who are added later."""
    with mailing.database() as database:
        now = datetime.now(UTC)
        second = int(now.timestamp())
        database.progress.start_due_emails(second)
        database.recipients.add((Address(*[f"{n}@good.example"] * 2) for n in range(10)), now)
        mailing.save_email(2, subject="2")
        database.progress.start_due_emails(second)
        database.progress.move_cursor(2, 3000, 0, second)  # it overtakes the others, to whom it is not sent


def test_a_name_that_does_not_resolve_is_one_error_and_nothing_is_charged(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        mailing = Mailing(tmp_path, server, 3)
        mailing.environment["EMAIL_URL"] = "smtp://mail.invalid"
        swept = mailing.task()
        assert (swept.returncode, len(swept.stderr.splitlines())) == (1, 1)
        assert "mail.invalid" in swept.stderr
        mailing.move_to(server)
        assert mailing.task().returncode == 0
        found = mailing.check(most_in_doubt=0)
    assert found.statuses == {"sent": 3}


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_without_any_output_mail_goes_on_and_the_log_has_the_errors(closed: str, tmp_path: Path) -> None:
    on = {"RCPT": lambda line, n: "550 5.1.1 no such user" if n == 1 else None}
    with ScriptedServer(on=on) as server:
        mailing = Mailing(tmp_path, server, 5, SMTP_CONNECTIONS="1")
        swept = in_shell(mailing, f'exec "$@" {closed}')
        found = mailing.check(most_in_doubt=0)
    assert swept.returncode != 0
    assert found.statuses == {"sent": 4, "failed": 1}
    assert ["no such user" in line for line in mailing.log()] == [True, False]
