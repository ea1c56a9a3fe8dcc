"""Two hosts send from one PostgreSQL database; one of them loses it, and still reaches the mail server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults.killer import SHORT_LEASE, start_with_lease, wait_until
from tests.support.faults.network_namespace import POSSIBLE, SecondHost
from tests.support.invariants import Mailing
from tests.support.servers.postgresql_server import PostgreSQLServer, installed, server_for_other_hosts
from tests.support.servers.smtp_server import ScriptedServer, Wait

LEASE = 2  # seconds
CONNECTIONS = 2
DATABASE, MAIL = 0, 1  # the links
pytestmark = [
    pytest.mark.skipif(not POSSIBLE, reason="only root can make network namespaces"),
    pytest.mark.skipif(not installed(), reason="PostgreSQL is not installed"),
]


@pytest.fixture
def second_host() -> Iterator[SecondHost]:
    with SecondHost() as host:
        yield host


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    with server_for_other_hosts() as server:
        yield server


def start_on(host: SecondHost, mailing: Mailing, url: str) -> subprocess.Popen[str]:
    """Start a sender there, identified by its From address."""
    environment = mailing.environment | {
        "DATABASE_URL": url.replace("127.0.0.1", host.near(DATABASE)),
        "EMAIL_URL": f"smtp://{host.near(MAIL)}:{mailing.server.port}",
        "MAIL_FROM": "far@example.com",
    }
    command = host.command(sys.executable, str(SHORT_LEASE), f"{LEASE}")
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def test_a_sender_cut_off_from_its_database_sends_nothing_more_and_the_other_takes_over(
    second_host: SecondHost, server: PostgreSQLServer, tmp_path: Path
) -> None:
    url = server.new_database()
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.02), "250 ok")}, host="0.0.0.0") as mail:
        mailing = Mailing(
            tmp_path,
            mail,
            300,
            DATABASE_URL=url,
            SENDERS="2",
            SMTP_CONNECTIONS=f"{CONNECTIONS}",
            MAIL_FROM="near@example.com",
        )
        far = start_on(second_host, mailing, url)
        wait_until(lambda: sent_by(mail, b"far@example.com") >= 5)
        near = start_with_lease(mailing, LEASE)
        wait_until(lambda: sent_by(mail, b"near@example.com") >= 5)
        second_host.cut(DATABASE)
        time.sleep(0.5)  # the released messages get their replies
        by_then = sent_by(mail, b"far@example.com")
        assert near.communicate(timeout=60)[1] == ""
        mailing.finish()
        second_host.restore(DATABASE)
        _, stderr = far.communicate(timeout=90)
        found = mailing.check(most_in_doubt=CONNECTIONS)
    assert sent_by(mail, b"far@example.com") == by_then
    assert "another sender took over" in stderr or "lease" in stderr, stderr
    assert found.statuses == {"sent": 300}
    assert found.lost == 0
    assert found.doubled <= CONNECTIONS


def sent_by(server: ScriptedServer, sender: bytes) -> int:
    return sum(b"<%b>" % sender in message.sender for message in server.accepted)
