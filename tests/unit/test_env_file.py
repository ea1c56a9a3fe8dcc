"""settings/env_file.py: a changed value is read back the same, and everything else in `.env` stays byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from settings import parsed_variables
from settings.env_file import with_values
from settings.parse import EmailURL, email_url, mailbox, mailbox_text, smtp_url
from tests.support.properties import AT_ANY_SPEED

# Every character that can be typed, and often those that have a meaning in `.env`.
TYPED = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
VALUES = st.text(st.sampled_from("aZ9 '\"\\#$=%@:é日") | TYPED, max_size=20)
LINES = st.sampled_from(
    [
        "# a comment with = and 'a quotation mark",
        "#MAIL_FROM=commented out",
        "",
        "   ",
        "OTHER=plain",
        "OTHER = 'in quotes # not a comment'  # a comment",
        'export OTHER="two\nlines"',
        "SPACED=a value # and a comment",
        "HASH=a#b",
        "MAIL_FROM=first",
        "export MAIL_FROM = 'it\\'s' # mine",
        'MAIL_FROM="a\\"b"#mine',
        "MAIL_FROM= # empty",
        "MAIL_FROM=",
    ]
)
NEWLINES = st.sampled_from(["\n", "\r\n"])


def parsed(text: str) -> dict[str, str]:
    errors: list[str] = []
    variables = parsed_variables(Path(".env"), text, errors)
    assert errors == []
    return variables


@AT_ANY_SPEED
@given(st.lists(LINES, max_size=8), NEWLINES, st.booleans(), VALUES)
def test_the_value_is_read_back_and_everything_else_stays(
    lines: list[str], newline: str, ends: bool, value: str
) -> None:
    text = newline.join(lines) + (newline if ends and lines else "")
    before = parsed(text)
    changed = with_values(text, {"MAIL_FROM": value})
    assert parsed(changed) == before | {"MAIL_FROM": value.strip()}
    if "MAIL_FROM" not in before:
        assert changed.startswith(text)
        added = changed[len(text) :]
        assert added.lstrip("\r\n").startswith("MAIL_FROM=")
        assert added.endswith(newline if newline in text else "\n")
    else:
        number = max(n for n, line in enumerate(lines) if line.removeprefix("export ").startswith("MAIL_FROM"))
        start = len("".join(f"{line}{newline}" for line in lines[:number]))
        rest = text[start + len(lines[number]) :]
        assert changed.startswith(text[:start]) and changed.endswith(rest)
        line = changed[start : len(changed) - len(rest)]
        comment = lines[number].partition("#")[1:]
        assert line.endswith("".join(comment))
        assert line.startswith("export ") == lines[number].startswith("export ")


@AT_ANY_SPEED
@given(VALUES, VALUES)
def test_a_user_name_and_password_are_read_back(user: str, password: str) -> None:
    assume(user and password)
    server = EmailURL("smtp+tls", "smtp.example.com", 587, user, password)
    text = with_values("# mine\n", {"EMAIL_URL": smtp_url(server)})
    assert email_url(parsed(text)["EMAIL_URL"], Path("/nowhere")) == server


@pytest.mark.parametrize("host", ["mail.example.com", "192.0.2.1", "2001:db8::1"])
def test_a_server_without_a_login_is_read_back(host: str) -> None:
    server = EmailURL("smtp", host, 2525)
    assert email_url(smtp_url(server), Path("/nowhere")) == server


@AT_ANY_SPEED
@given(VALUES.map(str.strip))
def test_a_senders_name_is_read_back(name: str) -> None:
    assume("=?" not in name)
    text = with_values("", {"MAIL_FROM": mailbox_text(name, "news@example.com")})
    sender = mailbox(parsed(text)["MAIL_FROM"])
    assert (sender.name, sender.address) == (name, "news@example.com")


def test_a_plain_value_needs_no_quotes() -> None:
    assert with_values("", {"MAIL_FROM": "Ada's Club <a@example.com>"}) == "MAIL_FROM=Ada's Club <a@example.com>\n"


def test_only_the_last_line_of_a_name_changes() -> None:
    text = "MAIL_FROM=one\nMAIL_FROM=two\n\n#MAIL_FROM=three"
    assert with_values(text, {"MAIL_FROM": "new"}) == "MAIL_FROM=one\nMAIL_FROM=new\n\n#MAIL_FROM=three"


def test_a_text_that_is_not_valid_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: expected NAME=value"):
        with_values("A=b\nno setting\n", {"MAIL_FROM": "new"})
