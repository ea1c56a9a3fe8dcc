"""/docs: the page lists the whole API, its links work, and its commands do what it says."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from email_app import create_app
from settings import Settings
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.web_server import serve
from web.api.openapi import FILE
from web.pages.openapi_reader import prose

TOKEN = "a-token-of-sixteen"
COMMAND = re.compile(r'aria-label="cURL: [^"]*"><code>(curl .*?)</code>', re.DOTALL)


@pytest.fixture
def page(settings: Settings) -> str:
    answer = client(settings).get("/docs")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    return answer.text


def client(settings: Settings) -> FlaskClient:
    return create_app(settings._replace(secret_key="k" * 16)).test_client()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = json.loads(FILE.read_bytes())["paths"].items()
    return [(m.upper(), path, item[m]) for path, item in paths for m in item if m != "parameters"]


def commands(page: str) -> list[str]:
    return [unescape(command) for command in COMMAND.findall(page)]


def test_every_operation_is_described(page: str) -> None:
    for method, path, operation in operations():
        heading = f'<h3 id="{operation["operationId"]}">{prose(operation["summary"])}</h3>'
        assert heading in page
        assert prose(operation["summary"]) in page and prose(operation.get("description", "")) in page
        section = page.partition(heading)[2].partition("</section>")[0]
        assert f"{method}</span>{path}</p>" in section
        assert all(f'good">{status}</b>' in section for status in operation["responses"] if status[0] == "2")
    assert len(commands(page)) == len(operations())


def test_what_most_will_use_comes_first(page: str) -> None:
    assert re.findall(r'<h3 id="(\w+)"', page)[0] == "sendEmails"
    fields = page.partition('<h3 id="sendEmails"')[2].partition("</section>")[0]
    for name in ("event_id", "email_subject", "email_content", "timestamp"):
        assert f"<li><code>{name}</code>" in fields


def test_every_link_on_the_page_leads_somewhere(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_every_field_is_told_with_what_it_can_be(page: str) -> None:
    for text in (
        "<li><code>order</code> <code>asc</code> or <code>desc</code>",
        " integer, 1 to 1,000, default 100<p>The maximum number of items per page</p>",
        " <code>saved</code> or <code>identical</code> or <code>different</code> or <code>invalid</code>",
        "<li><code>errors[].message</code>",
        "<li><code>lateness.last_seconds</code>",
        '(list of <a href="#Email">Email</a>)',
    ):
        assert text in page


def test_headings_are_in_order(page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_it_is_light(page: str) -> None:
    assert len(page.encode()) < 80_000 and "<script" not in page.replace('<script src="/static/', "")


def test_commands_name_this_server_and_ask_for_a_token_where_one_is_needed(settings: Settings) -> None:
    opened = client(settings)
    assert all(
        command.startswith("curl http://localhost:8080/")
        for command in commands(opened.get("/docs", base_url="http://localhost:8080").text)
    )
    closed = client(settings._replace(api_tokens=(TOKEN,), public_url="https://mail.example.com/post"))
    page = closed.get("/docs", headers={"Authorization": f"Bearer {TOKEN}"}).text
    for command in commands(page):
        is_open = "/healthz" in command or "/readyz" in command
        assert command.startswith("curl https://mail.example.com/post/")
        assert ('-H "Authorization: Bearer $API_TOKEN"' in command) is not is_open
    assert TOKEN not in page and closed.get("/docs").status_code == 401


def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    """In the order of the page: the form saves email 1, which later commands use."""
    Installation(tmp_path)
    statuses = {}
    with serve(tmp_path, unused_port(), API_TOKEN=TOKEN) as server:
        page = server.request("GET", "/docs", headers={"Authorization": f"Bearer {TOKEN}"}).body
        for command in commands(page):
            shell = ["sh", "-c", f"{command} -sS -o /dev/null -w '%{{http_code}}'"]
            environment = CLEAN_ENVIRONMENT | {"API_TOKEN": TOKEN}
            run = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True, timeout=30)
            statuses[command] = run.stdout
    wrong = {command: status for command, status in statuses.items() if status not in ("200", "201", "204")}
    # Nothing was sent yet, so there is nothing to retry, release or decide. The recipient and the list were removed.
    gone = ("/lists/gala-2026/members", "/deliveries/1", "ada@example.com/reactivate", "ada@example.com/deliveries")
    expected = {"409": ("/retry", "/release"), "404": gone, "503": ("/readyz",)}
    for command, status in wrong.items():
        assert any(end in command for end in expected.get(status, ())), (command, status)
