"""An error that stops the sender is shown everywhere at once, in the same words, until mail is sent again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape
from pathlib import Path

import pytest

from tests.support.ports import unused_port
from tests.support.servers.smtp_server import Call, ScriptedServer
from tests.support.web.api_client import Api
from web.services import services_of

WRONG_PASSWORD = "535 5.7.8 authentication failed"
METRIC = re.compile(r'email_endpoint_sender_error_seconds\{kind="mail_server"\} ([0-9.]+)')
MakeApi = Callable[[str], Api]


@pytest.fixture
def make_api(
    where: dict[str, str], tmp_path: Path, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeApi]:
    """Make an installation with this EMAIL_URL, in which email 1 is due."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with ExitStack() as closing:

        def make(email_url: str) -> Api:
            api = Api(tmp_path, EMAIL_URL=email_url, **where)
            closing.callback(api.close)
            api.installation.add_recipients(3)
            api.installation.save_email(1, saved_ago=3600, due_in=-3600)
            return api

        yield make


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def places(api: Api) -> dict[str, str]:
    """Return what each place that reports on sending says now."""
    services = services_of(api.app)
    for check in (services.checks, services.alerts, services.readiness, services.metrics):
        check.ttl = 0
    pages = {name: text_of(api.client.get(path).text) for name, path in PAGES.items()}
    runner = api.app.test_cli_runner()
    commands = {name: runner.invoke(args=name.split()).output for name in ("check", "emails show 1")}
    return {**pages, "readyz": api.client.get("/readyz").text, **commands}


PAGES = {"schedule": "/", "email": "/emails/1", "recipients": "/recipients", "health": "/health"}


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        pytest.param("535 5.7.8 authentication failed", "password in EMAIL_URL", id="wrong password"),
        pytest.param("Connection refused", "host and port in EMAIL_URL", id="nothing listens"),
        pytest.param("Name or service not known", "host and port in EMAIL_URL", id="unknown host"),
    ],
)
def test_every_place_names_the_reason_and_the_remedy_until_mail_is_sent(
    make_api: MakeApi, certificate: str, reason: str, remedy: str
) -> None:
    with ScriptedServer(certificate=certificate, offers=("STARTTLS",), offers_in_tls=("AUTH PLAIN",)) as server:
        url = f"smtp+tls://user:wrong@localhost:{server.port}"
        if reason == "Connection refused":
            url = f"smtp://127.0.0.1:{unused_port()}"
        elif reason.startswith("Name"):
            url = "smtp://mail.invalid"
        server.script.on = {"AUTH": lambda line, nth: WRONG_PASSWORD}
        api = make_api(url)
        assert [reason in line for line in api.sweep()] == [True]
        found = places(api)
        assert {name for name, text in found.items() if reason in text} == set(found)
        assert {name for name, text in found.items() if remedy in text} == set(found) - {"email", "recipients"}
        assert not any("makecron" in text for name, text in found.items() if name not in ("check", "health"))
        assert METRIC.search(api.client.get("/metrics").text)

        server.script.on = {}
        api.installation.environment["EMAIL_URL"] = f"smtp+tls://user:right@localhost:{server.port}"
        assert api.sweep() == []
    # `flask check` logs in with the settings that this application was started with.
    assert [name for name, text in places(api).items() if reason in text and name != "check"] == []
    assert float(METRIC.findall(api.client.get("/metrics").text)[0]) == 0


def test_the_error_is_gone_with_the_first_message_that_is_accepted(make_api: MakeApi) -> None:
    seen: list[int] = []

    def count_errors() -> None:
        with api.installation.database() as database:
            seen.append(len(database.sender_errors.current()))

    with ScriptedServer(on={"EHLO": lambda line, nth: "421 4.3.2 not now"}) as server:
        api = make_api(f"smtp://127.0.0.1:{server.port}")
        api.installation.environment["SMTP_CONNECTIONS"] = "1"
        api.sweep()
        server.script.on = {"MAIL": lambda line, nth: (Call(count_errors), "250 ok")}
        api.sweep()
        count_errors()
    assert seen[0] == 1 and seen[-1] == 0


@pytest.mark.parametrize("ahead", [0, 3600])
def test_the_metric_is_above_zero_from_the_first_second_whatever_the_clock_did(make_api: MakeApi, ahead: int) -> None:
    api = make_api("smtp://mail.invalid")
    with api.installation.database() as database:
        database.sender_errors.record("mail_server", "refused", int(time.time()) + ahead)
    assert float(METRIC.findall(api.client.get("/metrics").text)[0]) >= 1


def test_a_refused_recipient_is_not_an_error_of_the_sender(make_api: MakeApi) -> None:
    with ScriptedServer(on={"RCPT": lambda line, nth: "550 5.1.1 no such user"}) as server:
        api = make_api(f"smtp://127.0.0.1:{server.port}")
        api.sweep()
        with api.installation.database() as database:
            assert database.sender_errors.current() == []
