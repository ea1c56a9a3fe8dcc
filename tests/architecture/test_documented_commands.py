"""Commands in the docs: none exposes a secret to other users of the machine, or to the shell's history."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("storage/migrations/*.md")]
SECRET = re.compile(
    r"PASSWORD|SECRET|:[^/@ ]+@[\w.]|\bTOKEN\b|a-long-random|Bearer|--password|--token |-u \w+:"
    r"|\$\{?\w*(URL|TOKEN|SECRET)"
)
SETTING = re.compile(r"[A-Z][A-Z_]*=.*|#.*|")  # a line of `.env`


def commands(text: str) -> list[str]:
    """Return the commands in the shell blocks, without comments. Blocks of settings show a file, and are left out."""
    blocks = [block.splitlines() for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL)]
    lines = [line for block in blocks if not all(map(SETTING.fullmatch, block)) for line in block]
    return [re.sub(r"(^|\s)#.*", "", line) for line in lines]


def given_away(text: str) -> list[str]:
    return [line for line in commands(text) if SECRET.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_documented_command_holds_a_secret(page: Path) -> None:
    assert given_away(page.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'pg_dump --file=email.dump "$DATABASE_URL"',
        "flask copy-database sqlite:///email.db postgresql://email:hunter2@db.example.com/email",
        "echo 'DATABASE_URL=postgresql://email:PASSWORD@db/email' >> .env",
        "curl -H 'Authorization: Bearer x' http://127.0.0.1:5000/api/emails",
        "python test_client.py --token TOKEN",
    ],
)
def test_a_command_with_a_secret_would_be_found(line: str) -> None:
    assert given_away(f"```sh\n{line}\n```") == [line]


def test_every_kind_of_page_is_looked_at() -> None:
    assert {"README.md", "deploy.md", "backup.md"} <= {page.name for page in PAGES}
    assert sum(len(commands(page.read_text())) for page in PAGES) > 50
