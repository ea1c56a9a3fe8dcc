"""The README and the API page: their commands work in a fresh copy of the project, and the responses are right."""

from __future__ import annotations

import os
import re
import subprocess
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from email_app import create_app
from settings import load_settings
from settings.parse import email_url, mailbox
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.installation import PROJECT, Installation
from tests.support.ports import unused_port
from tests.support.service import give_venv, linux_only, started, wait_until

if TYPE_CHECKING:
    from tests.support.servers.cron_daemon import Crontab

README = (PROJECT / "README.md").read_text(encoding="utf-8")
API = (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")
MAIL_SERVER = (PROJECT / "docs" / "mail-server.md").read_text(encoding="utf-8")
# Commands are in shell blocks, and in the text between backticks.
COMMAND = re.compile(r"```sh\n(.*?)```|(?<!`)`((?:\./|touch |flask |python )[^`\n]+)`", re.DOTALL)
# These run until they are stopped. On Windows, the second one differs.
SERVICES = ("./start_flask.sh --demo", "./start_flask.sh")
WIZARD = "flask setup"  # asks questions; tests/commands/test_setup.py answers them in a terminal
FLASK = '#!/bin/sh\nexec "$(dirname "$0")/python" -m flask "$@"\n'
TOKEN = "a-token-of-the-tests"
CHUNKED: dict[str, Any] = {
    "content_type": "application/x-www-form-urlencoded",
    "environ_overrides": {"wsgi.input_terminated": True},
    "headers": {"Transfer-Encoding": "chunked"},
}
FORM = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}


def commands(page: str) -> list[str]:
    """Return the blocks and the single commands of a page, in their order, without comments."""
    return [re.sub(" +# .*", "", block or inline).strip() for block, inline in COMMAND.findall(page)]


@pytest.fixture
def project(project_copy: Path) -> Path:
    give_venv(project_copy)
    flask = project_copy / ".venv" / "bin" / "flask"
    flask.write_text(FLASK)
    flask.chmod(0o755)
    (project_copy / "people.csv").write_text("recipient_email,name\nlinus@example.com,Linus\n")
    return project_copy


@linux_only
def test_every_command_works_in_a_fresh_copy(project: Path, own_crontab: Crontab) -> None:
    found = commands(README)
    assert set(SERVICES) < set(found) and {"./makecron.sh", "./makecron.sh --remove"} < set(found)
    others = [each for each in (*found, *commands(API)) if each not in (*SERVICES, "python test_client.py")]
    lines = [line for each in others for line in each.splitlines() if line != WIZARD]
    script = "\n".join(["set -eux", *dict.fromkeys(lines)])  # a command that appears twice runs once
    ports = {name: str(unused_port()) for name in SERVICES}
    demo, service = (started(project, *name.split()[1:], PORT=ports[name]) for name in SERVICES)
    with demo as shown, service as running:
        assert running.has_printed("Running at "), running.output
        done = run(project, script.replace(":5000", f":{ports[SERVICES[1]]}"))
        assert done.returncode == 0, done.stderr
        assert not own_crontab.read()
        assert (project / ".env").stat().st_mode & 0o777 == 0o600
        for text in ("2 added", "1 added", "linus@example.com\tactive", "Successful", "email 1: scheduled"):
            assert text in done.stdout
        assert wait_until(lambda: shown.output.count(": delivered ") == 3), shown.output
        check_sample(shown.output, ports[SERVICES[0]])


def run(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a user of the copy would. Its mail stays in the outbox."""
    environ = CLEAN_ENVIRONMENT | {"PATH": os.environ["PATH"], "EMAIL_URL": "maildir:outbox"}
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=120)


def check_sample(output: str, port: str) -> None:
    """Compare the output of the demo with the README's. Numbers and times differ."""
    (sample,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    for line in sample.replace(":5000", f":{port}").splitlines():
        pattern = re.sub(r"18:30:04|4711|0\.02", r"[\\d:.]+", re.escape(line).replace(r"0\.02", "0.02"))
        assert re.search(f"^{pattern.replace('…', '.*')}$", output, re.MULTILINE), line


def test_every_sample_of_a_mail_server_is_a_valid_setting() -> None:
    text = README + MAIL_SERVER
    urls = [*re.findall(r"^EMAIL_URL=(.*)$", text, re.MULTILINE), *re.findall(r"\| `(smtp\S+)` \|", text)]
    assert len(urls) == 14
    for url in urls:
        assert email_url(url, PROJECT).host
    for sender in re.findall(r"^MAIL_FROM=(.*)$", text, re.MULTILINE):
        assert mailbox(sender).address == "news@example.com"


def documented(page: str) -> set[tuple[int, str]]:
    """Return the responses in the tables of a page: status and text."""
    cells = re.findall(r"^\| ([0-9]{3}(?:, [0-9]{3})*) (`.*?`) \|", page, re.MULTILINE)
    return {
        (int(status), text)
        for statuses, texts in cells
        for status in statuses.split(", ")
        for text in re.findall("`(.*?)`", texts)
    }


def test_the_service_gives_every_response_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def application(**environment: str) -> FlaskClient:
        return create_app(Installation(tmp_path, **environment).settings).test_client()

    def post(client: FlaskClient, **fields: str) -> TestResponse:
        return client.post("/send-emails", data=FORM | fields)

    open_to_all, guarded, limited = (
        application(MAX_BODY="1kB"),
        application(API_TOKEN=TOKEN),
        application(RATE_LIMIT="1"),
    )
    no_database = create_app(load_settings({}, tmp_path / "empty")).test_client()
    responses = [
        post(open_to_all),
        post(open_to_all),
        post(open_to_all, email_subject="T"),
        post(open_to_all, timestamp=""),
        post(open_to_all, event_id="one"),
        post(open_to_all, timestamp="tomorrow"),
        post(open_to_all, email_subject="a\nb"),
        post(open_to_all, email_content="x" * 1000),
        open_to_all.post("/send-emails", data="{}", content_type="application/json"),
        open_to_all.post("/send-emails", input_stream=BytesIO(b"event_id=1"), **CHUNKED),
        open_to_all.post("/send-emails", data=FORM, environ_base={"REMOTE_ADDR": "192.0.2.1"}),
        post(guarded),
        *(post(limited) for _ in range(2)),
        post(no_database),
    ]
    assert "Retry-After" in responses[-1].headers and "Retry-After" in responses[-2].headers
    assert "identical" in responses[1].text and "different" in responses[2].text
    monkeypatch.setattr("web.form.READ_TIMEOUT", -1)
    responses.append(post(open_to_all))
    rows = documented(README) | documented(API)
    given = {row for row in rows for each in responses if matches(each, *row)}
    assert given == rows
    assert [each.text for each in responses if not any(matches(each, *row) for row in rows)] == []


def matches(response: TestResponse, status: int, text: str) -> bool:
    pattern = ".*".join(map(re.escape, re.split(" *… *", text)))
    return response.status_code == status and re.fullmatch(pattern, response.text) is not None
