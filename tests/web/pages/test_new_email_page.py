"""/emails/new: write, preview, test and save an email once, without losing what was typed."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import Address, Audience
from sender.single_send import TOTAL_TIMEOUT_SECONDS
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.web.compose_page import BROWSER, TYPED, Page, error_at, filled, hidden, text_of
from web.auth.rate_limits import TRIALS_PER_MINUTE

CONTENT = "\nHello 😀\n</textarea><script>\n"  # as it was typed
PAGE_OF_HTML = '<!DOCTYPE html><html><link rel=preconnect href="http://evil.example"><p>Hello <b>you</b></p></html>'


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path)
    yield page
    page.api.close()


def test_an_email_is_written_looked_at_and_saved(page: Page) -> None:
    page.api.installation.add_recipients(3)
    looked_at = page.write()
    assert looked_at.status_code == 200 and page.number_saved() == 0
    assert "Will be sent Wed 2 Jan 2030 08:00 +08:00, in " in text_of(looked_at)
    assert "to 3 recipients." in text_of(looked_at)
    form = hidden(looked_at)
    answer = page.step("schedule", form)
    event_id = int(form["proposed"])
    assert (answer.status_code, answer.location) == (303, f"/emails/{event_id}")
    assert page.saved(event_id) == (TYPED["email_subject"], CONTENT, datetime(2030, 1, 2, tzinfo=UTC))
    assert abs(event_id - time.time() * 1000) < 60_000


def test_what_was_typed_is_text_on_every_page(page: Page) -> None:
    looked_at = page.write()
    for answer in (looked_at, page.step("change", hidden(looked_at))):
        assert "<script>" not in answer.text and "<b>日本" not in answer.text
    assert "\nHello 😀\n&lt;/textarea&gt;&lt;script&gt;\n</pre>" in looked_at.text.replace("\r", "")


def test_all_that_was_typed_comes_back(page: Page) -> None:
    changing = page.step("change", hidden(page.write(event_id="77")))
    assert changing.status_code == 200
    assert filled(changing)["email_content"] == CONTENT
    for value in (html.escape(TYPED["email_subject"]), *TYPED["timestamp"].split("T"), "77"):
        assert f'value="{value}"' in changing.text


def test_sent_twice_it_is_saved_once(page: Page) -> None:
    form = hidden(page.write())
    answers = [page.step("schedule", form), page.step("schedule", form), page.step("check", form)]
    assert {(answer.status_code, answer.location) for answer in answers} == {(303, f"/emails/{form['proposed']}")}
    assert page.number_saved() == 1
    assert "is already scheduled" in page.client.get("/emails/new", headers=BROWSER).text


def test_two_who_press_the_button_at_once_save_it_once(page: Page) -> None:
    form = hidden(page.write())
    cookie = page.client.get_cookie("session")
    assert cookie is not None

    def press(_: int) -> int:
        client = page.api.app.test_client()
        client.set_cookie("session", cookie.value)
        answer = client.post("/emails/new", data={**form, "step": "schedule"}, headers=BROWSER)
        page.api.close()
        return answer.status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(press, range(8))) == {303}
    assert page.number_saved() == 1


def test_the_first_form_sent_again_after_saving_is_the_same_email(page: Page) -> None:
    """This is what the back button does. The form proposes the email ID, not the step."""
    typed = page.open() | TYPED
    page.step("schedule", hidden(page.step("check", typed)))
    assert page.step("check", typed).status_code == 303
    assert page.number_saved() == 1


def test_a_number_of_another_email_is_refused_at_its_field(page: Page) -> None:
    page.api.installation.save_email(77)
    for step in ("check", "schedule"):
        answer = page.step(step, page.open() | TYPED, event_id="77")
        assert "is in use" in error_at(answer, "event_id")
        assert html.escape(TYPED["email_subject"]) in answer.text
    assert page.number_saved() == 1


def test_a_number_that_nobody_chose_gives_way(page: Page) -> None:
    typed = page.open() | TYPED
    page.api.installation.save_email(int(typed["proposed"]))
    form = hidden(page.step("check", typed))
    assert form["proposed"] != typed["proposed"]
    assert page.step("schedule", form).status_code == 303
    assert page.number_saved() == 2


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("email_subject", "", "is empty"),
        ("email_subject", "a\u2028b", "contains a line break"),
        ("email_subject", "é" * 500, "is too long (limit: 998 bytes)"),
        ("email_subject", "=?utf-8?q?a=0D=0ABcc:_x?=", "contains an encoded word that decodes to a line break"),
        ("email_content", "", "is empty"),
        ("email_content", "a\0b", "contains a NUL"),
        ("timestamp", "", "is empty"),
        ("timestamp", "tomorrow", "is not valid"),
        ("timestamp", "2030-02-30T08:00", "is not valid"),
        ("event_id", "seven", "is not a 64-bit integer"),
        ("event_id", "9223372036854775808", "is not a 64-bit integer"),
        ("event_id", "٧", "is not a 64-bit integer"),
    ],
)
def test_what_cannot_be_taken_is_said_at_its_field(page: Page, name: str, value: str, reason: str) -> None:
    assert reason in error_at(page.write(**{name: value}), name)
    assert page.number_saved() == 0


def test_everything_that_is_wrong_is_said_at_once(page: Page) -> None:
    answer = page.write(email_subject="", email_content="", timestamp="x", event_id="x")
    assert "Fix 4 fields to continue" in text_of(answer)


def test_a_time_that_the_clocks_skip_is_refused(tmp_path: Path) -> None:
    page = Page(tmp_path, TIMEZONE="Europe/Berlin")
    assert "go forward" in error_at(page.write(timestamp="2027-03-28T02:30"), "timestamp")


def test_of_a_time_that_comes_twice_the_person_is_asked(tmp_path: Path) -> None:
    page = Page(tmp_path, TIMEZONE="Europe/Berlin")
    asked = page.write(timestamp="2027-10-31T02:30")
    assert "occurs twice" in error_at(asked, "timestamp")
    assert "Sun 31 Oct 2027 02:30 +02:00, the first" in text_of(asked)
    assert "Sun 31 Oct 2027 02:30 +01:00, the second" in text_of(asked)
    chosen = page.write(timestamp="2027-10-31T02:30", offset="+01:00")
    assert "Will be sent Sun 31 Oct 2027 02:30 +01:00" in text_of(chosen)
    form = hidden(chosen)
    assert 'value="+01:00" checked' in page.step("change", form).text
    page.step("schedule", form)
    assert page.saved(int(form["proposed"]))[2] == datetime(2027, 10, 31, 1, 30, tzinfo=UTC)


def test_a_time_that_has_passed_is_said_and_taken(page: Page) -> None:
    page.api.installation.add_recipients(1)
    looked_at = page.write(timestamp="2020-01-02T08:00:05")
    expected = "This time has passed. The email will be sent immediately to 1 recipient. You chose Thu 2 Jan 2020"
    assert f"{expected} 08:00:05 +08:00" in text_of(looked_at)
    form = hidden(looked_at)
    assert page.step("schedule", form).location == f"/emails/{form['proposed']}?undo=now"
    assert 8 < (page.email(int(form["proposed"])).due_at - datetime.now(UTC)).total_seconds() <= 11


def test_sent_now_it_leaves_ten_seconds_after_the_confirmation(page: Page) -> None:
    page.api.installation.add_recipients(2)
    looked_at = page.write(when="now", timestamp="")
    assert "This email will be sent now to 2 recipients. It leaves 10 seconds after you confirm." in text_of(looked_at)
    assert "Send now to 2 recipients" in text_of(looked_at)
    form = hidden(looked_at)
    answers = [page.step(step, form) for step in ("schedule", "schedule", "check")]
    assert answers[0].location == f"/emails/{form['proposed']}?undo=now"
    assert [answer.location for answer in answers[1:]] == [f"/emails/{form['proposed']}"] * 2  # nothing is sent twice
    assert 8 < (page.email(int(form["proposed"])).due_at - datetime.now(UTC)).total_seconds() <= 11
    assert page.number_saved() == 1


def test_undo_opens_the_form_again_with_everything_filled_in(page: Page) -> None:
    typed = {"when": "now", "audience": "to", "email_to": "ada@example.com", "email_from_name": "The choir"}
    form = hidden(page.write(**typed))
    path = str(page.step("schedule", form).location)
    undo = hidden(page.get(path)) | {"was": "now"}
    answer = page.client.post(path.replace("?undo=now", "/undo"), data=undo, headers=BROWSER)
    assert page.email(int(form["proposed"])).status == "cancelled"
    again = page.get(str(answer.location))
    assert "Undone. It was not sent to anyone." in text_of(again)
    assert {name: filled(again)[name] for name in typed} == typed
    assert (filled(again)["email_subject"], filled(again)["email_content"]) == (TYPED["email_subject"], CONTENT)
    second = hidden(page.step("check", filled(again)))
    assert page.step("schedule", second).status_code == 303
    assert second["proposed"] != form["proposed"] and page.number_saved() == 2


def test_sender_reply_address_and_limit_are_saved(page: Page) -> None:
    options = {"email_reply_to": "Ada <ada@example.com>", "email_from_name": "The choir", "email_recipients_max": "30"}
    looked_at = page.write(**options)
    assert "Replies to Ada <ada@example.com>" in re.sub(
        r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", looked_at.text))
    )
    form = hidden(looked_at)
    page.step("schedule", form)
    email = page.email(int(form["proposed"]))
    assert (email.reply_to, email.from_name, email.recipients_max) == ("Ada <ada@example.com>", "The choir", 30)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("email_reply_to", "ada@", "The reply address "),
        ("email_from_name", "a\u2028b", "contains a line break"),
        ("email_recipients_max", "0", "must be a whole number of at least 1"),
        ("email_recipients_max", "many", "is not a 64-bit integer"),
    ],
)
def test_an_invalid_option_is_reported_at_its_field(page: Page, name: str, value: str, reason: str) -> None:
    assert reason in error_at(page.write(**{name: value}), name)


def test_an_email_to_single_addresses(page: Page) -> None:
    form = hidden(page.write(audience="to", email_to="ada@example.com, Bob <bob@example.com>\r\nada@example.com"))
    page.step("schedule", form)
    assert [each.text for each in page.email(int(form["proposed"])).audience.to] == [
        "ada@example.com",
        "bob@example.com",
    ]
    wrong = page.write(audience="to", email_to="ada@example.com\nbob@")
    assert "are not valid: line 2, bob@ " in error_at(wrong, "email_to")
    assert "are missing" in error_at(page.write(audience="to"), "email_to")
    both = page.write(audience="everyone", email_to="ada@example.com")
    assert both.status_code == 400 and "You entered addresses, but did not select" in text_of(both)


def test_without_recipients_it_warns_and_saves(page: Page) -> None:
    looked_at = page.write()
    assert "There are no active recipients." in text_of(looked_at)
    assert "Otherwise, it will be put on hold" in text_of(looked_at)
    assert page.step("schedule", hidden(looked_at)).status_code == 303


def test_html_is_shown_in_its_frame_where_it_can_do_nothing(page: Page) -> None:
    looked_at = page.write(email_content=PAGE_OF_HTML)
    assert '<iframe class="mail-frame" name="shown" title="The content as HTML" sandbox>' in looked_at.text
    assert "\nHello you\n</pre>" in looked_at.text.replace("\r", "")
    shown = page.step("html", hidden(looked_at))
    policy = shown.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'self'"} <= set(policy)
    assert "<p>Hello <b>you</b></p>" in shown.text and "<link" not in shown.text
    assert (shown.content_type, shown.headers["Cache-Control"]) == ("text/html; charset=utf-8", "no-store")


def test_plain_text_has_no_frame(page: Page) -> None:
    looked_at = page.write()
    assert "<iframe" not in looked_at.text
    assert page.step("html", hidden(looked_at)).text == ""


@pytest.mark.parametrize(
    ("content", "is_warned"),
    [
        ("<p>Hello</p>", True),
        ("Hello<br>you", True),
        ("<B>Hello</B>", True),
        ("a < b, <3, <a@example.com>", False),
        ("<html><p>Hello</p>", False),
    ],
)
def test_html_that_goes_out_as_text_is_pointed_out(page: Page, content: str, is_warned: bool) -> None:
    assert ("Recipients will see the HTML tags" in page.write(email_content=content).text) == is_warned


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"email_content": "Dear {{ name }},"}, "{{ name }}"),
        ({"email_content": "Dear {{first_name|there}},\n\n{{first_name|there}}"}, "{{first_name|there}}"),
        ({"email_subject": "For {name}"}, "{name}"),
        ({"email_content": "<html><p>Dear *|FNAME|*,</p></html>"}, "*|FNAME|*"),
        ({"email_content": "<html><a href='{{ unsubscribe_url }}'>x</a></html>"}, "{{ unsubscribe_url }}"),
        ({"email_content": "Dear %%first_name%%, {% if x %}%recipient.name% ${name} [[name]]"}, "%%first_name%%"),
        ({"email_content": "Dear {{{<b>}}}"}, "{{{&lt;b&gt;}}}"),
        ({"email_content": "<html><style>p {color: red} b{margin:0}</style><p>50 % off, 100 %</html>"}, None),
        ({"email_content": 'function f() { return {a: 1} }; {"name": [[1, 2]]}; 5%%, %% and * | * {} {{}}'}, None),
    ],
)
def test_a_placeholder_that_would_go_out_as_it_stands_is_pointed_out(
    page: Page, fields: dict[str, str], shown: str | None
) -> None:
    text = page.write(**fields, email_personal="no").text
    if shown is None:
        assert "Placeholders are not filled in" not in text
    else:
        (notice,) = re.findall("Recipients will see (.*?) exactly as written", text)
        assert notice.startswith(f"<code><bdi>{shown}</bdi></code>") and notice.count(shown) == 1


def with_names(page: Page) -> None:
    """Three recipients: r0 and r1 have a name, r2 has none."""
    page.api.installation.add_recipients(3)
    with page.api.installation.database() as database, database.connection.transaction():
        for address, name in (("r0@example.com", "Ada <3"), ("r1@example.com", "Grace Hopper"), ("r2@example.com", "")):
            sql = "UPDATE recipients SET fields = :fields WHERE address = :address"
            database.connection.execute(sql, fields=json.dumps({"name": name}), address=address)
        database.connection.execute("INSERT INTO field_names (name) VALUES ('name')")


def test_names_in_braces_are_filled_in_and_the_preview_shows_it(page: Page) -> None:
    with_names(page)
    answer = page.write(email_subject="For {{ name }}", email_content="Dear {{ name }},\n")
    text = text_of(answer)
    assert "Placeholders such as {{ name }} are filled in for each recipient" in text
    assert "1 recipient will not get this email, because a placeholder has no value for them" in text
    assert "For Grace Hopper" in text and "Dear Grace Hopper," in text  # the longest value
    assert "Recipients will see" not in text
    missing = page.step("check", hidden(answer) | {"shown_to": "r2@example.com"})
    assert "The delivery to r2@example.com would fail: no value for {{ name }}" in text_of(missing)
    assert "Dear {{ name }}," in text_of(missing)
    ada = page.step("check", hidden(answer) | {"shown_to": "r0@example.com"})
    assert "Dear Ada &lt;3," in ada.text
    nobody = page.step("check", hidden(answer) | {"shown_to": "x@example.com"})
    assert "No recipient has this address." in nobody.text and 'value="x@example.com"' in nobody.text
    written = page.step("as_written", hidden(ada))
    assert "Dear {{ name }}," in text_of(written) and "exactly as written" in text_of(written)
    assert page.step("schedule", hidden(ada)).status_code == 303
    with page.api.installation.database() as database:
        assert [email.personal for email in map(database.emails.get, event_ids(page)) if email] == [True]


def test_the_html_of_the_preview_has_the_values(page: Page) -> None:
    with_names(page)
    answer = page.write(email_content="<!DOCTYPE html><p>Dear {{ name }}</p>")
    shown = page.step("html", hidden(answer) | {"shown_to": "r0@example.com"})
    assert "<p>Dear Ada &lt;3</p>" in shown.text


def test_a_test_has_the_values_of_the_recipient_who_is_shown(page: Page) -> None:
    with_names(page)
    form = hidden(page.write(email_content="Dear {{ name }}")) | {"shown_to": "r0@example.com"}
    assert "It uses the values of r0@example.com" in text_of(page.step("test", form, address="me@example.com"))
    (message,) = page.api.installation.messages()
    assert (message["To"], message.get_content()) == ("me@example.com", "Dear Ada <3\n")


def test_a_name_that_no_one_has_is_an_error_and_braces_can_be_sent_as_written(page: Page) -> None:
    answer = page.write(email_content="\nDear {{ name }},")
    assert answer.status_code == 400
    assert "The content has {{ name }} on line 2, column 6, but no recipient has personal fields." in text_of(answer)
    assert "Send braces as written" in answer.text
    written = page.write(email_content="Dear {{ name }},", email_personal="no")
    assert "exactly as written" in text_of(written)
    assert page.step("schedule", hidden(written)).status_code == 303
    with page.api.installation.database() as database:
        assert [email.personal for email in map(database.emails.get, event_ids(page)) if email] == [False]


def event_ids(page: Page) -> list[int]:
    with page.api.installation.database() as database:
        return [event_id for (event_id,) in database.connection.fetch_all("SELECT event_id FROM emails")]


def test_the_address_of_a_test_may_be_typed_with_a_name(page: Page) -> None:
    checked = page.write()
    assert 'name="address" type="text"' in checked.text
    assert "Test saved in the outbox" in page.step("test", hidden(checked), address="Ada <ada@example.com>").text


def test_with_links_to_unsubscribe_they_are_shown(tmp_path: Path) -> None:
    page = Page(tmp_path, PUBLIC_URL="http://localhost")
    assert "\nUnsubscribe: http://localhost/unsubscribe/" in page.write().text.replace("\r", "")


def test_a_test_goes_to_one_address_and_leaves_nothing(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        page = Page(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        answer = page.step("test", hidden(page.write()), address=" Me@Example.com ")
        assert "Test sent: 250 2.0.0 Ok: queued." in text_of(answer)
        assert [accepted.recipient for accepted in server.accepted] == [b"Me@example.com"]
        assert "Hello 😀".encode() in server.accepted[0].content
    assert page.number_saved() == 0 and page.api.installation.statuses() == {}
    assert page.step("schedule", hidden(answer)).status_code == 303


@pytest.mark.parametrize(
    ("verb", "reply", "said"),
    [
        ("RCPT", "550 5.1.1 <x> unknown", "The mail server rejected the test: 550 5.1.1 <x> unknown."),
        ("RCPT", "451 4.7.1 later", "The mail server deferred the test: 451 4.7.1 later."),
        ("CONNECT", "554 not you", "The test could not be sent: "),
    ],
)
def test_a_test_tells_what_the_server_said(tmp_path: Path, verb: str, reply: str, said: str) -> None:
    with ScriptedServer(on={verb: lambda line, n: reply}) as server:
        page = Page(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        answer = page.step("test", hidden(page.write()), address="me@example.com")
    assert said in html.unescape(answer.text) and html.escape(reply) in answer.text


def test_without_a_mail_server_a_test_says_what_to_mend(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        port = server.port
    page = Page(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{port}")
    answer = page.step("test", hidden(page.write()), address="me@example.com")
    assert "The test could not be sent" in answer.text and "check host and port in EMAIL_URL" in answer.text


def test_a_test_needs_an_address(page: Page) -> None:
    form = hidden(page.write())
    for address in ("", "me", "me@example.com,you@example.com", "me@example.com\nBcc: you@example.com"):
        answer = page.step("test", form, address=address)
        assert answer.status_code == 400 and error_at(answer, "address").startswith("The address is not valid")
        assert ".." not in text_of(answer)
    assert not (page.api.installation.folder / "outbox").exists()


def test_tests_are_bounded(page: Page) -> None:
    form = hidden(page.write())
    for _ in range(TRIALS_PER_MINUTE):
        assert page.step("test", form, address="me@example.com").status_code == 200
    refused = page.step("test", form, address="me@example.com")
    assert refused.status_code == 400 and "Too many tests" in text_of(refused)
    assert len(page.api.installation.messages()) == TRIALS_PER_MINUTE
    assert TOTAL_TIMEOUT_SECONDS * TRIALS_PER_MINUTE / 60 < 3  # how many of the 16 threads can be blocked


def test_a_form_that_no_browser_sends_is_refused_whole(page: Page) -> None:
    csrf = page.open()["csrf_token"].encode()
    for body in (b"email_subject=%FF", b"email_subject=a&email_subject=b"):
        answer = page.client.post(
            "/emails/new",
            data=b"csrf_token=" + csrf + b"&" + body,
            headers=BROWSER,
            content_type="application/x-www-form-urlencoded",
        )
        assert answer.status_code == 400 and "Bad request" in answer.text
    assert page.client.post("/emails/new", data=TYPED, headers=BROWSER).status_code == 400  # without its token


def test_the_database_away_is_a_page_that_says_so(page: Page) -> None:
    form = hidden(page.write())
    for name in ("email.db", "email.db-wal", "email.db-shm"):
        (page.api.installation.folder / name).unlink(missing_ok=True)
    for answer in (page.client.get("/emails/new", headers=BROWSER), page.step("schedule", form)):
        assert (
            answer.status_code == 503 and "Temporarily unavailable" in answer.text and "Retry-After" in answer.headers
        )


def test_who_was_logged_out_meanwhile_comes_back_to_the_form(tmp_path: Path) -> None:
    page = Page(tmp_path, API_TOKEN="t" * 16)
    headers = {**BROWSER, "Referer": "http://localhost/emails/new"}
    answer = page.client.post("/emails/new", data={**TYPED, "step": "schedule"}, headers=headers)
    assert (answer.status_code, answer.location) == (303, "/login?next=/emails/new")


def test_after_saving_the_page_of_the_email_says_so(page: Page) -> None:
    answer = page.step("schedule", hidden(page.write()))
    shown = page.client.get(answer.location or "", headers=BROWSER)
    assert shown.status_code == 200 and "Scheduled for " in shown.text


def test_a_program_with_a_token_can_do_the_same(tmp_path: Path) -> None:
    page = Page(tmp_path, API_TOKEN="t" * 16)
    form = TYPED | {"event_id": "7", "step": "schedule"}
    answer = page.client.post("/emails/new", data=form, headers={"Authorization": "Bearer " + "t" * 16})
    assert (answer.status_code, answer.location) == (303, "/emails/7")


class TestAudience:
    """Once there are lists, the form asks who an email is for, and nothing goes to everyone by accident."""

    @pytest.fixture(autouse=True)
    def lists(self, page: Page) -> None:
        page.api.installation.add_recipients(5)
        now = datetime.now(UTC)
        people = [Address(f"r{number}@example.com", f"r{number}@example.com") for number in range(5)]
        with page.api.installation.database() as database:
            for name, members in (("Gala & Co", people[:4]), ("Staff", people[3:]), ("Old", people)):
                database.lists.add(name, now)
                database.lists.add_members(name, members, now, "page")
            database.lists.archive("Old", now)
            database.recipients.unsubscribe(1, now)

    def audience(self, page: Page, event_id: int) -> Audience:
        with page.api.installation.database() as database:
            email = database.emails.get(event_id)
        assert email is not None
        return email.audience

    def test_the_form_offers_every_list_in_use_and_everyone(self, page: Page) -> None:
        form = page.client.get("/emails/new?list=gala %26 co", headers=BROWSER).text
        offered = re.findall(r'name="email_list" value="([^"]*)"( checked)?', form)
        assert offered == [("Gala &amp; Co", " checked"), ("Staff", "")]
        assert re.search(r'name="audience" value="lists" required checked', form)
        empty = page.client.get("/emails/new", headers=BROWSER).text
        form = empty.partition('<form class="written')[2].partition("</form>")[0]
        assert re.findall(r"<input [^>]* checked>", form) == re.findall(r'<input [^>]*id="when-later"[^>]*>', form)

    @pytest.mark.parametrize(
        ("chosen", "error"),
        [
            ({}, "Choose who gets this email."),
            ({"audience": "lists"}, "Select at least one list."),
            (
                {"audience": "everyone", "email_list": "Staff"},
                "You selected lists, but also “Everyone”. Choose one.",
            ),
            ({"email_list": "Staff"}, "Choose who gets this email."),
            ({"audience": "lists", "email_list": "Stuff"}, "Staff"),
            ({"audience": "lists", "email_list": "Old"}, "archived"),
            ({"audience": "lists", "email_list": "Staff", "email_exclude_list": "staff"}, "Staff"),
        ],
        ids=["nothing", "no list", "both", "no choice", "unknown", "archived", "the same left out"],
    )
    def test_a_contradiction_is_pointed_out_and_nothing_is_scheduled(
        self, page: Page, chosen: dict[str, str], error: str
    ) -> None:
        for step in ("check", "schedule", "test"):
            answer = page.step(step, page.open() | TYPED | chosen, address="me@example.com")
            assert answer.status_code == 400, step
            assert error in text_of(answer)
            assert 'class="error"' in answer.text
        assert page.number_saved() == 0

    def test_an_email_to_lists_is_previewed_and_scheduled_for_them(self, page: Page) -> None:
        both = {"audience": "lists", "email_list": ["Gala & Co", "Staff"], "email_exclude_list": "Staff"}
        answer = page.client.post("/emails/new", data={**page.open(), **TYPED, **both}, headers=BROWSER)
        assert answer.status_code == 400  # a list cannot be both
        chosen = {"audience": "lists", "email_list": "Gala & Co", "email_exclude_list": "Staff"}
        looked_at = page.step("check", page.open() | TYPED | chosen)
        audience = "the list Gala & Co, except members of Staff (currently 2; 1 unsubscribed left out)"
        assert audience in text_of(looked_at)
        assert "to 2 recipients" in text_of(looked_at)
        changed = page.step("change", hidden(looked_at)).text
        assert re.findall(r'name="(email_\w*list)" value="([^"]*)" checked', changed) == [
            ("email_list", "Gala &amp; Co"),
            ("email_exclude_list", "Staff"),
        ]
        form = hidden(looked_at)
        event_id = int(form["proposed"])
        assert page.step("schedule", form).status_code == 303
        assert self.audience(page, event_id) == Audience(("Gala & Co",), ("Staff",))
        shown = text_of(page.client.get(f"/emails/{event_id}", headers=BROWSER))
        assert "To the list Gala & Co, except members of Staff" in shown
        assert re.search(r"Recipients now\s*2\s*Left out: unsubscribed\s*1", shown)
        schedule = text_of(page.client.get("/", headers=BROWSER))
        assert "Gala & Co except Staff" in schedule

    def test_everyone_is_everyone(self, page: Page) -> None:
        form = hidden(page.write(audience="everyone"))
        assert page.step("schedule", form).status_code == 303
        assert self.audience(page, int(form["proposed"])) == Audience()

    def test_a_list_that_is_deleted_before_the_last_step_is_reported(self, page: Page) -> None:
        form = hidden(page.write(audience="lists", email_list="Staff"))
        with page.api.installation.database() as database:
            database.lists.delete("Staff", datetime.now(UTC))
        answer = page.step("schedule", form)
        assert answer.status_code == 400 and "Staff" in text_of(answer)
        assert page.number_saved() == 0
