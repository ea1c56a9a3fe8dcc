"""Sweeps with personal fields: what arrives is what naive rendering gives, and no one is greeted without a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.rendering import AT, message, parsed, text_of
from tests.support.samples.personal_fields import NASTY, Fragment, naive, placeholder

if TYPE_CHECKING:
    from tests.support.servers.postfix import Postfix

NAME, COMPANY, IN_URL = placeholder("name"), placeholder("company", "no company"), placeholder("name", in_url=True)
TEXTS = [
    [Fragment("Dear "), NAME, Fragment(",\r\n."), COMPANY, Fragment("\n"), NAME, Fragment("\n.\n")],
    [Fragment("Größe = 4 \n" * 3 + "für "), NAME, Fragment(" \n"), COMPANY],
    [Fragment("你好，欢迎光临 " * 30), NAME, Fragment("您"), COMPANY, Fragment("x"), NAME, Fragment("。\n")],
    [Fragment("x" * 990), NAME],
    [
        *(Fragment("<!DOCTYPE html><p title='"), NAME, Fragment("'>Dear <b>"), NAME, Fragment("</b> ")),
        *(Fragment('<a href="https://a.example/?q='), IN_URL, Fragment('">link</a> at '), COMPANY),
        Fragment(" \U0001f600\n</p>"),
    ],
    [Fragment("<!DOCTYPE html><p>你好" * 20), NAME, Fragment("，"), COMPANY, Fragment("</p>")],
]


def source(template: list[Fragment]) -> str:
    return "".join(each.source for each in template)


def files(outbox: Path) -> list[bytes]:
    return [file.read_bytes() for file in (outbox / "new").iterdir()]


def make_personal(installation: Installation, *event_ids: int) -> None:
    with installation.database() as database, database.connection.transaction():
        for event_id in event_ids:
            assert database.connection.execute("UPDATE emails SET personal = 1 WHERE event_id = :id", id=event_id)


def set_fields(installation: Installation, fields: Mapping[str, Mapping[str, object] | str | None]) -> None:
    """Store the personal fields of each address."""
    with installation.database() as database, database.connection.transaction():
        for address, values in fields.items():
            text = json.dumps(values) if isinstance(values, Mapping) else values
            sql = "UPDATE recipients SET fields = :fields WHERE address = :address"
            assert database.connection.execute(sql, fields=text, address=address)


def deliveries(installation: Installation) -> dict[str, tuple[str, str | None]]:
    with installation.database() as database:
        return {
            address: (status, reply)
            for address, status, reply in database.connection.fetch_all(
                "SELECT address, status, reply FROM deliveries WHERE event_id = 1"
            )
        }


@pytest.mark.parametrize("way", ["outbox", "smtp", "old"])
def test_what_arrives_equals_naive_rendering(way: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    postfix: Postfix | None = None if way == "outbox" else request.getfixturevalue("postfix")
    installation = Installation(tmp_path, **(postfix.environment(way) if postfix else {}))
    installation.add_recipients(len(NASTY))
    values = {
        f"r{number}@example.com": {"name": value, "short": value if len(value) < 100 else ""}
        for number, value in enumerate(NASTY)
    }
    values["r1@example.com"]["company"] = NASTY[-1]
    set_fields(installation, values)
    for event_id, template in enumerate(TEXTS):
        installation.save_email(event_id, subject=f"{event_id} {{{{ short | - }}}}", content=source(template))
    make_personal(installation, *range(len(TEXTS)))
    assert sweep_once(installation) == [], installation.log()
    arrived = {}
    for octets in postfix.received() if postfix else files(tmp_path / "outbox"):
        email = parsed(octets)
        arrived[int(email["Subject"].split(" ")[0]), str(email["To"])] = email
    assert len(arrived) == len(TEXTS) * len(NASTY)
    for (event_id, address), email in arrived.items():
        fields, content = values[address], source(TEXTS[event_id])
        is_html = content.startswith("<")
        expected = naive(TEXTS[event_id], fields, html=is_html)
        subject = f"{event_id} {fields['short'] or '-'}"
        ordinary = parsed(message(subject, expected).as_bytes("a@b.example", 1, AT, eight_bit=True))
        assert email["Subject"] == ordinary["Subject"]
        parts = [[part for part in each.walk() if not part.is_multipart()] for each in (email, ordinary)]
        assert [part.get_content_type() for part in parts[0]] == [part.get_content_type() for part in parts[1]]
        assert text_of(parts[0][-1]) == text_of(parts[1][-1])


def test_a_delivery_without_a_value_fails_with_a_reason_and_can_be_retried(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add_recipients(3)
    installation.save_email(1, subject="For {{ first_name | you }}", content="Dear {{ first_name }}")
    make_personal(installation, 1)
    set_fields(installation, {"r0@example.com": {"first_name": "Ada"}, "r1@example.com": {"other": "x"}})
    reason = "no value for {{ first_name }}"
    assert sorted(line.split(" ", 2)[-1] for line in sweep_once(installation)) == sorted(
        line.split(" ", 2)[-1] for line in installation.log() if reason in line
    )
    assert deliveries(installation) == {
        "r0@example.com": ("sent", deliveries(installation)["r0@example.com"][1]),
        "r1@example.com": ("failed", reason),
        "r2@example.com": ("failed", reason),
    }
    assert [text_of(email) for email in installation.messages()] == ["Dear Ada\n"]
    with installation.database() as database:
        assert database.recipients.counts()["active"] == 3
        assert [reply for (reply,) in database.connection.fetch_all("SELECT reply FROM attempts")] == [reason] * 2
    set_fields(installation, {"r1@example.com": {"first_name": "Bob"}})
    assert retry(installation) == 2
    sweep_once(installation)
    assert {address: status for address, (status, _) in deliveries(installation).items()} == {
        "r0@example.com": "sent",
        "r1@example.com": "sent",
        "r2@example.com": "failed",
    }


def retry(installation: Installation) -> int:
    with installation.database() as database:
        return database.deliveries.retry(1, datetime.now(UTC), ["failed"], None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"link": "javascript:alert(1)"}, "the value of {{ link }} does not begin with https://, http:// or mailto:"),
        ({"link": "https://a.example/\r\nx"}, "the value of {{ link }} contains U+000D"),
        ({"link": 7}, None),
        ("not JSON", "no value for {{ link }}"),
        ("[1]", "no value for {{ link }}"),
        (None, "no value for {{ link }}"),
    ],
)
def test_values_that_cannot_be_used_stop_nobody_else(
    fields: Mapping[str, object] | str | None, reason: str | None, tmp_path: Path
) -> None:
    installation = Installation(tmp_path)
    installation.add_recipients(2)
    set_fields(installation, {"r0@example.com": fields, "r1@example.com": {"link": "https://a.example/"}})
    installation.save_email(1, content='<!DOCTYPE html><a href="{{ link }}">Ticket</a>')
    make_personal(installation, 1)
    sweep_once(installation)
    made = deliveries(installation)
    assert made["r1@example.com"][0] == "sent"
    assert made["r0@example.com"][0] == "failed"
    assert reason is None or made["r0@example.com"][1] == reason


def test_without_personal_braces_go_out_as_they_are(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add_recipients(1)
    set_fields(installation, {"r0@example.com": {"name": "Ada"}})
    installation.save_email(1, subject="{{ name }}", content="Dear {{ name }}, {{{{ {% x %}")
    sweep_once(installation)
    (email,) = installation.messages()
    assert (email["Subject"], text_of(email)) == ("{{ name }}", "Dear {{ name }}, {{{{ {% x %}\n")
