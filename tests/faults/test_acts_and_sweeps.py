"""People's actions during complete sweeps with a real server. Afterwards, every invariant holds."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from database import Address, Cancelled, Database, DBError, Email
from tests.support.faults.killer import Victim
from tests.support.installation import Installation
from tests.support.invariants import Mailing, check_whole, hurry
from tests.support.servers.smtp_server import Action, Call, Close, ScriptedServer, Wait

LEFT_IN_LINE = "SELECT COUNT(*) FROM deliveries WHERE status IN ('queued', 'claimed')"


def at_content(number: int, *actions: Action) -> Callable[[bytes, int], Action | tuple[Action, ...]]:
    """Return a script with these actions at the end of message `number`, and slow replies to the others."""
    return lambda content, n: (*actions, "250 ok") if n == number else (Wait(0.005), "250 ok")


@pytest.mark.parametrize("connections", [1, 8])
def test_after_a_cancel_the_server_takes_no_more_than_was_in_flight(
    connections: int, tmp_path: Path, where: dict[str, str]
) -> None:
    told: list[tuple[Cancelled, int]] = []

    def cancel() -> None:
        with mailing.database() as database:
            numbers = database.emails.cancel(1, datetime.now(UTC))
            told.append((numbers, len(server.accepted)))

    with ScriptedServer(on={"CONTENT": at_content(40, Call(cancel))}) as server:
        mailing = Mailing(tmp_path, server, 300, SMTP_CONNECTIONS=f"{connections}", **where)
        swept = mailing.task()
        assert (swept.returncode, swept.stderr) == (0, "")
        ((numbers, accepted_then),) = told
        assert 1 <= numbers.in_flight <= connections
        assert len(server.accepted) - accepted_then <= numbers.in_flight
        assert len(server.accepted) == numbers.sent + numbers.in_flight
    with mailing.database() as database:
        check_whole(database)
        assert not database.has_work(int(time.time()))
        summary = database.emails.summary(1)
        assert summary is not None
        assert (summary.status, summary.sent) == ("cancelled", len(server.accepted))
        assert summary.finished_at is not None
        assert database.connection.fetch_one(LEFT_IN_LINE) == (0,)
    assert mailing.log() == []


def test_what_the_server_defers_after_a_cancel_is_not_tried_again(tmp_path: Path, where: dict[str, str]) -> None:
    def cancel() -> None:
        with mailing.database() as database:
            database.emails.cancel(1, datetime.now(UTC))

    with ScriptedServer(on={"CONTENT": lambda content, n: (Call(cancel), "451 later")}) as server:
        mailing = Mailing(tmp_path, server, 20, SMTP_CONNECTIONS="1", **where)
        assert "451 later" in mailing.task().stderr
        assert server.accepted == []
    with mailing.database() as database:
        check_whole(database)
        hurry(database)
        assert not database.has_work(int(time.time()))
        assert database.connection.fetch_one(LEFT_IN_LINE) == (0,)


def test_a_sender_killed_just_after_a_cancel_leaves_nothing_queued(tmp_path: Path, where: dict[str, str]) -> None:
    victim = Victim()

    def cancel() -> None:
        with mailing.database() as database:
            database.emails.cancel(1, datetime.now(UTC))

    on = {"CONTENT": lambda content, n: (Call(cancel), victim.kill, "250 ok") if n == 5 else "250 ok"}
    with ScriptedServer(on=on) as server:
        mailing = Mailing(tmp_path, server, 50, SMTP_CONNECTIONS="4", **where)
        assert victim.run(mailing) == -signal.SIGKILL
        mailing.save_email(2, subject="2")  # so that there is work
        mailing.finish()
    with mailing.database() as database:
        check_whole(database)
        summary = database.emails.summary(1)
        assert summary is not None
        assert (summary.status, summary.finished_at is not None) == ("cancelled", True)
        assert database.connection.fetch_all("SELECT 1 FROM deliveries WHERE claimed_by IS NOT NULL") == []


class People:
    """Random actions on the emails 1 to `emails`, from a seed. Refusals are ignored."""

    def __init__(self, installation: Installation, seed: int, emails: int) -> None:
        self._installation = installation
        self._random = random.Random(seed)
        self._emails = emails
        self.done: list[str] = []

    def act(self, database: Database) -> None:
        """Perform one random action."""
        on_emails = (self.cancel, self.retry, self.release, self.replace, self.reschedule, self.post)
        act = self._random.choice((*on_emails, self.leave, self.come_back, self.decide, self.decide_each))
        try:
            act(database, self._random.randint(1, self._emails))
        except DBError as error:
            self.done.append(f"{act.__name__}: {error}")
        else:
            self.done.append(act.__name__)

    def cancel(self, database: Database, event_id: int) -> None:
        if self._random.random() < 0.3:
            database.emails.cancel(event_id, datetime.now(UTC))

    def retry(self, database: Database, event_id: int) -> None:
        some = self._random.sample(range(1, 31), 9) if self._random.random() < 0.5 else None
        database.deliveries.retry(event_id, datetime.now(UTC), recipient_ids=some)

    def release(self, database: Database, event_id: int) -> None:
        database.emails.release(event_id, datetime.now(UTC))

    def replace(self, database: Database, event_id: int) -> None:
        database.emails.replace(self._email(event_id, f"replaced {len(self.done)}"), datetime.now(UTC))

    def reschedule(self, database: Database, event_id: int) -> None:
        database.emails.reschedule(event_id, self._email(event_id, "").due_at, datetime.now(UTC))

    def post(self, database: Database, event_id: int) -> None:
        database.emails.save_many([self._email(event_id, "posted")], datetime.now(UTC))

    def leave(self, database: Database, number: int) -> None:
        database.recipients.unsubscribe(number, datetime.now(UTC))

    def come_back(self, database: Database, number: int) -> None:
        recipient = database.recipients.get(number)
        if recipient is not None:
            database.recipients.reactivate(_address(recipient.address))

    def decide(self, database: Database, event_id: int) -> None:
        rows = database.deliveries.page(event_id, status="unknown").rows
        for row in rows[:1]:
            wanted = self._random.choice(("sent", "failed"))
            database.deliveries.decide(event_id, row.recipient_id, wanted, datetime.now(UTC))

    def decide_each(self, database: Database, event_id: int) -> None:
        if self._random.random() < 0.3:
            database.deliveries.decide_each(event_id, "failed", datetime.now(UTC))

    def _email(self, event_id: int, content: str) -> Email:
        due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._random.randint(-2, 2))
        return Email(event_id, f"{event_id}", f"{content}\n", due_at)


def _address(text: str) -> Address:
    return Address(text, text)


def moody(seed: int) -> Callable[[bytes, int], Action | tuple[Action, ...]]:
    """A server that accepts most messages, defers or refuses some, and cuts some connections at the final dot."""
    mood = random.Random(seed)

    def answer(content: bytes, n: int) -> Action | tuple[Action, ...]:
        answers = ("250 ok", "451 later", "550 5.7.1 no", Close())
        (chosen,) = mood.choices(answers, (80, 8, 8, 4))
        return Wait(0.002), chosen

    return answer


def test_random_acts_between_and_during_sweeps_leave_everything_whole(tmp_path: Path, where: dict[str, str]) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    with ScriptedServer(on={"CONTENT": moody(seed)}) as server:
        mailing = Mailing(tmp_path, server, 30, SENDERS="2", SMTP_CONNECTIONS="3", IN_DOUBT="hold", **where)
        people = People(mailing, seed, emails=8)
        over = threading.Event()

        def meanwhile() -> None:
            with mailing.database() as database:
                while not over.is_set():
                    people.act(database)
                    check_whole(database)
                    time.sleep(0.01)

        crowd = threading.Thread(target=meanwhile)
        crowd.start()
        try:
            for _ in range(6):
                sweeps = [mailing.start_task() for _ in range(2)]
                for sweep in sweeps:
                    sweep.communicate(timeout=60)
                with mailing.database() as database:
                    hurry(database)
        finally:
            over.set()
            crowd.join()
    with ScriptedServer() as server:
        mailing.move_to(server)
        mailing.finish(20)
    with mailing.database() as database:
        check_whole(database)
        assert database.connection.fetch_one(LEFT_IN_LINE) == (0,)
        assert database.connection.fetch_all("SELECT event_id FROM emails WHERE status = 'sending'") == []
    print(people.done)
    assert len({name for name in people.done if ":" not in name}) >= 5, people.done
