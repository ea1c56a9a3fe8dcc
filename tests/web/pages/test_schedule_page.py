"""The schedule: emails that need attention, are being sent, come next, or were sent. Also its lists."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from werkzeug.test import TestResponse

from database import Address, Audience, DeliveryUpdate, Email
from storage.sqlite.connection import SQLiteConnection
from tests.support.deliveries import in_doubt
from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from web.pages.email.pace import Sending, pace
from web.pages.schedule import email_filter
from web.pages.schedule.sections import ATTENTION_PERIOD
from web.services import services_of

BROWSER = {"Accept": "text/html"}
HEADING = re.compile(r"<h([12])[^>]*>(.*?)</h\1>")
TAG = re.compile("<[^>]*>")
NAME = re.compile(r'<a class="(?:title|main)" href="/emails/(-?[0-9]+)">')
HOUR, DAY = 3_600, 86_400
OUTCOMES = {"failed": "failed", "unknown": "in_doubt", "queued": "deferred"}


@pytest.fixture
def api(tmp_path: Path, where: dict[str, str]) -> Iterator[Api]:
    """Return the API of a service that sends to a mail server."""
    made = Api(tmp_path, EMAIL_URL="smtp://127.0.0.1:9", **where)
    yield made
    made.close()


def get(api: Api, address: str = "/", status: int = 200, **headers: str) -> TestResponse:
    answer = api.client.get(address, headers=BROWSER | headers)
    assert answer.status_code == status, answer.text
    return answer


def page(api: Api, address: str = "/", status: int = 200) -> str:
    """Return the HTML of the page."""
    return " ".join(get(api, address, status).text.split())


def headings(api: Api) -> list[str]:
    """Return the text of the headings of the main column."""
    main = page(api).partition("<aside")[0]
    return [TAG.sub("", html).strip() for _, html in HEADING.findall(main)]


def section(api: Api, name: str) -> str:
    """Return a section of the page by the id of its heading."""
    return page(api).partition(f'id="{name}"')[2].partition("</section>")[0]


def listed(api: Api, address: str) -> list[int]:
    """Return the event_ids of a list, over all its pages."""
    found: list[int] = []
    following: str | None = address
    while following:
        text = page(api, following)
        found += map(int, NAME.findall(text))
        link = re.search(r'href="([^"]+)" rel="next">', text)
        following = link and link[1].replace("&amp;", "&")
    return found


def run(api: Api, sql: str, **values: object) -> None:
    with api.installation.database() as database, database.connection.transaction():
        database.connection.execute(sql, **values)


def settle(api: Api, event_id: int, *statuses: str) -> None:
    """Start a due email, and settle one delivery in each of these states. The rest stay queued."""
    now = int(time.time())
    with api.installation.database() as database:
        database.progress.start_due_emails(now)
        sender_id = database.senders.register(1, now, in_doubt)
        assert sender_id is not None
        claims = database.claims.claim(sender_id, 0, now, len(statuses))
        for claim, status in zip(claims, statuses, strict=True):
            if status == "sent":
                database.deliveries.record(sender_id, [], [], [(*claim[:2], sender_id)])
                database.deliveries.record(sender_id, [(*claim[:2], sender_id, "250 ok", now)], [], [])
            else:
                lost = DeliveryUpdate(*claim[:2], OUTCOMES[status], status, "no", now, now + 290)
                database.deliveries.record(sender_id, [], [lost], [])
        database.senders.unregister(sender_id, in_doubt)


class TestBeforeThereIsAnything:
    def test_the_next_step_is_to_add_recipients(self, api: Api) -> None:
        text = page(api)
        assert 'class="button primary" href="/recipients/import"' in text and 'href="/recipients"' in text
        assert "There are no recipients yet" in text
        assert headings(api)[0] == "Welcome to Email endpoint"
        assert "flask setup" not in text

    def test_without_a_mail_server_the_command_to_connect_one_is_shown(
        self, tmp_path: Path, where: dict[str, str]
    ) -> None:
        with closing(Api(tmp_path, **where)) as practice:
            assert "flask setup" in page(practice)

    def test_then_to_write_an_email_or_to_let_a_program_do_it(self, api: Api) -> None:
        api.installation.add_recipients(2)
        text = page(api)
        assert "It will go to 2 recipients." in text and "2 active recipients so far." in text
        assert 'class="button primary" href="/emails/new"' in text
        assert "curl http://localhost/send-emails -d event_id=1" in text

    def test_that_command_says_what_the_service_takes(self, api: Api) -> None:
        command = re.search(r"<code>curl (.*?)</code>", page(api))
        assert command
        parts = command[1].replace("&#34;", "").replace("\\ ", "").split(" -d ")[1:]
        fields = dict(part.strip().split("=", 1) for part in parts)
        assert api.client.post("/send-emails", data=fields).text == "Successful"
        assert headings(api) == ["Schedule", "Upcoming 1"]

    def test_who_all_left_are_told_from_who_were_never_there(self, api: Api) -> None:
        api.installation.add_recipients(1)
        run(api, "UPDATE recipients SET status = 'unsubscribed'")
        assert "There are no active recipients." in page(api)
        api.installation.save_email(1, HOUR)
        assert "<strong>There are no active recipients</strong>" in page(api)


class TestSections:
    def test_they_come_in_the_order_of_their_urgency(self, api: Api) -> None:
        api.installation.add_recipients(3)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent", "failed", "sent")
        api.installation.save_email(2, -1)
        settle(api, 2, "sent")
        api.installation.save_email(3, HOUR)
        assert headings(api) == [
            "Schedule",
            "1 email needs your attention",
            "Sending now",
            "Upcoming 1",
            "Recently sent",
        ]
        names = [NAME.findall(section(api, name)) for name in ("attention", "sending", "upcoming", "recent")]
        assert names == [["1"], ["2"], ["3"], ["1"]]

    def test_what_is_next_is_told_by_the_day_with_its_distance(self, api: Api) -> None:
        api.installation.add_recipients(2)
        zone = ZoneInfo("Asia/Singapore")
        noon = datetime.now(zone).replace(hour=12, minute=0, second=0, microsecond=0)
        for number, days in enumerate((1, 1, 5), 1):
            api.installation.save_email(number, (noon + timedelta(days=days)).timestamp() - time.time() + 1)
        text = section(api, "upcoming")
        titles = [TAG.sub("", html) for html in re.findall(r'class="day-title">(.*?)</h3>', text)]
        tomorrow, later = (noon + timedelta(days=days) for days in (1, 5))
        assert titles == [f"Tomorrow {tomorrow:%a} {tomorrow.day} {tomorrow:%b}", f"{later:%A} {later.day} {later:%b}"]
        assert len(re.findall(r">12:00</time>", text)) == 3
        assert re.search(r'<span class="side"><time [^>]*>in [45] days', text)
        assert text.count("<bdi>Everyone</bdi>, 2 people") == 3

    def test_each_upcoming_email_says_who_it_is_for(self, api: Api) -> None:
        with api.installation.database() as database:
            now = datetime.now(UTC)
            for name in ("Gala", "Staff"):
                database.lists.add(name, now)
            gala = [Address(f"{each}@example.com", f"{each}@example.com") for each in ("a", "b", "c")]
            database.lists.add_members("Gala", gala, now, "page")
            for number, audience in enumerate(
                (
                    Audience(lists=("Gala",)),
                    Audience(lists=("Gala", "Staff")),
                    Audience(exclude_lists=("Staff",)),
                    Audience(to=(gala[0],)),
                ),
                1,
            ):
                database.emails.save(
                    Email(number, "Hello", "Hi", now + timedelta(hours=number), audience=audience), now
                )
        words = re.findall(r'<span class="meta">(.*?)</div>', section(api, "upcoming"))
        assert [TAG.sub("", each).strip() for each in words] == [
            "Gala, 3 people",
            "Gala and Staff",
            "Everyone except Staff",
            "a@example.com, 1 person",
        ]

    def test_what_is_overdue_or_held_says_so(self, api: Api) -> None:
        api.installation.save_email(1, -1)
        api.sweep()
        api.installation.save_email(2, -HOUR, saved_ago=HOUR)
        text = section(api, "attention")
        assert NAME.findall(text) == ["2", "1"]
        assert re.search("It was due <time [^>]*>[^<]*</time> and has not started[.]", text)
        assert "On hold: there were no active recipients when it was due." in text
        assert "Send anyway" not in text  # to no one

    def test_a_held_email_can_be_sent_anyway_after_a_confirmation(self, api: Api) -> None:
        api.installation.add_recipients(2)
        for event_id, due_in in ((1, -1), (2, HOUR)):
            api.installation.save_email(event_id, due_in)
        run(api, "UPDATE emails SET status = 'held', held_because = 'it would reach 2 recipients'")
        text = section(api, "attention")
        assert re.findall(r'href="([^"]*#[^"]*)">([^<]*)<', text) == [
            ("/emails/2#release", "Release…"),
            ("/emails/1#release", "Send anyway…"),
        ]
        assert all('id="release" popover' in page(api, f"/emails/{event_id}") for event_id in (1, 2))

    def test_what_can_be_retried_is_counted_and_retried_at_once(self, api: Api) -> None:
        api.installation.add_recipients(3)
        api.installation.save_email(1, -1)
        settle(api, 1, "failed", "failed", "failed")
        run(api, "UPDATE recipients SET status = 'rejected' WHERE recipient_id = 2")
        text = section(api, "attention")
        assert "3 of 3 could not be delivered. 2 of them can be retried." in text and "Retry 2</button>" in text
        token = csrf_token(get(api).text)
        answer = api.client.post("/emails/1/retry", data={"csrf_token": token, "which": "failed"}, headers=BROWSER)
        assert "Retrying 2 deliveries. 1 cannot be retried: 1 recipient is rejected." in get(api, answer.location).text
        run(api, "UPDATE recipients SET status = 'rejected'")
        run(api, "UPDATE deliveries SET status = 'failed'")
        run(api, "UPDATE progress SET failed = 3")
        run(api, "UPDATE emails SET status = 'sent', finished_at = created_at")
        text = section(api, "attention")
        assert "None of them can be retried." in text and "/retry" not in text

    @pytest.mark.parametrize(("due_in", "saved_ago"), [(-5, HOUR), (-HOUR, 5)])
    def test_what_has_just_become_due_or_was_just_saved_is_not_overdue(
        self, api: Api, due_in: int, saved_ago: int
    ) -> None:
        api.installation.save_email(1, due_in, saved_ago=saved_ago)
        assert headings(api) == ["Schedule", "Upcoming 1"]
        assert re.search(r">due <time [^>]*>(\d+ s|1 h) ago</time>", page(api))

    def test_never_plainly_sent_over_a_failure(self, api: Api) -> None:
        api.installation.add_recipients(3)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent", "failed", "unknown")
        assert "1 of 3 could not be delivered. 1 unconfirmed." in section(api, "attention")
        recent = section(api, "recent")
        assert '<span class="badge bad">1 failed, 1 unconfirmed</span>' in recent and "<span>1 of 3</span>" in recent
        assert ">Sent</span>" not in page(api) and ">Delivered</span>" not in page(api)

    def test_what_failed_last_week_has_had_its_attention(self, api: Api) -> None:
        api.installation.add_recipients(1)
        api.installation.save_email(1, -1)
        settle(api, 1, "failed")
        run(api, "UPDATE emails SET finished_at = finished_at - :past", past=int(ATTENTION_PERIOD.total_seconds()) + 60)
        assert headings(api) == ["Schedule", "Upcoming", "Recently sent"]
        assert listed(api, "/?status=failed") == [1]

    def test_a_bar_says_how_far_it_has_come(self, api: Api) -> None:
        api.installation.add_recipients(1_500)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent", "failed")
        text = section(api, "sending")
        assert '<span class="percent">0%</span>' in text and 'aria-label="0% done"' in text
        counts = re.findall(r"<b>([0-9,]+)</b> ([a-z ]+)", text)
        assert counts == [("1", "delivered"), ("1", "failed"), ("1,498", "waiting")]

    def test_text_of_an_email_is_text(self, api: Api) -> None:
        api.installation.save_email(1, HOUR, "<script>alert(1)</script>")
        api.installation.save_email(2, HOUR, "   ")
        assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>" in page(api) and "(no subject)" in page(api)


class TestPace:
    def summary(self, api: Api, sent: int, seconds: int) -> Sending:
        api.installation.add_recipients(4)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent")
        with api.installation.database() as database:
            email = database.emails.summary(1)
        assert email is not None and email.first_sent_at is not None
        last = email.first_sent_at + timedelta(seconds=seconds)
        return Sending(email._replace(sent=sent, expected=1_000, last_sent_at=last), True, None)

    @pytest.mark.parametrize(
        ("sent", "seconds", "text"),
        [
            (500, 0, "500/s, about 1 s left"),
            (500, 100, "300/min, about 1 min 40 s left"),
            (10, 3_600, "10/h, about 4 d 3 h left"),
        ],
    )
    def test_it_tells_the_rate_and_what_is_left(self, api: Api, sent: int, seconds: int, text: str) -> None:
        assert pace(self.summary(api, sent, seconds)) == text

    def test_what_servers_put_off_is_not_told_to_be_done_in_a_moment(self, api: Api) -> None:
        api.installation.add_recipients(2)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent", "queued")
        text = section(api, "sending")
        assert re.search(r"next attempt <time [^>]*>in 4 min</time>", text) and " left" not in text

    def test_a_time_left_is_not_promised_once_nothing_is_accepted_any_more(self, api: Api) -> None:
        assert " left" in pace(self.summary(api, 500, 100))
        run(api, "UPDATE progress SET first_sent_at = first_sent_at - 20, last_sent_at = last_sent_at - 20")
        assert " left" not in section(api, "sending")

    def test_what_stands_still_has_no_end_in_sight(self, api: Api) -> None:
        assert pace(self.summary(api, 500, 100)._replace(moves=False)) == "300/min"
        run(api, "UPDATE progress SET first_sent_at = first_sent_at - 600, last_sent_at = last_sent_at - 300")
        assert re.search("Last delivery <time [^>]*>5 min", section(api, "sending"))


class TestHeartbeat:
    def test_a_late_one_is_loud_and_leads_to_its_remedy(self, api: Api) -> None:
        run(api, "UPDATE counters SET value = value - 1200 WHERE name = 'last_sweep_at'")
        text = page(api)
        banner = text.partition('<div class="banner bad"')[2].partition('<div class="page-head">')[0]
        assert "<strong>Emails are not being sent</strong>" in banner
        assert "The sender is not running (last check 20 min" in banner and 'href="/health"' in banner
        api.installation.save_email(1, HOUR)
        assert "<title>Emails are not being sent" in page(api)


class TestCalendar:
    def test_a_month_shows_its_emails_by_day(self, api: Api) -> None:
        zone = ZoneInfo("Asia/Singapore")
        for number, day_of_month in ((1, 1), (2, 1), (3, 31)):
            due_at = datetime(2031, 5, day_of_month, 9, number, tzinfo=zone)
            api.installation.save_email(number, due_at.timestamp() - time.time() + 0.5, subject=f"Number {number}")
        text = page(api, "/calendar?month=2031-05")
        assert "<h1><bdi>May 2031</bdi></h1>" in text and "3 emails this month" in text
        days = re.findall(r'<li(?: class="[^"]*")?> <span class="day-label">(.*?)</li>', text)
        assert len(days) == 35
        assert [len(re.findall('<a class="event brand"', each)) for each in days if "event" in each] == [2, 1]
        assert "<b>09:01</b> <bdi>Number 1</bdi>" in text
        assert 'href="/calendar?month=2031-04"' in text and 'href="/calendar?month=2031-06"' in text

    def test_the_current_month_is_the_default_and_marks_today(self, api: Api) -> None:
        today = datetime.now(ZoneInfo("Asia/Singapore"))
        text = page(api, "/calendar")
        assert f"<bdi>{today:%B} {today.year}</bdi>" in text and text.count('class="today') == 1

    def test_a_full_day_leads_to_its_list(self, api: Api) -> None:
        for number in range(1, 8):
            due_at = datetime(2031, 5, 7, 9, number, tzinfo=ZoneInfo("Asia/Singapore"))
            api.installation.save_email(number, due_at.timestamp() - time.time() + 0.5)
        assert 'href="/?day=2031-05-07">2 more</a>' in page(api, "/calendar?month=2031-05")

    @pytest.mark.parametrize("month", ["2031", "2031-13", "1969-01", "9000-01", "x", "2031-05-01"])
    def test_a_month_that_cannot_be_read_is_refused(self, api: Api, month: str) -> None:
        assert "Month must be YYYY-MM." in page(api, f"/calendar?month={month}", 400)

    def test_the_first_and_the_last_month_can_be_shown(self, api: Api) -> None:
        for month in ("1970-01", "8999-12"):
            page(api, f"/calendar?month={month}")


class TestLists:
    def test_a_list_goes_on_page_by_page(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(email_filter, "PAGE_SIZE", 2)
        for number in range(1, 6):
            api.installation.save_email(number, number * DAY)
        assert listed(api, "/?status=scheduled") == [1, 2, 3, 4, 5]
        assert listed(api, "/?status=all") == [5, 4, 3, 2, 1]
        assert listed(api, "/?status=held") == []

    def test_those_with_failures_go_on_by_when_they_began(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(email_filter, "PAGE_SIZE", 1)
        api.installation.add_recipients(1)
        for number in (1, 2, 3):
            api.installation.save_email(number, -number)
            settle(api, number, "failed")
        assert listed(api, "/?status=failed") == [3, 2, 1]
        assert listed(api, f"/?status=failed&day={datetime.now(ZoneInfo('Asia/Singapore')).date()}") in ([3, 2, 1], [])
        assert listed(api, "/?status=failed&day=2020-01-01") == []

    def test_emails_are_found_by_their_subject(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(email_filter, "PAGE_SIZE", 1)
        for number, subject in enumerate(("Gala", "Other", "The GALA"), start=1):
            api.installation.save_email(number, number * DAY)
            run(api, "UPDATE emails SET subject = :subject WHERE event_id = :id", subject=subject, id=number)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).astimezone(ZoneInfo("Asia/Singapore")).date()
        assert listed(api, "/?search=gala") == [3, 1]
        assert listed(api, "/?search=gala&status=scheduled") == [1, 3]
        assert listed(api, "/?search=the+GALA") == [3]
        assert listed(api, f"/?search=gala&day={tomorrow}") == [1]
        assert listed(api, "/?search=gala&status=held") == listed(api, "/?search=gala&status=failed") == []
        assert "with <strong><bdi>zz &lt;</bdi></strong> in the subject" in page(api, "/?search=zz+%3C")
        assert "The subject is too long" in page(api, "/?search=" + "x" * 255, 400)

    def test_a_day_is_one_of_the_services_zone(self, api: Api) -> None:
        midnight = datetime(2031, 5, 1, tzinfo=ZoneInfo("Asia/Singapore"))
        for number, seconds in ((1, -1), (2, 0), (3, DAY - 1), (4, DAY)):
            api.installation.save_email(number, midnight.timestamp() + seconds - time.time() + 0.5)
        assert listed(api, "/?day=2031-05-01") == listed(api, "/?status=scheduled&day=2031-05-01") == [2, 3]
        run(api, "UPDATE emails SET status = 'held'")
        assert listed(api, "/?status=held&day=2031-05-01") == [2, 3]
        assert "<h1><bdi>Emails on hold on Thu 1 May 2031</bdi></h1>" in page(api, "/?status=held&day=2031-05-01")

    def test_a_number_leads_to_its_email(self, api: Api) -> None:
        api.installation.save_email(-7, HOUR)
        assert get(api, "/?event_id=-7&status=all&day=", 303).location == "/emails/-7"
        assert "No email has the ID 8." in page(api, "/?event_id=8", 404)

    @pytest.mark.parametrize(
        ("query", "field", "typed"),
        [
            ("event_id=x%22y", "event_id", 'value="x&#34;y"'),
            ("event_id=99999999999999999999", "event_id", ""),
            ("event_id=%00%ff", "event_id", ""),
            ("status=broken", "status", ""),
            ("day=2026-02-30", "day", 'value="" aria-invalid="true" aria-describedby="wrong-day"'),
            ("day=0001-01-01", "day", ""),
            ("day=9999-12-31", "day", ""),
            ("day=20261125", "day", "20261125 is not a date. Use YYYY-MM-DD, for example 2026-11-25."),
            ("after=soon", "after", ""),
            ("after=999999999999.1", "after", ""),
        ],
    )
    def test_what_cannot_be_read_is_said_at_its_field(self, api: Api, query: str, field: str, typed: str) -> None:
        text = page(api, f"/?{query}", 400)
        assert f'id="wrong-{field}"' in text and typed in text
        assert field in ("after", "status") or f'aria-describedby="wrong-{field}"' in text

    def test_empty_fields_and_names_that_mean_nothing_here_are_no_filter(self, api: Api) -> None:
        api.installation.save_email(1, HOUR)
        assert "<h1><bdi>Schedule</bdi></h1>" in page(api, "/?status=&day=%20&event_id=&utm_source=mail")


class TestConditional:
    def again(self, api: Api, known: TestResponse, address: str = "/") -> int:
        return api.client.get(address, headers=BROWSER | {"If-None-Match": known.headers["ETag"]}).status_code

    @pytest.mark.parametrize("address", ["/", "/?status=all"])
    def test_the_clock_alone_makes_it_no_other_page(self, api: Api, address: str) -> None:
        api.installation.save_email(1, HOUR)
        known = get(api, address)
        time.sleep(1.1)
        assert self.again(api, known, address) == 304
        api.installation.save_email(2, HOUR)
        assert self.again(api, known, address) == 200

    def test_each_acceptance_makes_it_another(self, api: Api) -> None:
        api.installation.add_recipients(3)
        api.installation.save_email(1, -1)
        settle(api, 1, "sent")
        known = get(api)
        settle(api, 1, "sent")
        assert self.again(api, known) == 200

    def test_a_heartbeat_that_is_late_makes_it_another(self, api: Api) -> None:
        known = get(api)
        run(api, "UPDATE counters SET value = value - 1000 WHERE name = 'last_sweep_at'")
        assert self.again(api, known) == 200

    def test_scripts_ask_again_only_while_there_is_something_to_see(self, api: Api) -> None:
        api.installation.add_recipients(2)
        api.installation.save_email(1, HOUR)
        assert "data-refresh" not in page(api)
        api.installation.save_email(2, 50)
        assert 'data-refresh="2"' in page(api)
        run(api, "UPDATE emails SET due_at = 1 WHERE event_id = 2")
        settle(api, 2, "sent")
        assert 'data-refresh="2"' in page(api)
        settle(api, 2, "sent")
        assert "data-refresh" not in page(api)


class TestFaults:
    def test_without_its_tables_the_page_says_what_mends_it(self, api: Api) -> None:
        run(api, "UPDATE meta SET value = '99' WHERE name = 'schema_version'")
        api.close()
        answer = get(api, status=503)
        assert answer.headers["Retry-After"] and "Go to the schedule</a>" in answer.text

    def test_a_person_who_logs_in_comes_here(self, api: Api) -> None:
        services_of(api.app).settings = api.installation.settings._replace(api_tokens=("the-token-of-the-pages",))
        form = api.client.get("/login", headers=BROWSER)
        login = {"csrf_token": csrf_token(form.text), "token": "the-token-of-the-pages"}
        answer = api.client.post("/login", data=login, headers=BROWSER, follow_redirects=True)
        assert answer.request.path == "/" and "<h1><bdi>Welcome to Email endpoint</bdi></h1>" in answer.text
        assert "Bearer $API_TOKEN" in answer.text


def test_ten_thousand_emails_do_not_slow_it_down(api: Api) -> None:
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)"
    now = int(datetime.now(UTC).timestamp())
    api.installation.add_recipients(10)
    run(
        api,
        f"""{numbers} INSERT INTO emails (event_id, due_at, created_at, finished_at, token, subject, content, status)
        SELECT n, {now} + (n - 5000) * 60, 0, {now}, 'token', 'Subject', 'Content', CASE n % 5 WHEN 0 THEN 'held'
            WHEN 1 THEN 'cancelled' WHEN 2 THEN 'sending' ELSE CASE WHEN n < 5000 THEN 'sent' ELSE 'scheduled' END END
        FROM numbers""",
    )
    run(
        api,
        f"""INSERT INTO progress (event_id, started_at, last_recipient_id, cursor_id, deliveries, sent, failed)
        SELECT event_id, {now} - 9 + event_id / 5000, 9, 9, 9, 8, 1 FROM emails WHERE status IN ('sent', 'sending')""",
    )
    with api.installation.database() as database:
        database.connection.analyze()
    assert len(get(api).data) < 60_000  # and much less compressed
    assert 0 < rows_read(api) < 6_000  # most of them for the next 1,000 scheduled emails


def rows_read(api: Api) -> int:
    """Return how many rows the database reads for the page. On SQLite, a row counts as at least ten steps."""
    connection: Any = api.databases.current().connection
    if isinstance(connection, SQLiteConnection):
        steps: list[None] = []
        connection._connection.set_progress_handler(lambda: steps.append(None), 10)
        get(api)
        connection._connection.set_progress_handler(None, 0)
        return len(steps)
    counter = RowCounter(connection._connection)
    connection._connection = counter
    get(api)
    return counter.rows


class RowCounter:
    """Wraps the connection to PostgreSQL, and counts the rows in the plans of all queries."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.rows = 0

    def execute(self, sql: str, values: Any = None, **options: Any) -> Any:
        if sql.split()[0] in ("SELECT", "WITH"):
            ((plans,),) = self._real.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values).fetchall()
            self.rows += sum(self._rows(each["Plan"]) for each in plans)
        return self._real.execute(sql, values, **options)

    def _rows(self, node: dict[str, Any]) -> int:
        removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
        here: int = round((node["Actual Rows"] + removed) * node["Actual Loops"])
        return here + sum(map(self._rows, node.get("Plans", ())))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
