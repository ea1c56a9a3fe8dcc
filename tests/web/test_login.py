"""Logins, sessions and forms: what a browser may do, and what other sites cannot make it do."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from flask import render_template_string
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from email_app import create_app
from settings import Settings
from tests.support import new_database
from tests.support.web.login import BROWSER, TOKENS, csrf_of, log_in
from web.auth import sessions
from web.auth.browsers import safe_path

Open = Callable[..., FlaskClient]


@pytest.fixture
def browser(settings: Settings) -> Open:
    """Return a browser without cookies, for a service with tokens. The form on /page counts its POSTs in `sent`."""
    new_database.create(settings, datetime.now(UTC))

    def open_browser(**changes: object) -> FlaskClient:
        app = create_app(settings._replace(**{"api_tokens": TOKENS} | changes))  # type: ignore[arg-type]
        app.extensions["sent"] = []
        app.add_url_rule("/page", "post", lambda: app.extensions["sent"].append(1) or "done", methods=["POST"])
        app.add_url_rule("/page", "get", lambda: "here")
        app.add_url_rule("/form", "form", lambda: render_template_string("{{ csrf_token() }}"))
        app.add_url_rule("/api/things", "things", lambda: "things", methods=["GET", "POST"])
        client = app.test_client()
        client.environ_base["HTTP_ACCEPT"] = BROWSER["Accept"]
        return client

    return open_browser


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("session")
    return cookie.value if cookie else ""


def csrf_inside(client: FlaskClient) -> str:
    """Return the CSRF token of the current pages, from the log-out button."""
    return csrf_of(client, "/nothing")


def post_page(client: FlaskClient, csrf: str, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/page", data={"csrf_token": csrf} if csrf else {}, headers=named)


@pytest.mark.parametrize("token", TOKENS)
def test_who_has_a_token_logs_in_and_comes_back_to_the_page_that_was_asked_for(browser: Open, token: str) -> None:
    client = browser()
    sent_away = client.get("/page?status=failed&page=2")
    assert (sent_away.status_code, sent_away.location) == (303, "/login?next=/page%3Fstatus%3Dfailed%26page%3D2")
    answer = log_in(client, token, sent_away.location)
    assert (answer.status_code, answer.location) == (303, "/page?status=failed&page=2")
    assert client.get("/page").text == "here"


def test_a_wrong_token_begins_no_session(browser: Open) -> None:
    client = browser()
    answer = log_in(client, "first-token-of-tw")
    assert answer.status_code == 401 and "Wrong token" in answer.text
    assert "first-token-of-tw" not in answer.text
    assert client.get("/page").status_code == 303


@pytest.mark.parametrize(
    "token", ["", " ", "\x00", "\ud800", "é", "x" * 9_000, "first-token-of-two,zweites-Tökén-hier"]
)
def test_an_odd_token_is_a_wrong_one(browser: Open, token: str) -> None:
    client = browser()
    form = {"csrf_token": csrf_of(client), "token": token.encode(errors="surrogatepass")}
    assert client.post("/login", data=form).status_code == 401


def test_a_login_form_has_a_bound_of_its_own(browser: Open) -> None:
    assert log_in(browser(), "x" * 20_000).status_code == 413


def test_programs_are_not_sent_to_a_form(browser: Open) -> None:
    client = browser()
    assert client.get("/page", headers={"Accept": "*/*"}).status_code == 401
    assert client.get("/page", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/api/things").status_code == 401
    assert client.post("/send-emails").status_code == 401


def test_a_session_reads_for_programs_but_changes_nothing_there(browser: Open) -> None:
    client = browser()
    log_in(client)
    assert client.get("/api/things").text == "things"
    for path in ("/api/things", "/send-emails"):
        form = {"csrf_token": csrf_inside(client)}
        assert client.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 401
        assert client.post(path, data="{}", content_type="text/plain").status_code == 401


def test_a_login_makes_a_new_session_out_of_whatever_was_there(browser: Open) -> None:
    """Session fixation: a cookie that someone else planted gives no access later."""
    client, attacker = browser(), browser()
    planted = csrf_of(attacker)
    client.set_cookie("session", cookie_of(attacker))
    answer = client.post("/login", data={"csrf_token": planted, "token": TOKENS[0]})
    assert answer.status_code == 303
    assert attacker.get("/page").status_code == 303
    assert post_page(client, planted).status_code == 400


def test_after_logging_out_a_copied_cookie_opens_nothing(browser: Open) -> None:
    client, thief = browser(), browser()
    log_in(client)
    thief.set_cookie("session", cookie_of(client))
    assert thief.get("/page").text == "here"
    assert client.post("/logout", data={"csrf_token": csrf_inside(client)}).location == "/login"
    assert client.get("/page").status_code == 303
    assert thief.get("/page").status_code == 303


def test_logging_out_ends_one_session_only(browser: Open) -> None:
    client, phone = browser(), browser()
    log_in(client)
    log_in(phone)
    client.post("/logout", data={"csrf_token": csrf_inside(client)})
    assert phone.get("/page").text == "here"


def test_a_token_that_is_replaced_ends_its_sessions_and_no_other(browser: Open) -> None:
    cookies = []
    for token in TOKENS:
        client = browser()
        log_in(client, token)
        cookies.append(cookie_of(client))
    statuses = []
    for cookie in cookies:
        client = browser(api_tokens=("a-new-token-is-set", TOKENS[1]))
        client.set_cookie("session", cookie)
        statuses.append(client.get("/page").status_code)
    assert statuses == [303, 200]


class Clock:
    """A clock that only the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_session_ends_seven_days_after_the_login_however_much_it_is_used(browser: Open, clock: Clock) -> None:
    client = browser()
    log_in(client)
    ends_at = clock.now + sessions.LIFETIME.total_seconds()
    while clock.now < ends_at - 3600:
        assert client.get("/page").status_code == 200
        clock.now += 3600
    clock.now = ends_at - 5
    assert client.get("/page").status_code == 200
    clock.now = ends_at + 5
    assert client.get("/page").status_code == 303


@pytest.mark.parametrize("limit", [60, 12 * 3600, 30 * 86400])
def test_a_session_that_nobody_uses_ends_after_the_idle_limit(browser: Open, clock: Clock, limit: int) -> None:
    client = browser(session_idle_limit=limit)
    log_in(client)
    until = clock.now + min(limit, sessions.LIFETIME.total_seconds())
    copied = cookie_of(client)
    clock.now = until - 5
    assert client.get("/page").status_code == 200
    clock.now = until + 5
    thief = browser(session_idle_limit=limit)
    thief.set_cookie("session", copied)
    assert thief.get("/page").status_code == 303
    assert client.get("/page").status_code == (303 if limit == 30 * 86400 else 200)


def test_without_an_idle_limit_an_unused_session_lasts_seven_days(browser: Open, clock: Clock) -> None:
    client = browser(session_idle_limit=0)
    log_in(client)
    clock.now += sessions.LIFETIME.total_seconds() - 5
    assert client.get("/page").status_code == 200
    clock.now += 10
    assert client.get("/page").status_code == 303


def test_a_page_that_keeps_itself_up_to_date_does_not_keep_a_session_alive(browser: Open, clock: Clock) -> None:
    client = browser(session_idle_limit=3600)
    log_in(client)
    began_at = clock.now
    statuses = []
    for _ in range(4):
        statuses.append(client.get("/page", headers={sessions.AUTOMATIC: "1"}).status_code)
        clock.now += 1100
    assert clock.now - began_at == 4400
    assert [*statuses, client.get("/page").status_code] == [200, 200, 200, 200, 303]
    assert f'"{sessions.AUTOMATIC}"' in (Path(__file__).parents[2] / "web/static/page.js").read_text()


def test_a_session_in_use_gets_a_new_cookie_now_and_then_only(browser: Open, clock: Clock) -> None:
    client = browser(session_idle_limit=3600)
    log_in(client)
    given = 0
    for _ in range(120):
        clock.now += 10
        given += len(client.get("/page").headers.getlist("Set-Cookie"))
    assert 15 <= given <= 20


def test_the_browser_forgets_the_cookie_when_it_can_be_of_no_more_use(browser: Open, clock: Clock) -> None:
    (cookie,) = log_in(browser(session_idle_limit=3600)).headers.getlist("Set-Cookie")
    expires = parsedate_to_datetime(cookie.partition("Expires=")[2].partition(";")[0]).timestamp()
    assert 3590 <= expires - clock.now <= 3600


def test_a_session_of_an_earlier_version_ends_without_an_error(browser: Open, clock: Clock) -> None:
    client = browser()
    log_in(client)
    with client.session_transaction() as session:
        del session["used_at"]
    assert client.get("/page").status_code == 200
    clock.now += 13 * 3600
    assert client.get("/page").status_code == 303


def test_everyone_can_be_logged_out_at_once(browser: Open, clock: Clock) -> None:
    client, phone = browser(), browser()
    log_in(client)
    log_in(phone)
    answer = client.post("/logout/everyone", data={"csrf_token": csrf_inside(client)})
    assert (answer.status_code, answer.location) == (303, "/login")
    assert client.get("/page").status_code == phone.get("/page").status_code == 303
    clock.now += 1
    log_in(phone)
    assert phone.get("/page").status_code == 200
    result = phone.application.test_cli_runner().invoke(args=["end-sessions"])
    assert (result.exit_code, phone.get("/page").status_code) == (0, 303)


def test_who_is_not_logged_in_can_log_nobody_out(browser: Open) -> None:
    client = browser()
    log_in(client)
    browser().post("/logout/everyone")
    assert client.post("/logout/everyone").status_code == 400  # without the CSRF token
    assert client.get("/page").status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", "e30.aaaa.bbbb", "eyJ0b2tlbiI6IngifQ.aTU1.AAAA", "é", "x" * 4_000])
def test_a_cookie_that_was_not_signed_here_opens_nothing(browser: Open, cookie: str) -> None:
    client = browser()
    client.set_cookie("session", cookie)
    assert client.get("/page").status_code == 303


def test_a_cookie_of_another_installation_opens_nothing(browser: Open) -> None:
    client = browser(secret_key="another-installation")
    log_in(client)
    here = browser()
    here.set_cookie("session", cookie_of(client))
    assert here.get("/page").status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Open) -> None:
    (cookie,) = log_in(browser()).headers.getlist("Set-Cookie")
    name, *attributes = cookie.split("; ")
    assert name.startswith("session=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} == {text for text in attributes if not text.startswith("Expires=")}


def test_behind_tls_the_cookie_is_never_sent_without_it(browser: Open) -> None:
    client = browser(trusted_proxies=1, public_url="https://mail.example.com")
    client.environ_base |= {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "mail.example.com"}
    client.environ_base |= {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}
    at = "https://mail.example.com/login"
    (given,) = client.get(at).headers.getlist("Set-Cookie")
    assert given.startswith("__Host-session=") and "; Secure; HttpOnly; Path=/; SameSite=Lax" in given
    assert "Domain" not in given


@pytest.mark.parametrize(
    "text",
    [
        *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example"),
        *("javascript:alert(1)", "evil.example", "", " /page", "/\t/evil.example", "/a\r\nSet-Cookie: x", "/\x00"),
        *("///evil.example", "/ /evil.example", "http:/page", "/é", None),
    ],
)
def test_after_the_login_nobody_is_sent_to_another_site(text: str | None) -> None:
    assert safe_path(text) == "/"


@pytest.mark.parametrize("text", ["/", "/emails/1", "/emails?status=failed&after=1,2", "/a%2F%2Fb", "/.//b"])
def test_after_the_login_one_is_sent_to_any_page_of_this_one(text: str) -> None:
    assert safe_path(text) == text


def test_a_login_that_was_asked_for_elsewhere_ends_here(browser: Open) -> None:
    client = browser()
    assert log_in(client, page="/login?next=//evil.example").location == "/"


def test_a_form_is_taken_from_a_page_of_this_session_only(browser: Open) -> None:
    client, other = browser(), browser()
    log_in(client)
    log_in(other)
    for csrf in ("", "x", csrf_inside(other), csrf_of(browser())):
        answer = post_page(client, csrf)
        assert answer.status_code == 400 and answer.content_type == "text/html; charset=utf-8"
    assert client.application.extensions["sent"] == []
    assert post_page(client, csrf_inside(client)).text == "done"


@pytest.mark.parametrize(
    "headers",
    [
        *({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:81"}),
        *({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "x"}),
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"},
    ],
)
@pytest.mark.parametrize("tokens", [TOKENS, ()])
def test_what_another_site_makes_a_browser_send_is_refused(
    browser: Open, headers: dict[str, str], tokens: tuple[str, ...]
) -> None:
    client = browser(api_tokens=tokens)
    if tokens:
        log_in(client)
        assert log_in(browser(), **headers).status_code == 403
    csrf = csrf_inside(client) if tokens else "x"
    assert post_page(client, csrf, **headers).status_code == 403
    assert client.application.extensions["sent"] == []


def test_on_this_machine_a_page_of_another_site_cannot_post_an_email(browser: Open) -> None:
    client = browser(api_tokens=())
    assert client.post("/send-emails", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/send-emails", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 400
    assert client.get("/page", headers={"Sec-Fetch-Site": "cross-site"}).text == "here"


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost"}, {"Sec_Fetch_Site": "same-origin"}])
def test_the_services_own_forms_are_taken(browser: Open, headers: dict[str, str]) -> None:
    client = browser()
    log_in(client, **headers)
    assert post_page(client, csrf_inside(client), **headers).text == "done"


def test_on_this_machine_no_login_is_needed_but_forms_are_still_this_services_own(browser: Open) -> None:
    client = browser(api_tokens=())
    assert client.get("/login?next=/page").location == "/page"
    assert client.get("/page").text == "here"
    assert "Log out" not in client.get("/nothing").text
    for headers in ({}, {"Authorization": "Basic eDp4"}):  # the latter is sent by a form at http://x:x@localhost
        assert post_page(client, "", **headers).status_code == 400
    assert post_page(client, client.get("/form").text).text == "done"


def test_a_program_with_a_token_needs_no_token_against_forgery(browser: Open) -> None:
    client = browser()
    assert post_page(client, "", Authorization=f"Bearer {TOKENS[0]}").text == "done"


def test_a_session_that_ended_while_a_form_was_filled_in_leads_back_to_it(browser: Open) -> None:
    client = browser()
    answer = post_page(client, "x", Referer="http://localhost/emails/new?copy=1")
    assert (answer.status_code, answer.location) == (303, "/login?next=/emails/new")
    answer = post_page(client, "x", Referer="https://evil.example/emails/new")
    assert answer.location == "/login?next=/"


def test_a_get_changes_nothing(browser: Open) -> None:
    client = browser()
    log_in(client)
    assert client.get("/logout").status_code == 405
    assert client.get("/page").text == "here"


def test_a_program_that_makes_no_session_gets_no_cookie_and_opens_no_database(settings: Settings) -> None:
    client = create_app(settings._replace(api_tokens=TOKENS)).test_client()
    assert client.get("/nothing", headers={"Authorization": f"Bearer {TOKENS[0]}"}).status_code == 404
    answer = client.get("/recipients", headers=BROWSER)
    assert answer.status_code == 303 and "Set-Cookie" not in answer.headers
    assert not Path(settings.database_name).exists()


def test_without_its_database_nobody_is_taken_for_logged_in(browser: Open, settings: Settings) -> None:
    client = browser()
    log_in(client)
    Path(settings.database_name).unlink()
    answer = client.get("/page")
    assert answer.status_code == 503 and answer.content_type == "text/html; charset=utf-8"
    assert "Retry-After" in answer.headers
