"""Bugs that other senders had and that this one could have, where no other test would catch them.

Other modules cover the rest:
- tests/unit/smtp/test_smtp_session.py: replies counted for the wrong command (Postfix 20050929, aiosmtplib 320180e,
  async-smtp #72, swiftmailer #1265), an empty message next to a refused recipient (MailKit #1459), 421 at DATA (cpython
  #132796), errors at QUIT (flask-mail #139)
- tests/delivery/test_smtp_transport.py: bytes injected before TLS (GHSA-vxj7-4xrp-5vr4)
- tests/unit/smtp/test_smtp_command.py, test_header.py, test_body.py: injection, smuggling, folding and encoded words
  (CVE-2024-6923, CVE-2023-51764, cpython #77710, #102988, #122476)
- tests/faults/test_sender_kills.py: kills (healthchecks #212, RQ #2015, Oban #862)
- tests/web/api/test_recipients.py, test_deliveries.py: formulas in an export (modoboa #4061, web2py #2629)
- tests/web/api/test_requests.py: content served as a page (listmonk CVE-2026-21483), forged requests (listmonk
  GHSA-rf24-wg77-gq7w), answers that a proxy caches (Flask CVE-2023-30861)
- tests/web/api/test_service.py: a save that is repeated because its connection was cut (unstract #2121)
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sender.run
from database import Database
from delivery.message.message import Message
from delivery.smtp.command import STEP_TIMEOUTS, Step
from sender.outgoing import make_sender
from tests.support.faults.killer import STRACE, Victim, killed_before, start_with_lease, wait_until
from tests.support.in_process import sweep_once
from tests.support.invariants import Mailing
from tests.support.servers.smtp_server import Close, ScriptedServer, Wait

LEASE = 2  # seconds, for a sender that checks at least every 0.75


def test_a_timeout_within_a_batch_repeats_nothing_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """django-post_office #479: statuses were written after the batch, and a timeout came before."""

    def impatient(settings: Any) -> Any:
        sender: Any = make_sender(settings)
        sender._step_timeouts = {**STEP_TIMEOUTS, Step.CONTENT: 0.2}
        return sender

    monkeypatch.setattr(sender.run, "make_sender", impatient)
    with ScriptedServer(on={"CONTENT": lambda content, n: Wait(1) if n == 15 else None}) as server:
        mailing = Mailing(tmp_path, server, 40, SMTP_CONNECTIONS="2")
        sweep_once(mailing)
        assert mailing.statuses() == Counter(sent=39, queued=1)
        mailing.finish()
        found = mailing.check(most_in_doubt=1)
    assert (found.statuses, found.in_doubt) == ({"sent": 40}, 1)


@pytest.mark.parametrize("senders", ["1", "3"])
def test_sweeps_that_overlap_send_each_message_once(senders: str, tmp_path: Path) -> None:
    """django-post_office #326, #248: two processes took the same emails, "dozens of times"."""
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.002), "250 ok")}) as server:
        mailing = Mailing(tmp_path, server, 500, SENDERS=senders, SMTP_CONNECTIONS="2")
        sweeps = [mailing.start_task() for _ in range(8)]
        assert [sweep.communicate() for sweep in sweeps] == [("", "")] * 8
        found = mailing.check(most_in_doubt=0)
    assert {sweep.returncode for sweep in sweeps} == {0}
    assert (found.statuses, found.doubled) == ({"sent": 500}, 0)
    assert server.most_at_once <= int(senders) * 2


@pytest.mark.parametrize("where", ["__init__", "smtp_data"])
def test_an_unforeseen_error_in_one_email_stops_no_other(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """django-mailer #73: an unexpected exception blocked the whole queue permanently."""
    real = getattr(Message, where)

    def poisoned(self: Message, *arguments: Any, **values: Any) -> Any:
        if 1 in (values.get("event_id"), getattr(self, "event_id", None)):
            raise RuntimeError("nobody foresaw this")
        return real(self, *arguments, **values)

    with ScriptedServer() as server:
        mailing = Mailing(tmp_path, server, 3)
        mailing.save_email(2, subject="2")
        monkeypatch.setattr(Message, where, poisoned)
        errors = sweep_once(mailing)
        found = mailing.check(most_in_doubt=0)
    assert found.statuses == {"sent": 3, "failed": 3}
    assert len(errors) == 3
    assert all("nobody foresaw this" in error for error in errors)


def test_what_a_killed_sender_leaves_on_disk_delays_no_other_sender(tmp_path: Path) -> None:
    """django-mailer #43: a lock file from before the crash stopped all mail until someone removed it."""
    victim = Victim()
    with ScriptedServer(on={"CONTENT": lambda content, n: (victim.kill, Close()) if n == 1 else None}) as server:
        mailing = Mailing(tmp_path, server, 5, SMTP_CONNECTIONS="1")
        assert victim.run(mailing) == -signal.SIGKILL
        assert [file.name for file in tmp_path.glob("*-sender-*")] == ["email.db-sender-1"]
        began = time.monotonic()
        assert mailing.task().returncode == 0
    assert time.monotonic() - began < 5
    assert mailing.statuses() == {"sent": 5}
    assert list(tmp_path.glob("*-sender-*")) == []


def test_an_interrupted_send_continues_with_exactly_those_who_are_left(tmp_path: Path) -> None:
    """listmonk #2313, #3022: resumed from the start, or from what was fetched: five copies, or none."""
    with ScriptedServer(on={"MAIL": lambda line, n: "550 5.7.1 enough for today" if n >= 10 else None}) as first:
        mailing = Mailing(tmp_path, first, 30, SMTP_CONNECTIONS="2")
        cut_short = mailing.task()
        assert (cut_short.returncode, cut_short.stderr.count("enough for today")) == (1, 1)
    sent = list(first.accepted)
    left = mailing.statuses()
    assert (left["sent"], set(left) - {"sent", "queued"}) == (len(sent), set())
    with ScriptedServer() as server:
        mailing.move_to(server)
        assert mailing.task().returncode == 0
        server.accepted.extend(sent)
        found = mailing.check(most_in_doubt=0)
    assert (found.statuses, found.doubled) == ({"sent": 30}, 0)


def test_a_sweep_much_longer_than_its_lease_is_not_taken_over_while_it_lives(tmp_path: Path) -> None:
    """hexpm #1825, pgqueuer #430, Celery #2599: work that took longer than its lease was repeated."""
    with ScriptedServer(on={"CONTENT": lambda content, n: (Wait(0.9), "250 ok")}) as server:
        mailing = Mailing(tmp_path, server, 8, SENDERS="2", SMTP_CONNECTIONS="2")
        slow = start_with_lease(mailing, LEASE)
        wait_until(lambda: len(server.peers) == 2)
        while slow.poll() is None:
            assert start_with_lease(mailing, LEASE).communicate(timeout=30) == ("", "")
        found = mailing.check(most_in_doubt=0)
    assert slow.communicate() == ("", "")
    assert (found.statuses, found.doubled) == ({"sent": 8}, 0)


def test_a_dead_sender_is_found_behind_any_number_of_living_ones(database: Database) -> None:
    """River #1318: a full batch of jobs that were not stuck hid those behind that were."""
    living = [database.senders.register(200, 0, _never) for _ in range(150)]
    dead = database.senders.register(200, 0, _never)
    database.connection.execute("UPDATE senders SET clock = 'an earlier start' WHERE sender_id = :dead", dead=dead)
    assert database.senders.any_dead()
    assert database.senders.register(200, 0, _never) is not None
    left = [row[0] for row in database.connection.fetch_all("SELECT sender_id FROM senders")]
    assert set(living) < set(left)
    assert dead not in left


def _never(delivery: object) -> Any:
    raise AssertionError(f"nothing was in doubt: {delivery}")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("call", ["fsync,fdatasync", "pwrite64"])
def test_a_sender_that_dies_while_taking_over_is_taken_over_itself(call: str, tmp_path: Path) -> None:
    """procrastinate #1408: the job that freed stalled jobs stalled itself, and everything stopped."""
    victim = Victim()
    kill = partial(lambda content, n: (victim.kill, "250 ok") if n == 1 else None)
    with ScriptedServer(on={"CONTENT": kill}) as server:
        mailing = Mailing(tmp_path, server, 5, SMTP_CONNECTIONS="1")
        assert victim.run(mailing) == -signal.SIGKILL
        kills = 1
        while kills < 8 and killed_before(mailing, call, kills):
            kills += 1
        mailing.finish()
        found = mailing.check(most_in_doubt=kills)
    assert kills > 2
    assert found.statuses["sent"] + found.statuses["unknown"] == 5
    assert found.doubled <= found.in_doubt
