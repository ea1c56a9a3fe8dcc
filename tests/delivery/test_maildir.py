"""delivery/maildir/sender.py: each delivery is one complete file, and each envelope has one outcome or is returned."""

from __future__ import annotations

import mailbox
import os
import random
import resource
import shutil
import signal
import stat
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from delivery.errors import DeliveryError
from delivery.interface import Envelope, Kind, Outcome, SessionError
from delivery.maildir.sender import MaildirSender
from tests.support.faults.killer import wait_until
from tests.support.rendering import AT, assert_same_text, message, parsed

NOBODY = 65534


class ListedQueue:
    """Hands out the envelopes it was given, and records every call of commit, in order."""

    def __init__(self, *envelopes: Envelope) -> None:
        self.due = list(envelopes)
        self.commits: list[tuple[list[Outcome], list[Envelope]]] = []
        self.given_back: list[Envelope] = []
        self.lost: set[Envelope] = set()
        self.renewals = 0
        self.valid_checks = len(envelopes)
        self.stop_after = 1_000_000  # calls of commit
        self.on_commit: Callable[[], None] = lambda: None

    def fetch(self, limit: int) -> list[Envelope]:
        fetched, self.due = self.due[:limit], self.due[limit:]
        return fetched

    def commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> Collection[Envelope]:
        self.on_commit()
        self.commits.append((list(outcomes), list(ending)))
        return [envelope for envelope in ending if envelope not in self.lost]

    def record_refused(self, envelopes: Sequence[Envelope]) -> None:
        raise AssertionError("a Maildir refuses nothing")

    def begin_commit(self, outcomes: Sequence[Outcome], ending: Sequence[Envelope]) -> None:
        raise AssertionError("a file is there at once")

    def release(self, envelopes: Sequence[Envelope]) -> None:
        self.given_back += envelopes

    def lease_is_valid(self) -> bool:
        self.valid_checks -= 1
        return self.valid_checks >= 0

    def renew_lease(self) -> None:
        self.renewals += 1

    @property
    def stopping(self) -> bool:
        return len(self.commits) >= self.stop_after

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for outcomes, _ in self.commits for outcome in outcomes]

    @property
    def sent(self) -> list[Envelope]:
        return [outcome.envelope for outcome in self.outcomes if outcome.kind is Kind.SENT]


def envelopes(count: int, content: str = "Hello\n.\nend") -> list[Envelope]:
    email = message(content=content)
    return [Envelope(7, number, f"reader{number}@example.org", email) for number in range(1, count + 1)]


def files(outbox: Path) -> list[Path]:
    return sorted((outbox / "new").iterdir())


def in_a_process(prepare: Callable[[], object], action: Callable[[], str]) -> str:
    """Return the result of `action` in a new process, after `prepare` has changed that process."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            prepare()
            os.write(writer, action().encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        return pipe.read()


def be_no_root() -> None:
    """Drop root privileges, because root can write everywhere."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def sender(outbox: Path) -> MaildirSender:
    return MaildirSender(outbox, clock=lambda: AT)


def test_each_delivery_becomes_a_file_that_mail_readers_read(sender: MaildirSender, outbox: Path) -> None:
    queue = ListedQueue(*envelopes(50))
    sender.deliver(queue)
    read = mailbox.Maildir(outbox, create=False)
    assert sorted(str(each["To"]) for each in read) == sorted(each.address for each in envelopes(50))
    assert [each.recipient_id for each in queue.sent] == list(range(1, 51))
    assert queue.renewals >= 50


def test_the_file_holds_the_message_as_a_delivery_agent_writes_it(outbox: Path) -> None:
    sender = MaildirSender(outbox, clock=lambda: AT)
    sender.deliver(queue := ListedQueue(*envelopes(1, "Grüße\r\n.\nend " + "x" * 2000)))
    (file,) = files(outbox)
    octets = file.read_bytes()
    assert b"\r" not in octets
    assert octets.startswith(b"Return-Path: <no-reply@example.com>\nDelivered-To: reader1@example.org\nDate: Mon, 24")
    assert_same_text(parsed(octets), "Grüße\n.\nend " + "x" * 2000)
    assert queue.outcomes[0].reply == f"saved as {file}"
    assert queue.outcomes[0].at == AT


def test_only_the_owner_sees_the_mail(sender: MaildirSender, outbox: Path) -> None:
    sender.deliver(ListedQueue(*envelopes(1)))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (outbox, *(outbox / name for name in ("tmp", "new", "cur")))]
    assert modes == [0o700] * 4
    assert stat.S_IMODE(files(outbox)[0].stat().st_mode) == 0o600


def test_an_outcome_is_recorded_with_the_next_end(sender: MaildirSender) -> None:
    first, second = envelopes(2)
    sender.deliver(queue := ListedQueue(first, second))
    told = [([outcome.envelope for outcome in outcomes], ending) for outcomes, ending in queue.commits]
    assert told == [([], [first]), ([first], [second]), ([second], [])]


def test_a_delivery_done_again_takes_the_place_of_the_first(sender: MaildirSender, outbox: Path) -> None:
    sender.deliver(ListedQueue(*envelopes(2)))
    before = files(outbox)
    sender.deliver(ListedQueue(*envelopes(2)))
    assert files(outbox) == before
    assert [file.name for file in before] == ["1764000000.T0ken.1", "1764000000.T0ken.2"]


def test_what_a_killed_process_left_does_not_get_in_the_way(sender: MaildirSender, outbox: Path) -> None:
    sender.deliver(ListedQueue())
    (outbox / "tmp" / f"1764000000.T0ken.1.P{os.getpid()}").write_text("half a mess" * 100)
    sender.deliver(ListedQueue(*envelopes(1)))
    assert not list((outbox / "tmp").iterdir())
    assert b"half" not in files(outbox)[0].read_bytes()


def test_a_lost_claim_is_neither_delivered_nor_given_back(sender: MaildirSender, outbox: Path) -> None:
    queue = ListedQueue(*envelopes(3))
    queue.lost = {lost := queue.due[1]}
    sender.deliver(queue)
    assert [file.name for file in files(outbox)] == ["1764000000.T0ken.1", "1764000000.T0ken.3"]
    assert lost not in [outcome.envelope for outcome in queue.outcomes] + queue.given_back
    assert not list((outbox / "tmp").iterdir())


def test_without_the_lease_nothing_ends(sender: MaildirSender, outbox: Path) -> None:
    queue = ListedQueue(*(all_three := envelopes(3)))
    queue.valid_checks = 1
    sender.deliver(queue)
    assert [file.name for file in files(outbox)] == ["1764000000.T0ken.1"]
    assert queue.sent == all_three[:1]
    assert queue.given_back == all_three[1:]


def test_asked_to_stop_it_gives_back_the_rest(sender: MaildirSender, outbox: Path) -> None:
    queue = ListedQueue(*(all_three := envelopes(3)))
    queue.stop_after = 2
    sender.deliver(queue)
    assert (queue.sent, queue.given_back) == (all_three[:2], all_three[2:])
    assert len(files(outbox)) == 2


def test_a_message_that_cannot_be_built_fails_alone(sender: MaildirSender) -> None:
    first, second, third = envelopes(3)
    sender.deliver(queue := ListedQueue(first, second._replace(address="two@b, <c@d>"), third))
    assert [outcome.kind for outcome in queue.outcomes] == [Kind.SENT, Kind.FAILED, Kind.SENT]
    assert "is not a valid address" in queue.outcomes[1].reply
    assert [ending for _, ending in queue.commits] == [[first], [], [third], []]


@pytest.mark.parametrize("path", ["file", "file/outbox", "missing/outbox", "with_a_file"])
def test_a_path_that_cannot_be_a_maildir_is_one_error_with_its_remedy(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "with_a_file").mkdir()
    (tmp_path / "with_a_file" / "new").write_text("")
    queue = ListedQueue(*envelopes(2))
    with pytest.raises(SessionError, match=rf"cannot write to the Maildir .*/{path}: .*; .* EMAIL_URL to another f"):
        MaildirSender(tmp_path / path).deliver(queue)
    assert len(queue.due) == 2


def error_of(sender: MaildirSender, queue: ListedQueue) -> str:
    try:
        sender.deliver(queue)
    except SessionError as error:
        return f"{error.reason} sent {len(queue.sent)} given back {len(queue.given_back)} told {len(queue.commits)}"
    return ""


def test_a_folder_that_may_not_be_written_to_is_one_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MaildirSender(tmp_path / "outbox").deliver(ListedQueue())
    for folder in (tmp_path, *tmp_path.rglob("*")):
        folder.chmod(0o555)
    monkeypatch.chdir(tmp_path)  # another user could not reach this folder by its full path
    sender, queue = MaildirSender(Path("outbox")), ListedQueue(*envelopes(3))
    error = in_a_process(be_no_root, lambda: error_of(sender, queue))
    assert error.startswith("cannot write to the Maildir outbox: Permission denied; give this user write access (c")
    assert error.endswith("sent 0 given back 3 told 0")


def test_a_disk_that_takes_no_more_ends_the_sweep_and_loses_nothing(sender: MaildirSender, outbox: Path) -> None:
    queue = ListedQueue(*envelopes(2), *envelopes(1, "x" * 50_000), *envelopes(1))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))  # noqa: E731
    error = in_a_process(limit, lambda: error_of(sender, queue))
    assert "File too large; raise this user" in error
    assert error.endswith("sent 2 given back 2 told 3")
    assert len(files(outbox)) == 2
    assert not list((outbox / "tmp").iterdir())


def test_a_rename_that_fails_gives_the_envelope_back(sender: MaildirSender, outbox: Path) -> None:
    (outbox / "new" / "1764000000.T0ken.2").mkdir(parents=True)
    queue = ListedQueue(*(all_three := envelopes(3)))
    with pytest.raises(SessionError, match="Is a directory"):
        sender.deliver(queue)
    assert (queue.sent, queue.given_back) == (all_three[:1], all_three[1:])


def test_a_folder_that_vanishes_after_the_rename_leaves_the_delivery_in_doubt(outbox: Path) -> None:
    sender, queue = MaildirSender(outbox), ListedQueue(*(both := envelopes(2)))
    publish = sender.maildir.publish

    def publish_and_vanish(draft: Path, name: str) -> None:
        publish(draft, name)
        shutil.rmtree(outbox)

    sender.maildir.publish = publish_and_vanish  # type: ignore[method-assign]
    with pytest.raises(SessionError, match="No such file"):
        sender.deliver(queue)
    assert [(outcome.envelope, outcome.kind) for outcome in queue.outcomes] == [(both[0], Kind.IN_DOUBT)]
    assert queue.given_back == both[1:]


def test_an_error_of_the_database_goes_out_and_the_outcome_is_recorded_all_the_same(sender: MaildirSender) -> None:
    queue = ListedQueue(*(all_three := envelopes(3)))
    calls = iter([None, DeliveryError("database is locked"), None])

    def fail_the_second() -> None:
        if error := next(calls):
            raise error

    queue.on_commit = fail_the_second
    with pytest.raises(DeliveryError, match="database is locked"):
        sender.deliver(queue)
    assert (queue.sent, queue.given_back) == (all_three[:1], all_three[1:])


def test_a_killed_sender_leaves_no_half_message_where_readers_look(outbox: Path) -> None:
    chance = random.Random(seed := random.randrange(10**9))
    print("seed", seed)
    content = "line\n" * 20_000
    MaildirSender(outbox).deliver(ListedQueue())
    for _ in range(5):
        for file in files(outbox):
            file.unlink()
        if (child := os.fork()) == 0:
            MaildirSender(outbox).deliver(ListedQueue(*envelopes(5_000, content)))
            os._exit(0)
        wait_until(lambda: len(files(outbox)) > 0)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for file in files(outbox):
            assert file.read_bytes().partition(b"\n\n")[2] == content.encode()


def test_what_was_left_in_tmp_for_36_hours_is_removed(tmp_path: Path) -> None:
    sender = MaildirSender(tmp_path / "outbox")
    sender.deliver(ListedQueue())
    left = {hours: tmp_path / "outbox" / "tmp" / f"{hours}.x" for hours in (35, 37)}
    for hours, path in left.items():
        path.write_bytes(b"half a mess")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    (tmp_path / "outbox" / "tmp" / "folder").mkdir()
    os.utime(tmp_path / "outbox" / "tmp" / "folder", (0, 0))
    sender.deliver(ListedQueue())
    assert sorted(each.name for each in (tmp_path / "outbox" / "tmp").iterdir()) == ["35.x", "folder"]
