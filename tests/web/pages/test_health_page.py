"""/health: problems and how to fix them, without secrets. It works without the database too."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from database import Database, Hour
from monitoring import delivery_health
from monitoring.finding import Finding
from tests.support.servers.smtp_server import SILENCE, ScriptedServer
from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from tests.support.web.login import BROWSER, log_in
from web.pages import health
from web.services import services_of

TOKEN = "first-token-of-two"


@pytest.fixture
def sqlite_api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def get(api: Api, path: str = "/health", status: int = 200) -> str:
    answer = api.client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    return answer.text


def look_anew(api: Api) -> None:
    services = services_of(api.app)
    for check in (services.checks, services.mail_server_check, services.alerts):
        check.ttl = 0


def found(page: str) -> list[tuple[str, str, str]]:
    """Return the level, subject and text of each finding."""
    rows = re.findall(r'<li class="\w+" data-level="(\w+)">.*?<b>(.*?)</b>.*?<p>(.*?)</p>', page, re.DOTALL)
    return [(level, subject.lower(), text) for level, subject, text in rows]


def press(api: Api) -> TestResponse:
    """Press the button, and return the page that follows."""
    form = {"csrf_token": csrf_token(get(api))}
    return api.client.post("/health/mail-server", data=form, follow_redirects=True)


def sweep_was(api: Api, seconds: float) -> None:
    """Set the time of the last sweep to `seconds` ago."""
    with api.installation.database() as database:
        database.record_heartbeat(int(time.time() - seconds))


def test_what_is_found_is_told_the_bad_first_with_its_remedy(api: Api) -> None:
    look_anew(api)
    sweep_was(api, 20 * 60)
    page = get(api)
    levels = [level for level, _, _ in found(page)]
    assert levels == sorted(levels, key=health.LEVELS.index) and levels[0] == "error"
    assert {"settings", "database", "disk", "clock", "zone", "sender", "overdue", "stalled", "cron"} <= {
        subject for _, subject, _ in found(page)
    }
    assert "The sender is not running (last check 20 min" in page and "<code>./makecron.sh</code>" in page
    assert "1 error" in page


def test_the_last_hours_are_told_as_a_table_and_drawn(api: Api) -> None:
    api.installation.add_recipients(3)
    api.installation.save_email(1)
    assert api.sweep() == []
    page = get(api)
    first_row = page.partition('<div class="hours">')[2].partition("<tbody>")[2].partition("</tr>")[0]
    assert re.findall(r'<td class="number" data-label="\w+">(\d+)</td>', first_row) == ["3", "0", "0", "0"]
    assert all(page.count(f'<rect class="bar {tone}"') == health.HOURS for tone in ("good", "bad", "warn"))
    assert 'y="25.0" height="75.0"' in page and "<span>4</span><span>2</span><span>0</span>" in page


def test_a_chart_is_in_scale_with_its_tallest_hour() -> None:
    nine, ten = datetime(2026, 11, 25, 9, tzinfo=UTC), datetime(2026, 11, 25, 10, tzinfo=UTC)
    hours = health._every_hour([Hour(ten, 6, 0, 2, 2), Hour(nine, 5)], now=ten + timedelta(minutes=59))
    columns = health._columns(hours)
    assert [column[1:] for column in columns[-2:]] == [(25.0, 0.0, 0.0), (30.0, 10.0, 10.0)]
    assert len(columns) == health.HOURS and columns[0].sent == 0
    assert [column.latest for column in columns[-2:]] == ["", ""]


def test_settings_are_told_with_their_source_and_never_a_secret(tmp_path: Path) -> None:
    secret = "hunter2-hunter2-hunter2"
    url = f"smtp+tls://{secret}:{secret}@mail.example.com:587"
    api = Api(tmp_path, EMAIL_URL=url, SECRET_KEY=secret, SENDERS="3", REDIS_URL=f"redis://:{secret}@h:6379/0")
    page = get(api)
    assert secret not in page and "hunter2" not in page
    assert "smtp+tls://…@mail.example.com:587" in page and "set, not shown" in page
    row = page.partition("<code>SENDERS</code>")[2].partition("</tr>")[0]
    assert "<bdi>3</bdi>" in row and "environment" in row
    api.close()


def test_versions_are_told(api: Api) -> None:
    page = get(api)
    assert all(f"<dt>{name}</dt>" in page for name in ("email-endpoint", "Python", "Flask"))
    assert "<dt>SQLite</dt>" in page or "<dt>PostgreSQL</dt>" in page


def test_a_view_opens_no_connection_to_the_mail_server_and_the_button_does(tmp_path: Path) -> None:
    with ScriptedServer(offers=("AUTH PLAIN",)) as server:
        api = Api(tmp_path, EMAIL_URL=f"smtp://me:hunter2@127.0.0.1:{server.port}")
        assert "accepted the login" not in get(api)
        page = press(api)
        assert page.request.path == "/health" and "accepted the login as me" in page.text
        assert "hunter2" not in page.text
        assert "accepted the login" not in get(api)  # shown once: reloading does not repeat it
        api.close()


def test_a_mail_server_that_refuses_or_hangs_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.mail_server.LOGIN_TIMEOUT", 0.5)
    (tmp_path / "refuses").mkdir()
    (tmp_path / "hangs").mkdir()
    with ScriptedServer(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "535 5.7.8 <b>bad</b>"}) as server:
        api = Api(tmp_path / "refuses", EMAIL_URL=f"smtp://me:hunter2@127.0.0.1:{server.port}")
        page = press(api).text
        assert "535 5.7.8 &lt;b&gt;bad&lt;/b&gt;" in page and "check the user name and password" in page
        api.close()
    with ScriptedServer(on={"CONNECT": lambda line, n: SILENCE}) as server:
        api = Api(tmp_path / "hangs", EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        assert "timed out at GREETING" in press(api).text
        api.close()


def test_the_test_is_for_forms_of_this_service_only(sqlite_api: Api) -> None:
    assert sqlite_api.client.post("/health/mail-server").status_code == 400
    assert sqlite_api.client.get("/health/mail-server").status_code == 405


def test_without_its_database_the_page_still_answers_and_says_so(sqlite_api: Api) -> None:
    look_anew(sqlite_api)
    get(sqlite_api)
    file = sqlite_api.installation.folder / "email.db"
    kept = file.rename(file.with_name("kept"))
    page = get(sqlite_api)
    assert found(page)[0][:2] == ("error", "database") and "There is no database at" in page
    assert "the database is not responding" in page
    kept.rename(file)
    assert "There is no database at" not in get(sqlite_api)


def test_a_process_that_never_reached_its_database_answers_too(tmp_path: Path) -> None:
    api = Api(tmp_path, EMAIL_URL="smtp://127.0.0.1:1")
    (tmp_path / "email.db").unlink()
    page = get(api)
    assert "There is no database at" in page and "Test the mail server" not in page
    api.close()


def test_while_the_database_is_busy_the_page_answers(sqlite_api: Api) -> None:
    look_anew(sqlite_api)
    with sqlite_api.installation.database() as database, database.connection.transaction():
        page = get(sqlite_api)
    assert ("error", "database") in [row[:2] for row in found(page)] and "database is locked" in page


def test_without_the_database_a_session_gets_the_reason_and_a_token_the_page(tmp_path: Path) -> None:
    api = Api(tmp_path, API_TOKEN=TOKEN)
    look_anew(api)
    log_in(api.client, TOKEN)
    get(api)
    (tmp_path / "email.db").rename(tmp_path / "kept")
    page = get(api, "/health", 503)
    assert "There is no database at" in page and "flask init-db" in page
    answer = api.client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200 and ("error", "database") in [row[:2] for row in found(answer.text)]
    api.close()


class TestAlarm:
    """Every page shows an alert while mail is not going out."""

    def test_nothing_is_said_while_all_is_well(self, api: Api) -> None:
        assert "How to fix this" not in get(api, "/recipients")

    def test_a_late_sender_and_overdue_emails_are_told_on_every_page(self, api: Api) -> None:
        look_anew(api)
        sweep_was(api, 14 * 60)
        for number in (1, 2):
            api.installation.save_email(number, due_in=-600, saved_ago=900)
        for path, status in (("/recipients", 200), ("/outbox", 200), ("/nothing", 404)):
            page = get(api, path, status)
            assert "The sender is not running (last check 14 min" in page
            assert "2 emails are overdue (the first by 10 min" in page
            assert 'href="/health">How to fix this</a>' in page
        assert "How to fix this" not in get(api, "/health")

    def test_strangers_are_told_nothing(self, tmp_path: Path) -> None:
        api = Api(tmp_path, API_TOKEN=TOKEN)
        sweep_was(api, 14 * 60)
        assert "looked" not in get(api, "/login")
        api.close()

    def test_many_pages_look_once_in_a_few_seconds(self, sqlite_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        looks: list[Database] = []

        def check_delivery_health(database: Database, scheduler: str, now: datetime) -> Iterator[Finding]:
            looks.append(database)
            return iter(())

        monkeypatch.setattr(delivery_health, "check_delivery_health", check_delivery_health)
        for _ in range(20):
            get(sqlite_api, "/recipients")
        assert len(looks) == 1

    def test_a_page_that_is_asked_for_again_is_another_one_once_something_is_wrong(self, sqlite_api: Api) -> None:
        look_anew(sqlite_api)
        first = sqlite_api.client.get("/", headers={"Accept": "text/html"})
        sweep_was(sqlite_api, 14 * 60)
        again = {"Accept": "text/html", "If-None-Match": first.headers["ETag"]}
        assert sqlite_api.client.get("/", headers=again).status_code == 200


def test_a_button_logs_everyone_out(tmp_path: Path, where: dict[str, str]) -> None:
    api = Api(tmp_path, API_TOKEN=TOKEN, **where)
    log_in(api.client, TOKEN)
    page = get(api)
    assert "Log everyone out" in page and "after 12 h without activity" in page
    assert "Log everyone out" not in get_with_token(api)
    api.client.post("/logout/everyone", data={"csrf_token": csrf_token(page)})
    assert api.client.get("/health", headers=BROWSER).status_code == 303
    api.close()


def get_with_token(api: Api) -> str:
    return api.client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"}).text
