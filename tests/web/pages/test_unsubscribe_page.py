"""web/unsubscribe.py: the page of an unsubscribe link."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from database import Address, Audience, Database, Email
from delivery.message.unsubscribe import _signed
from email_app import create_app
from sender.outgoing import unsubscribe_tokens
from settings import Settings
from web.unsubscribe import masked

ADDRESS = "ann.lee@example.com"
NOW = datetime.now(UTC).replace(microsecond=0)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
HOSTILE = [
    *("A" * 60_000, "%00", "%00" * 32, "%", "%zz", "%ff%fe", "%E4%BD%A0" * 32, "%F0%9F%99%82" * 32, " ", "%20"),
    *("//", "../" * 20, "..%2f" * 20, "%0d%0aX:%20y", "<script>", "{{7*7}}", "'; DROP TABLE recipients; --"),
]


@pytest.fixture
def client(settings: Settings, database: Database) -> FlaskClient:
    """Return a client of a service that requires a token and has one recipient."""
    database.recipients.add([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    return create_app(settings._replace(api_tokens=("t" * 16,))).test_client()


@pytest.fixture
def link(settings: Settings, database: Database) -> str:
    return f"/unsubscribe/{unsubscribe_tokens(settings, database).token(1).decode()}"


def status(database: Database) -> str:
    return database.connection.fetch_all("SELECT status FROM recipients")[0][0]  # type: ignore[no-any-return]


def test_the_page_asks_and_changes_nothing(client: FlaskClient, link: str, database: Database) -> None:
    """Mail scanners follow links."""
    for method in ("GET", "HEAD"):
        answer = client.open(link, method=method)
        assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
        assert status(database) == "active"
    page = client.get(link).text
    assert '<form method="post"><button class="button primary wide">Unsubscribe</button></form>' in page
    assert "a…e@example.com" in page
    assert "ann" not in page


@pytest.mark.parametrize(
    "send",
    [
        lambda client, link: client.post(link, data=ONE_CLICK),
        lambda client, link: client.post(link, data=ONE_CLICK, content_type="multipart/form-data"),
        lambda client, link: client.post(link),
        lambda client, link: client.post(link, data="junk", content_type="application/json"),
        lambda client, link: client.post(link, data={"csrf_token": "wrong"}, headers={"Cookie": "session=junk"}),
        lambda client, link: client.post(link, headers={"Origin": "null"}),
        lambda client, link: client.post(link, headers={"Origin": "https://mail.provider.example"}),
        lambda client, link: client.post(link, environ_overrides={"REMOTE_ADDR": "203.0.113.9"}),
    ],
    ids=["one click", "one click, multipart", "button", "any body", "a session", "no origin", "an origin", "far away"],
)
def test_a_post_unsubscribes_whoever_sends_it(
    send: Callable[[FlaskClient, str], TestResponse], client: FlaskClient, link: str, database: Database
) -> None:
    """It works repeatedly, without a cookie or a login."""
    for _ in range(2):
        answer = send(client, link)
        assert (answer.status_code, status(database)) == (200, "unsubscribed")
        assert "You are unsubscribed" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert "You are unsubscribed" in client.get(link).text


def test_the_page_keeps_its_address_to_itself(client: FlaskClient, link: str) -> None:
    for answer in (client.get(link), client.post(link), client.get("/unsubscribe/forged"), client.post(link + "x")):
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers


def test_a_forged_or_damaged_link_says_so_and_does_nothing(client: FlaskClient, link: str, database: Database) -> None:
    """No token works for another recipient."""
    forged = [
        link[:-1],
        link + "A",
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.lower(),
        link + "/x",
        link + "/./",
    ]
    for address in [*forged, "/unsubscribe/1", "/unsubscribe/" + "A" * 32, "/unsubscribe/ann.lee@example.com"]:
        for method in ("GET", "POST"):
            answer = client.open(address, method=method)
            assert (answer.status_code, status(database)) == (404, "active"), address
            assert "This link does not work" in answer.text


@pytest.mark.parametrize("tail", HOSTILE, ids=lambda tail: tail[:20])
def test_hostile_addresses_are_refused(tail: str, client: FlaskClient, link: str, database: Database) -> None:
    for address in ("/unsubscribe/" + tail, link + tail):
        for method in ("GET", "POST"):
            answer = client.open(address, method=method)
            assert answer.status_code in (404, 401, 308), address
            assert "<script>" not in answer.text
            assert "49" not in answer.text.partition("</head>")[2]
            assert "X" not in answer.headers
    assert status(database) == "active"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_does_anything(method: str, client: FlaskClient, link: str, database: Database) -> None:
    assert client.open(link, method=method).status_code in (401, 403, 405)
    assert status(database) == "active"


def test_who_was_removed_is_told_that_this_link_is_of_no_use(
    client: FlaskClient, link: str, database: Database
) -> None:
    database.recipients.remove([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    for answer in (client.get(link), client.post(link, data=ONE_CLICK)):
        assert answer.status_code == 200
        assert "You are not subscribed" in answer.text


def test_who_unsubscribed_and_was_removed_stays_unsubscribed(
    client: FlaskClient, link: str, database: Database
) -> None:
    client.post(link)
    database.recipients.remove([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    assert client.post(link).status_code == 200
    database.recipients.add([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    assert status(database) == "unsubscribed"


def test_a_link_holds_as_long_as_its_key(client: FlaskClient, link: str, settings: Settings) -> None:
    """With SECRET_KEY, links that the key in the database signed are no longer valid."""
    assert create_app(settings).test_client().get(link).status_code == 200
    other = create_app(settings._replace(secret_key="k" * 16)).test_client()
    assert other.get(link).status_code == 404


def test_two_people_at_once_are_one(client: FlaskClient, link: str, database: Database) -> None:
    codes: list[int] = []
    app = client.application
    threads = [
        threading.Thread(target=lambda: codes.append(app.test_client().post(link).status_code)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes, status(database)) == ([200] * 8, "unsubscribed")


def test_the_clicks_of_all_users_of_a_mail_provider_are_taken(
    settings: Settings, link: str, database: Database
) -> None:
    limited = create_app(settings._replace(rate_limit=1)).test_client()
    assert {limited.post(link).status_code for _ in range(20)} == {200}


def test_without_a_database_nothing_is_told_to_strangers(client: FlaskClient, link: str, settings: Settings) -> None:
    assert settings.database_path is not None
    settings.database_path.write_bytes(b"no database" * 100)
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 503
        assert "Temporarily unavailable" in answer.text
        assert "email.db" not in answer.text
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "a…e@example.com"),
        ("用户@例子.example", "用…@例子.example"),
        ('"ann@home"@example.com', '"…"@example.com'),
        ("a@b.example", "a…@b.example"),
        ("ann@b.example", "a…@b.example"),
    ],
)
def test_a_masked_address_is_known_by_its_owner_alone(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(
    ("asked", "language", "heading"),
    [
        (None, "en", "Unsubscribe?"),
        ("de-AT,en;q=0.5", "de", "Abmelden?"),
        ("en;q=0.5, fr-CA", "fr", "Se désabonner ?"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans", "要退订吗？"),
        ("ms", "ms", "Berhenti melanggan?"),
        ("es-419", "es", "¿Darse de baja?"),
        ("de;q=0, tlh, *", "en", "Unsubscribe?"),
        ("<script>;q=é,,;", "en", "Unsubscribe?"),
    ],
)
def test_the_page_is_in_the_language_of_its_reader(
    client: FlaskClient, link: str, asked: str | None, language: str, heading: str
) -> None:
    answer = client.get(link, headers={} if asked is None else {"Accept-Language": asked})
    assert answer.headers["Content-Language"] == language
    assert f'<html lang="{language}">' in answer.text and f"<h1>{heading}</h1>" in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_state_of_the_page_is_translated(client: FlaskClient, link: str, method: str) -> None:
    """A text with a placeholder that is not filled in would be an error."""
    pages = {client.open(path, method=method, headers={"Accept-Language": "de"}).text for path in (link, f"{link}x")}
    assert all('<html lang="de">' in page and "Unsubscribe" not in page for page in pages)


@pytest.mark.parametrize("after", ["/", ".", ").", "%22", ">", "%3E", ",", "./", "!", "*", "%E2%80%9D", "'>."])
def test_what_a_text_has_behind_a_link_is_ignored(
    after: str, client: FlaskClient, link: str, database: Database
) -> None:
    assert "Unsubscribe?" in client.get(link + after).text
    assert client.post(link + after).status_code == 200
    assert status(database) == "unsubscribed"


def test_the_link_of_an_earlier_version_works_cut_and_whole(
    client: FlaskClient, settings: Settings, database: Database
) -> None:
    tokens = unsubscribe_tokens(settings, database)
    cut = (
        number for number in range(2, 10_000) if _signed(tokens._signer, number.to_bytes(8, "big"), b"").endswith(b"-")
    )
    number = next(cut)
    database.connection.execute("UPDATE recipients SET recipient_id = :number", number=number)
    token = _signed(tokens._signer, number.to_bytes(8, "big"), b"").decode()
    for path in (f"/unsubscribe/{token}", f"/unsubscribe/{token.rstrip('-')}", f"/unsubscribe/{token.rstrip('-')}."):
        assert "Unsubscribe?" in client.get(path).text
    assert client.post(f"/unsubscribe/{token.rstrip('-')}").status_code == 200
    assert status(database) == "unsubscribed"


class TestLists:
    """The link of an email to lists leaves those lists. The page offers every list, and everything."""

    @pytest.fixture
    def link(self, settings: Settings, database: Database, client: FlaskClient) -> str:
        """Return the link of an email to Gala and Staff. The recipient is in Gala and News, and another is in Gala."""
        for name in ("Gala", "Staff", "News", "Other"):
            database.lists.add(name, NOW)
        other = Address("bob@example.com", "bob@example.com")
        database.lists.add_members("Gala", [Address(ADDRESS, ADDRESS), other], NOW, "import 7")
        database.lists.add_members("News", [Address(ADDRESS, ADDRESS)], NOW, "program")
        return self.mailed(database, settings, 7, Audience(lists=("Gala", "Staff")))

    def mailed(self, database: Database, settings: Settings, event_id: int, audience: Audience) -> str:
        """Save an email, and return the link that its message to the recipient has."""
        database.emails.save(Email(event_id, "s", "c", NOW, audience=audience, from_name="Riverside <b>"), NOW)
        links = unsubscribe_tokens(settings, database).links("", event_id)
        return links.prefix + links.token(1).decode()

    def lists(self, database: Database) -> dict[str, bool]:
        """Return the recipient's lists, and whether they left each."""
        return {each.list.name: each.left_at is not None for each in database.lists.lists_of(1)}

    def test_the_page_offers_every_list_and_changes_nothing(
        self, client: FlaskClient, link: str, database: Database
    ) -> None:
        page = client.get(link).text
        checked = re.findall(r'name="list" value="(\d+)"( checked)?', page)
        assert checked == [("1", " checked"), ("3", "")]
        assert [name in page for name in ("Gala", "Staff", "News", "Other")] == [True, False, True, False]
        assert "Riverside &lt;b&gt;" in page and "a…e@example.com" in page and "ann" not in page
        assert "Unsubscribe from everything" in page
        assert re.search(r"added to the list <b [^>]+><bdi>Gala</bdi></b> on .+ It came from an imported file\.", page)
        assert self.lists(database) == {"Gala": False, "News": False}

    @pytest.mark.parametrize(
        "data",
        [ONE_CLICK, None, {"what": "junk"}, {"list": "3"}, {"what": ["some"] * 30_000}],
        ids=["one click", "no body", "unknown", "a list", "too long"],
    )
    def test_one_click_leaves_the_lists_of_the_email_and_no_other(
        self, client: FlaskClient, link: str, database: Database, data: object
    ) -> None:
        for _ in range(2):
            answer = client.post(link, data=data)
            assert answer.status_code == 200
            assert self.lists(database) == {"Gala": True, "News": False, "Staff": True}
            assert status(database) == "active"
        for page in (answer.text, client.get(link).text):
            assert "You have left these lists" in page
            assert "You are still on these lists" in page and "News" in page

    def test_those_who_left_stay_out_whatever_is_imported(
        self, client: FlaskClient, link: str, database: Database
    ) -> None:
        client.post(link, data=ONE_CLICK)
        for name in ("Gala", "Staff"):
            added = database.lists.add_members(name, [Address(ADDRESS, ADDRESS)], NOW, "import 8")
            assert (added.added, added.left) == (0, 1)
        database.lists.replace_members("Gala", [Address(ADDRESS, ADDRESS)], NOW, "program")
        assert self.lists(database) == {"Gala": True, "News": False, "Staff": True}

    def test_the_selected_lists_are_left(self, client: FlaskClient, link: str, database: Database) -> None:
        page = client.post(link, data={"what": "some", "list": ["3", "4", "999", "x", ""]}).text
        assert self.lists(database) == {"Gala": False, "News": True}
        assert "Unsubscribe?" in page and "News" not in page

    def test_nothing_selected_is_pointed_out(self, client: FlaskClient, link: str, database: Database) -> None:
        page = client.post(link, data={"what": "some"}).text
        assert "Select at least one list" in page
        assert self.lists(database) == {"Gala": False, "News": False}

    def test_everything_means_everything(self, client: FlaskClient, link: str, database: Database) -> None:
        page = client.post(link, data={"what": "all"}).text
        assert "You are unsubscribed" in page
        assert status(database) == "unsubscribed"

    @pytest.mark.parametrize("audience", [Audience(), Audience(exclude_lists=("Staff",)),
                                          Audience(to=(Address(ADDRESS, ADDRESS),))], ids=ascii)  # fmt: skip
    def test_the_link_of_an_email_to_everyone_or_to_names_means_everything(
        self, client: FlaskClient, settings: Settings, link: str, database: Database, audience: Audience
    ) -> None:
        everyone = self.mailed(database, settings, 8, audience)
        page = client.get(everyone).text
        assert "If you unsubscribe from everything, no more emails will be sent to" in page
        assert "Or leave only the lists you select" in page
        assert "added to this sender’s recipients" in page
        assert "You are unsubscribed" in client.post(everyone, data=ONE_CLICK).text
        assert status(database) == "unsubscribed"

    def test_an_old_link_means_everything(
        self, client: FlaskClient, settings: Settings, link: str, database: Database
    ) -> None:
        old = f"/unsubscribe/{unsubscribe_tokens(settings, database).token(1).decode()}"
        assert "You are unsubscribed" in client.post(old, data=ONE_CLICK).text
        assert status(database) == "unsubscribed"

    def test_a_link_is_good_for_no_other_email_or_recipient(
        self, client: FlaskClient, link: str, database: Database
    ) -> None:
        _, path, event_id, token = link.split("/")
        for forged in (f"/{path}/8/{token}", f"/{path}/{token}", f"/{path}/{event_id}/{'A' * 32}", f"{link}/7"):
            assert client.post(forged, data=ONE_CLICK).status_code == 404, forged
        assert self.lists(database) == {"Gala": False, "News": False}

    def test_a_list_that_was_renamed_or_deleted_meanwhile_is_left(
        self, client: FlaskClient, link: str, database: Database
    ) -> None:
        database.lists.rename("Gala", "Winter Gala", NOW)
        database.lists.delete("Staff", NOW)
        assert "Winter Gala" in client.get(link).text
        client.post(link, data=ONE_CLICK)
        assert self.lists(database) == {"Winter Gala": True, "News": False}
        database.lists.add("Staff", NOW)
        assert database.lists.add_members("Staff", [Address(ADDRESS, ADDRESS)], NOW, "program").left == 1

    def test_the_page_finds_its_style_from_every_path(
        self, client: FlaskClient, settings: Settings, link: str, database: Database
    ) -> None:
        old = f"/unsubscribe/{unsubscribe_tokens(settings, database).token(1).decode()}"
        for path in (link, old, f"{link}.", f"{link}/", f"{old}/", "/unsubscribe/a/b/c/d"):
            style = re.findall(r'rel="stylesheet" href="([^"]+)"', client.get(path).text)[0]
            assert urljoin(f"http://localhost{path}", style).startswith("http://localhost/static/tokens.css?v=")
