"""A recipient who unsubscribes or is removed while their message is being sent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import Address
from tests.support.invariants import Mailing, check_whole
from tests.support.servers.smtp_server import Call, Handler, ScriptedServer

ONE_BY_ONE, TOGETHER = ("8BITMIME",), ("PIPELINING", "8BITMIME")
ANSWERS = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on"}
WHO = "r2@example.com"


@pytest.mark.parametrize("offers", [ONE_BY_ONE, TOGETHER], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("verb", ANSWERS)
def test_a_recipient_who_leaves_between_the_claim_and_the_dot_receives_nothing(
    verb: str, offers: tuple[str, ...], tmp_path: Path
) -> None:
    """The final dot is not sent, so that no server accepts a truncated message."""

    def leave() -> None:
        with mailing.database() as database:
            assert database.recipients.remove([Address(WHO, WHO)], datetime.now(UTC)) == 1

    on: dict[str, Handler] = {verb: lambda line, n: (Call(leave), ANSWERS[verb]) if n == 2 else None}
    with ScriptedServer(on=on, offers=offers) as server:
        mailing = Mailing(tmp_path, server, 6, SMTP_CONNECTIONS="1")
        swept = mailing.task()
    assert (swept.returncode, swept.stderr, mailing.log()) == (0, "", ["1"])
    assert sorted(server.recipients) == [f"r{number}@example.com" for number in (0, 1, 3, 4, 5)]
    assert sum(peer.raw.count(b"\r\n.\r\n") for peer in server.peers) == 5
    assert mailing.statuses() == {"sent": 5, "cancelled": 1}
    with mailing.database() as database:
        check_whole(database)
        assert database.connection.fetch_all("SELECT * FROM attempts") == []
