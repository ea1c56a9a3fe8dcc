"""Sweeps against a real Postfix: logins, refusals, and their outcomes."""

from __future__ import annotations

import base64
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.installation import Installation
from tests.support.rendering import parsed

if TYPE_CHECKING:
    from tests.support.servers.postfix import Postfix

PORTS = ["smtp", "smtp+tls", "smtp+ssl", "old"]
WITH_TLS = ["smtp+tls", "smtp+ssl"]
UNKNOWN = "550 5.1.1 No such mailbox here"
BUSY = "451 4.3.2 Come back later"


@pytest.fixture
def installation(tmp_path: Path, postfix: Postfix) -> Installation:
    """Return an installation that sends to the plain port until its EMAIL_URL is changed."""
    return Installation(tmp_path, **postfix.environment())


def assert_nothing_was_sent(installation: Installation, postfix: Postfix, *, due: int) -> None:
    """Check that everything stays due, and that no attempt was counted."""
    assert postfix.received() == []
    with installation.database() as database:
        made = database.connection.fetch_all(
            "SELECT status, attempts, next_attempt_at <= :now FROM deliveries", now=time.time()
        )
        assert set(made) <= {("queued", 0, 1)}
        to_be_made = "SELECT 1 FROM progress JOIN recipients ON recipient_id > cursor_id"
        assert len(made) + len(database.connection.fetch_all(to_be_made)) == due


def received_by(postfix: Postfix) -> Counter[str]:
    return Counter(str(parsed(octets)["To"]) for octets in postfix.received())


def message_ids(postfix: Postfix) -> list[str]:
    return [str(parsed(octets)["Message-ID"]) for octets in postfix.received()]


def attempts(installation: Installation) -> list[tuple[str, str, str]]:
    with installation.database() as database:
        return list(
            database.connection.fetch_all(
                "SELECT recipients.address, outcome, reply FROM attempts JOIN recipients USING (recipient_id)"
            )
        )


def the_one_error(installation: Installation) -> str:
    """Return the error of a sweep that cannot send: one line on stderr, and the same one in the log."""
    before = len(installation.log())
    swept = installation.task()
    assert (swept.returncode, swept.stdout) == (1, "")
    assert installation.log()[before:] == swept.stderr.splitlines()
    (line,) = swept.stderr.splitlines()
    return line


@pytest.mark.parametrize("port", PORTS)
def test_hundreds_of_recipients_get_one_copy_each(installation: Installation, postfix: Postfix, port: str) -> None:
    installation.environment |= {"EMAIL_URL": postfix.url(port), "SMTP_MESSAGES_PER_CONNECTION": "30"}
    installation.add_recipients(200)
    installation.save_email(1)
    swept = installation.task()
    assert (swept.returncode, swept.stdout, swept.stderr) == (0, "", "")
    assert received_by(postfix) == {f"r{number}@example.com": 1 for number in range(200)}
    assert installation.log() == ["1"]


@pytest.mark.parametrize("port", WITH_TLS)
def test_a_wrong_password_is_tried_once_and_shown_nowhere(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    wrong = "wr%40ng /?:@# password"
    installation.environment["EMAIL_URL"] = postfix.url(port, login=("news@example.com", wrong))
    installation.add_recipients(30)
    installation.save_email(1)
    error = the_one_error(installation)
    assert "535 5.7.8 Error: authentication failed" in error
    assert postfix.log.read_text().count("authentication failed") == 1
    login = base64.b64encode(f"\0news@example.com\0{wrong}".encode()).decode()
    for secret in (wrong, login, base64.b64encode(wrong.encode()).decode(), installation.environment["EMAIL_URL"]):
        assert secret not in error
    assert_nothing_was_sent(installation, postfix, due=30)

    installation.environment["EMAIL_URL"] = postfix.url(port)
    assert installation.task().returncode == 0
    assert len(postfix.received()) == 30


@pytest.mark.parametrize("port", WITH_TLS)
def test_a_server_with_a_self_signed_certificate_gets_no_mail(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    installation.environment["EMAIL_URL"] = postfix.url(port)
    del installation.environment["SSL_CERT_FILE"]
    installation.add_recipients(2)
    installation.save_email(1)
    assert "TLS: self-signed certificate" in the_one_error(installation)
    assert "sasl_username" not in postfix.log.read_text()
    assert_nothing_was_sent(installation, postfix, due=2)


@pytest.mark.parametrize("port", WITH_TLS)
def test_a_server_with_a_certificate_for_another_host_gets_no_mail(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    installation.environment["EMAIL_URL"] = postfix.url(port, host="127.0.0.1")
    installation.add_recipients(2)
    installation.save_email(1)
    assert "TLS: IP address mismatch, certificate is not valid for '127.0.0.1'" in the_one_error(installation)
    assert_nothing_was_sent(installation, postfix, due=2)


def test_a_server_without_starttls_gets_neither_password_nor_mail(installation: Installation, postfix: Postfix) -> None:
    plain_port = postfix.url("smtp").rpartition(":")[2]
    installation.environment["EMAIL_URL"] = f"smtp+tls://user:secret@localhost:{plain_port}"
    installation.add_recipients(2)
    installation.save_email(1)
    assert "does not offer STARTTLS" in the_one_error(installation)
    assert_nothing_was_sent(installation, postfix, due=2)


def test_a_server_that_is_not_there_is_named_and_what_is_due_stays(
    installation: Installation, postfix: Postfix, free_port: int
) -> None:
    installation.environment["EMAIL_URL"] = f"smtp://localhost:{free_port}"
    installation.add_recipients(2)
    installation.save_email(1)
    error = the_one_error(installation)
    assert error.startswith(f"ERROR localhost:{free_port}: ")
    assert "Connection refused" in error
    assert_nothing_was_sent(installation, postfix, due=2)

    installation.environment["EMAIL_URL"] = postfix.url()
    assert installation.task().returncode == 0
    assert received_by(postfix) == {"r0@example.com": 1, "r1@example.com": 1}


@pytest.mark.parametrize("port", PORTS)
def test_a_refused_recipient_fails_alone_and_is_sent_to_once_it_is_known(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    installation.environment["EMAIL_URL"] = postfix.url(port)
    postfix.refuse({"r1@example.com": UNKNOWN})
    installation.add_recipients(3)
    installation.save_email(1)
    swept = installation.task()
    words = UNKNOWN.replace("5.1.1 ", "5.1.1 <r1@example.com>: Recipient address rejected: ")
    assert swept.returncode == 1
    assert swept.stderr == f"ERROR 1 r1@example.com: failed: {words}\n"
    assert installation.log() == [swept.stderr.strip(), "1"]
    assert attempts(installation) == [("r1@example.com", "failed", words)]
    assert received_by(postfix) == {"r0@example.com": 1, "r2@example.com": 1}

    postfix.refuse_nothing()
    assert installation.task("--retry-failed", "1").returncode == 0
    assert installation.task().returncode == 0
    assert received_by(postfix) == {f"r{number}@example.com": 1 for number in range(3)}
    assert installation.statuses() == {"sent": 3}
    assert installation.log()[2:] == ["1"]


def test_a_deferred_recipient_is_due_again_in_about_five_minutes(installation: Installation, postfix: Postfix) -> None:
    postfix.refuse({"r1@example.com": BUSY})
    installation.add_recipients(3)
    installation.save_email(1)
    began = int(time.time())
    swept = installation.task()
    assert swept.returncode == 1
    (line,) = installation.log()
    assert line.startswith("ERROR 1: 1 delivery deferred, will retry; last reply: 451 4.3.2 ")
    ((address, outcome, reply),) = attempts(installation)
    assert (address, outcome) == ("r1@example.com", "deferred")
    assert reply.startswith("451 4.3.2 <r1@example.com>: ")
    assert received_by(postfix) == {"r0@example.com": 1, "r2@example.com": 1}
    with installation.database() as database:
        assert database.connection.fetch_one("SELECT attempts FROM deliveries WHERE status = 'queued'") == (1,)
        assert 240 <= (database.next_work_at() or 0) - began <= 370

        postfix.refuse_nothing()
        database.connection.execute("UPDATE deliveries SET next_attempt_at = 0 WHERE status = 'queued'")
    assert installation.task().returncode == 0
    assert received_by(postfix) == {f"r{number}@example.com": 1 for number in range(3)}
    assert installation.log() == [line, "1"]


@pytest.mark.parametrize("port", ["smtp", "old"])
def test_a_message_that_is_refused_for_its_content_fails_and_the_others_go(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    installation.environment["EMAIL_URL"] = postfix.url(port)
    installation.add_recipients(2)
    for event_id, subject in enumerate(["Good", "SPAM and eggs", "Better"], 1):
        installation.save_email(event_id, subject=subject)
    swept = installation.task()
    lines = sorted(swept.stderr.splitlines())
    assert swept.returncode == 1
    assert [line.partition(" 550 ")[0] for line in lines] == [f"ERROR 2 r{n}@example.com: failed:" for n in (0, 1)]
    assert all("We take no spam" in line for line in lines)
    assert received_by(postfix) == {"r0@example.com": 2, "r1@example.com": 2}
    assert sorted(installation.log()) == sorted(["1", "2", "3", *lines])


@pytest.mark.parametrize("port", ["smtp", "old"])
def test_a_message_that_is_too_large_for_the_server_fails_alone(
    installation: Installation, postfix: Postfix, port: str
) -> None:
    installation.environment["EMAIL_URL"] = postfix.url(port)
    installation.add_recipients(2)
    installation.save_email(1, content="0123456\n" * 130_000)
    installation.save_email(2, content="0123456\n" * 100_000)
    swept = installation.task()
    assert swept.returncode == 1
    assert len(swept.stderr.splitlines()) == 2
    assert all(line.startswith("ERROR 1 ") for line in swept.stderr.splitlines()), swept.stderr
    assert received_by(postfix) == {"r0@example.com": 1, "r1@example.com": 1}


def test_a_server_that_hangs_up_after_too_many_bad_addresses_still_gets_the_good_ones(
    installation: Installation, postfix: Postfix
) -> None:
    installation.environment["SMTP_CONNECTIONS"] = "1"
    postfix.refuse({f"r{n}@example.com": f"550 5.1.1 Reason {n}" for n in range(50)})
    installation.add_recipients(60)
    installation.save_email(1)
    installation.task()
    assert received_by(postfix) == {f"r{n}@example.com": 1 for n in range(50, 60)}
    assert "too many errors" in postfix.log.read_text()
    assert installation.statuses() == {"sent": 10, "failed": 50}


def test_a_server_that_takes_few_connections_gets_no_more_and_all_of_the_mail(
    installation: Installation, postfix: Postfix
) -> None:
    installation.environment |= {"EMAIL_URL": postfix.url("hasty"), "SMTP_CONNECTIONS": "8"}
    installation.add_recipients(200)
    installation.save_email(1)
    swept = installation.task()
    assert (swept.returncode, swept.stderr, attempts(installation)) == (0, "", [])
    assert received_by(postfix) == {f"r{number}@example.com": 1 for number in range(200)}
    assert "Connection concurrency limit exceeded: 3" in postfix.log.read_text()


def test_a_server_that_hangs_up_on_the_idle_costs_no_attempt(installation: Installation, postfix: Postfix) -> None:
    installation.environment |= {"EMAIL_URL": postfix.url("hasty"), "SMTP_MAX_RATE": "0.7"}
    installation.add_recipients(3)
    installation.save_email(1)
    swept = installation.task()
    assert (swept.returncode, swept.stderr, attempts(installation)) == (0, "", [])
    assert received_by(postfix) == {f"r{number}@example.com": 1 for number in range(3)}
    assert "timeout after END-OF-MESSAGE" in postfix.log.read_text()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("Relay access denied", "554 5.7.1 "), ("no", "20 recipients in a row were refused: 554 5.7.1 ")],
)
def test_a_server_that_refuses_everybody_ends_the_sweep_and_everybody_stays_due(
    installation: Installation, postfix: Postfix, answer: str, reason: str
) -> None:
    postfix.refuse({"example.com": f"554 5.7.1 {answer}"})
    installation.add_recipients(60)
    installation.save_email(1)
    assert reason in the_one_error(installation)
    statuses = installation.statuses()  # of the deliveries that exist: the sweep stops before it has claimed all
    assert set(statuses) == {"queued"}
    with installation.database() as database:
        assert database.progress.remaining_recipients(1) or statuses["queued"] == 60
    assert attempts(installation) == []


def test_a_server_that_wants_a_login_gets_no_mail_without_one(installation: Installation, postfix: Postfix) -> None:
    installation.environment["EMAIL_URL"] = postfix.url("smtp+tls", login=None).replace("smtp+tls:", "smtp:")
    installation.add_recipients(2)
    installation.save_email(1)
    assert "530 5.7.0 Must issue a STARTTLS command first" in the_one_error(installation)
    assert_nothing_was_sent(installation, postfix, due=2)


def test_a_second_try_has_the_message_id_of_the_first(installation: Installation, postfix: Postfix) -> None:
    installation.add_recipients(2)
    installation.save_email(1)
    installation.task()
    first = sorted(message_ids(postfix))
    with installation.database() as database:  # as if the replies had been lost
        database.connection.execute("UPDATE deliveries SET status = 'failed'")
        database.connection.execute("UPDATE progress SET sent = 0, failed = 2")
        database.connection.execute("INSERT INTO attempts SELECT 1, recipient_id, 0, 'failed', 'no' FROM deliveries")
    installation.task("--retry-failed", "1")
    assert installation.task().returncode == 0
    assert sorted(message_ids(postfix)) == sorted(first * 2)
    assert len(set(first)) == 2
