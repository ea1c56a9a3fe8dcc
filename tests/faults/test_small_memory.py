"""Sweeps with too little memory: nothing is lost, only messages in doubt are repeated, and the log says why."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from delivery.message.message import Message
from tests.support.faults.killer import Victim, in_shell
from tests.support.in_process import sweep_once
from tests.support.invariants import Mailing
from tests.support.servers.smtp_server import Call, ScriptedServer

CONNECTIONS, RECIPIENTS = 4, 6
LARGE = "one line of many\n" * 60_000  # a megabyte, so that a sweep's memory is mostly messages


def mailing_of(folder: Path, server: ScriptedServer) -> Mailing:
    """A large email and a small one."""
    folder.mkdir()
    mailing = Mailing(folder, server, RECIPIENTS, SMTP_CONNECTIONS=str(CONNECTIONS))
    mailing.save_email(2, subject="2", content=LARGE)
    return mailing


def memory_needed(folder: Path) -> int:
    """Return the address space that a sweep needs, in kB."""
    victim = Victim()
    peaks: list[int] = []

    def note() -> None:
        status = Path(f"/proc/{victim.pid}/status").read_text()
        peaks.append(int(status.partition("VmPeak:")[2].split()[0]))

    with ScriptedServer(on={"QUIT": lambda line, n: (Call(note), "221 bye")}) as server:
        assert victim.run(mailing_of(folder, server)) == 0
    return max(peaks)


def test_a_sweep_short_of_memory_loses_nothing_and_reports_it(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    needed = memory_needed(tmp_path / "enough")
    moments = random.Random(seed)
    shares = [0.1, 0.6, *(0.8 + (number + moments.random()) / 35 for number in range(7)), 1.1]
    ends = []
    for share in shares:
        with ScriptedServer() as server:
            mailing = mailing_of(tmp_path / f"{share}", server)
            swept = in_shell(mailing, f'ulimit -v {int(needed * share)}; exec "$@"')
            ends.append(swept.returncode)
            assert bool(swept.returncode) == bool(swept.stderr), swept
            assert swept.returncode or mailing.statuses() == {"sent": 2 * RECIPIENTS}
            mailing.finish()
            found = mailing.check(most_in_doubt=CONNECTIONS)
        assert found.statuses == {"sent": 2 * RECIPIENTS}, share
        assert found.doubled <= found.in_doubt, share
    assert (ends[0], ends[-1]) == (127, 0)


@pytest.mark.parametrize("where", ["__init__", "smtp_data", "as_bytes"])
def test_an_email_too_large_for_memory_waits_and_stops_no_other(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(Message, where)

    def too_large(self: Message, *arguments: Any, **values: Any) -> Any:
        if 1 in (values.get("event_id"), getattr(self, "event_id", None)):
            raise MemoryError
        return real(self, *arguments, **values)

    with ScriptedServer() as server:
        mailing = Mailing(tmp_path, server, 3)
        mailing.save_email(2, subject="2")
        if where == "as_bytes":
            mailing.environment["EMAIL_URL"] = f"maildir:{tmp_path}/outbox"
        with monkeypatch.context() as short:
            short.setattr(Message, where, too_large)
            errors = sweep_once(mailing)
        assert mailing.statuses() == Counter(sent=3, queued=3)
        assert ["3 deliveries deferred" in error and "memory" in error for error in errors] == [True]
        mailing.finish()
    assert mailing.statuses() == {"sent": 6}
    assert len(server.accepted) + len(mailing.messages()) == 6
