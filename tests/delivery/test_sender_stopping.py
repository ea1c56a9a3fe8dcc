"""When a sender stops: on request, when its queue is empty, or when it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from delivery.interface import Kind
from tests.support.faults.killer import wait_until
from tests.support.servers.fake_queue import FakeQueue, envelopes
from tests.support.servers.smtp_sender import deliver, only, sender
from tests.support.servers.smtp_server import Call, ScriptedServer, Wait


def test_stopping_finishes_what_is_in_flight_and_gives_back_the_rest() -> None:
    on = {"CONTENT": lambda line, n: (Call(lambda: setattr(queue, "stopping", n >= 20)), Wait(0.05), "250 ok")}
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(400))
        sender(server.port).deliver(queue)
    assert not queue.unaccounted
    assert set(queue.kinds.values()) == {Kind.SENT}
    assert len(server.accepted) == len(queue.outcomes) < 40
    assert len(queue.returned) + len(queue.outcomes) + len(queue.todo) == 400


def test_what_has_no_answer_when_the_time_to_stop_is_over_is_in_doubt() -> None:
    on = {
        "CONTENT": lambda line, n: (Call(lambda: setattr(queue, "stopping", True)), Wait(100)) if n == 5 else None,
        "DATA": lambda line, n: Wait(100) if n > 8 else None,
    }
    began = time.monotonic()
    with ScriptedServer(on=on) as server:
        queue = FakeQueue(envelopes(50), connections=2)
        sender(server.port, connections=2, stop_timeout=0.5).deliver(queue)
    assert time.monotonic() - began < 50
    assert not queue.unaccounted
    assert len(queue.of_kind(Kind.IN_DOUBT)) == 1
    assert len(queue.of_kind(Kind.DEFERRED)) == 0
    assert len(queue.of_kind(Kind.SENT)) == len(server.accepted)


def test_a_sender_asked_to_stop_at_once_sends_nothing() -> None:
    with ScriptedServer() as server:
        queue = FakeQueue(envelopes(5))
        queue.stopping = True
        sender(server.port).deliver(queue)
        assert server.peers == []
    assert len(queue.todo) == 5


def test_work_that_comes_while_the_last_message_is_under_way_is_not_left() -> None:
    def more(line: bytes, n: int) -> Any:
        if n:
            return None
        return (Call(lambda: queue.todo.extend(envelopes(9)[5:])), Call(the_others_are_there), "250 ok")

    def the_others_are_there() -> None:
        wait_until(lambda: len(server.accepted) >= 4)

    with ScriptedServer(on={"CONTENT": more}) as server:
        queue = FakeQueue(envelopes(1))
        deliver(server, queue)
        assert len(server.accepted) == 5
        assert server.recipients[-1] == "user0@example.com", "the slow one was not waited for"


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    processes[0].kill()


@pytest.mark.parametrize(
    ("verb", "number"), [("CONTENT", 10), ("DATA", 10), ("RCPT", 10), ("MAIL", 10), ("CONTENT", 0)]
)
def test_a_killed_sender_leaves_at_most_one_message_in_doubt_on_each_connection(
    tmp_path: Path, verb: str, number: int
) -> None:
    log = tmp_path / "log"
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.support.servers.fake_queue import *; from delivery.smtp.sender import *\n"
        "log = open(sys.argv[2], 'a', buffering=1)\n"
        "def write(outcomes, ending):\n"
        "    for o in outcomes: log.write(f'done {o.envelope.recipient_id} {o.kind.value}\\n')\n"
        "    for e in ending: log.write(f'ending {e.recipient_id}\\n')\n"
        "queue = FakeQueue(envelopes(60)); queue.on_commit = write\n"
        "SMTPSender(SMTPServer('127.0.0.1', int(sys.argv[1])), connections=3).deliver(queue)\n"
    )
    sending: list[subprocess.Popen[bytes]] = []
    kill = Call(partial(_kill, sending))
    answer = {"DATA": "354 go"}.get(verb, "250 ok")
    with ScriptedServer(on={verb: only(number, (kill, Wait(0.05), answer))}) as server:
        sending.append(subprocess.Popen([sys.executable, "-c", code, str(server.port), str(log)]))
        assert sending[0].wait(60) == -signal.SIGKILL
        time.sleep(0.1)
    lines = [line.split() for line in log.read_text().splitlines()]
    done = {int(line[1]) for line in lines if line[0] == "done"}
    in_doubt = {int(line[1]) for line in lines if line[0] == "ending"} - done
    accepted = {int(address.removeprefix("user").partition("@")[0]) for address in server.recipients}
    assert len(in_doubt) <= 3
    assert done <= accepted <= done | in_doubt
    assert len(server.recipients) == len(accepted)
