"""A power cut loses unsynced data, but never the record of a message that ended. Only the last are repeated."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.sqlite.wal import lost_commits
from tests.support.faults.killer import STRACE
from tests.support.faults.power_cut import Disk, Event, Wire, traced
from tests.support.in_process import sweep_once
from tests.support.invariants import Mailing
from tests.support.servers.smtp_server import Accepted, ScriptedServer

MESSAGES, CONNECTIONS = 6, 2
STATUS = "SELECT status FROM deliveries WHERE address = :address"
RESTART = "UPDATE senders SET clock = 'an earlier start of this machine'"
pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


class Sweep(NamedTuple):
    """A traced sweep: the files before it, its system calls, and what the server accepted."""

    before: dict[str, bytes]
    events: list[Event]
    accepted: dict[str, Accepted]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("traced")
    with ScriptedServer() as server:
        mailing = Mailing(folder, server, MESSAGES, SMTP_CONNECTIONS=f"{CONNECTIONS}")
        before = {"email.db": (folder / "email.db").read_bytes()}
        events = traced(mailing, folder / "trace")
    assert len(server.accepted) == MESSAGES
    return Sweep(before, events, {message.recipient.decode(): message for message in server.accepted})


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Mailing]:
    """Return the installation after the power cut."""
    with ScriptedServer() as server:
        yield Mailing(tmp_path, server, 0, SMTP_CONNECTIONS=f"{CONNECTIONS}")


def restore(mailing: Mailing, files: dict[str, bytes], accepted: list[Accepted]) -> None:
    for file in mailing.folder.glob("email.db*"):
        file.unlink()
    for name in ("email.db", "email.db-wal"):
        if name in files:
            (mailing.folder / name).write_bytes(files[name])
    assert lost_commits(mailing.folder / "email.db-wal") == 0
    mailing.server.wait_until_idle()
    mailing.server.accepted[:] = accepted
    with mailing.database() as database:
        database.connection.execute(RESTART)


def test_no_message_ends_before_the_disk_has_that_it_is_being_sent(swept: Sweep, later: Mailing) -> None:
    disk, wire, ended = Disk(swept.before), Wire(), 0
    for event in swept.events:
        disk.apply(event)
        recipients = wire.ends(event) if event.name == "sendto" else []
        if recipients:
            assert disk.is_synced("email.db-wal"), f"written and not synced when the dot left: {recipients}"
            restore(later, disk.after_a_power_cut(), [])
            with later.database() as database:
                rows = [database.connection.fetch_one(STATUS, address=address) for address in recipients]
            assert rows == [("sending",)] * len(recipients)
        ended += len(recipients)
    assert ended == MESSAGES


def test_a_power_cut_at_any_time_loses_nothing_and_doubles_at_most_one_message_a_connection(
    swept: Sweep, later: Mailing
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    luck, disk, wire = random.Random(seed), Disk(swept.before), Wire()
    accepted: list[Accepted] = []
    cuts = doubled = 0
    for event in swept.events:
        for lucky in (None, luck):
            doubled += _doubled_after(later, disk.after_a_power_cut(lucky), accepted)
            cuts += 1
        disk.apply(event)
        accepted += [swept.accepted[address] for address in (wire.ends(event) if event.name == "sendto" else [])]
    print(f"{cuts} power cuts, {doubled} messages doubled")
    assert cuts > 50


def _doubled_after(mailing: Mailing, files: dict[str, bytes], accepted: list[Accepted]) -> int:
    restore(mailing, files, accepted)
    assert sweep_once(mailing) == []
    found = mailing.check(most_in_doubt=CONNECTIONS)
    assert found.statuses == {"sent": MESSAGES}
    return found.doubled
