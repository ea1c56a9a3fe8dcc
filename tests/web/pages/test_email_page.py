"""/emails/<event_id>: the status of an email, its deliveries and failures, and actions on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from database import Address, EmailSummary
from tests.support.servers.smtp_server import Action, Close, ScriptedServer
from tests.support.web.api_client import Api
from web.pages.email import wording

BROWSER = {"Accept": "text/html"}
REFUSED = "550 5.7.1 <script>alert(1)</script>"


def answer_to(line: bytes, nth: int) -> Action:
    return REFUSED if b"r1@" in line or b"r3@" in line else None


def doubt(content: bytes, nth: int) -> Action:
    return Close() if b"To: r2@" in content else None


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[Api]:
    """Send email 1 to r0 to r4@example.com: 1 and 3 are refused, and 2 is in doubt."""
    with ScriptedServer(on={"RCPT": answer_to, "CONTENT": doubt}) as server:
        made = Api(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}", IN_DOUBT="hold")
        made.installation.add_recipients(5)
        made.installation.save_email(1)
        made.sweep()
        yield made
        made.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Api]:
    """Return an API in which email 1 is due in an hour, with two recipients."""
    made = Api(tmp_path)
    made.installation.add_recipients(2)
    made.installation.save_email(1, due_in=3_600)
    yield made
    made.close()


def get(api: Api, path: str = "/emails/1", status: int = 200) -> str:
    answer = api.client.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.text
    return answer.text


def words(html: str) -> str:
    """Return the visible text of a page."""
    without_inline = re.sub("</?(time|bdi|code|strong)[^>]*>", "", html)
    return " ".join(unescape(re.sub("<[^>]*>", " ", without_inline)).split())


def post(api: Api, act: str, **fields: object) -> TestResponse:
    """Submit a form of the page, or of an earlier version of the page if it no longer has one."""
    with api.client as client:
        get(api)
        token = generate_csrf()
    return client.post(f"/emails/1/{act}", data={"csrf_token": token, **fields}, headers=BROWSER)


def told(api: Api, act: str, **fields: object) -> str:
    """Return the notice that the page shows after an action."""
    answer = post(api, act, **fields)
    assert answer.status_code == 303, answer.text
    notice = re.search(r'<div class="banner \w+" role="status">.*?<p>(.*?)</p>', get(api, answer.location), re.DOTALL)
    assert notice
    return words(notice[1])


def ids_ticked(api: Api, path: str = "/emails/1") -> list[str]:
    return re.findall(r'name="recipient_id" value="(\d+)"', get(api, path))


class TestWhatItSays:
    def test_the_numbers_are_big_and_the_lateness_is_in_the_activity(self, sent: Api) -> None:
        page = words(get(sent))
        assert "Sent, 2 failed, 1 unconfirmed" in page and "40.0% delivered to the mail server" in page
        assert "Delivered 2 Failed 2 Unconfirmed 1" in page
        assert re.search(r"First message delivered Today \d\d:\d\d, \d+ s after the due time", page)

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ({"expected": 3, "sent": 3}, "sent"),
            ({"expected": 3, "sent": 2, "failed": 1}, "sent, 1 failed"),
            ({"expected": 3, "sent": 1, "failed": 1, "unknown": 1}, "sent, 1 failed, 1 unconfirmed"),
            ({"expected": 3, "failed": 3}, "delivered to no one: 3 failed"),
            ({"expected": 0}, "not sent to anyone"),
        ],
    )
    def test_over_a_failure_it_is_never_plainly_sent(self, counts: dict[str, int], said: str) -> None:
        assert wording.status_words(summary(**counts)) == said

    def test_lateness_is_exact(self) -> None:
        due = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)
        late = {"first_sent_at": due + timedelta(seconds=2), "last_sent_at": due + timedelta(minutes=33, seconds=12)}
        email = summary(due_at=due, expected=1_450, sent=1_438, failed=12, **late)
        assert wording.lateness_words(email) == ("2 s", "33 min 12 s")

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ({"sent": 1_000_000, "expected": 1_000_000}, "100%"),
            ({"sent": 999_999, "failed": 1, "expected": 1_000_000}, "99.9%"),
            ({"sent": 1, "failed": 999_999, "expected": 1_000_000}, "0.1%"),
            ({"failed": 3, "expected": 3}, "0%"),
            ({"status": "sending", "sent": 998, "failed": 1, "expected": 1_000}, "99%"),
        ],
    )
    def test_it_is_100_percent_only_if_nothing_is_missing(self, counts: dict[str, object], said: str) -> None:
        assert wording.percent(summary(**counts)) == said

    def test_one_failure_among_a_million_is_seen_in_the_bar(self, sent: Api) -> None:
        with sent.installation.database() as database:
            database.connection.execute("UPDATE progress SET deliveries = 1000000, sent = 999997, failed = 2")
        bar = get(sent).partition('<svg class="meter thick"')[2].partition("</svg>")[0]
        bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', bar)
        assert [tone for tone, _, _ in bars] == ["good", "bad", "warn"]
        assert all(float(x) <= 99.5 and float(width) >= 0.5 for _, x, width in bars)

    def test_who_did_not_get_it_and_why(self, sent: Api) -> None:
        page = words(get(sent))
        assert "Why 2 failed" in page
        assert "Blocked by the recipient’s server 550 5.7.1 <script>alert(1)</script> Such as r1@example.com 2" in page
        assert REFUSED not in get(sent)

    def test_the_rows_of_an_outcome_have_an_address_of_their_own(self, sent: Api) -> None:
        page = get(sent, "/emails/1?status=failed")
        assert re.findall(r'<a class="main" href="/recipients/\d"><bdi>(r\d)<wbr>@example.com', page) == ["r1", "r3"]
        assert 'href="/api/emails/1/deliveries?format=csv&amp;status=failed"' in page
        assert get(sent, "/emails/1?status=queued").count("r1@example.com") == 1  # as the example of a reason

    def test_deliveries_go_on_from_page_to_page(self, sent: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("web.pages.email.view.PAGE_SIZE", 2)
        seen, path = [], "/emails/1?status=sent"
        while path:
            page = get(sent, path)
            seen += re.findall(r'<a class="main" href="/recipients/\d"><bdi>(r\d)<wbr>@example.com', page)
            more = re.search(r'<a href="([^"]*)" rel="next"', page)
            path = unescape(more[1]) if more else ""
        assert seen == ["r0", "r4"]

    def test_every_try_of_a_delivery_is_told(self, sent: Api) -> None:
        assert "failed. 550 5.7.1" in words(get(sent)) and "unconfirmed." in words(get(sent))

    @pytest.mark.parametrize("query", ["status=x", "after=x", "content=x", "after=1e3", "after=9999999999999999999"])
    def test_an_address_that_no_page_made_is_refused(self, sent: Api, query: str) -> None:
        assert "<h1>Bad request</h1>" in get(sent, f"/emails/1?{query}", 400)

    @pytest.mark.parametrize("path", ["2", "x", "-", "9" * 400, "1/frame/x", "2/frame", "2/source", "x/source"])
    def test_what_is_not_there_has_a_way_back(self, sent: Api, path: str) -> None:
        assert "Go to the schedule" in get(sent, f"/emails/{path}", 404)

    def test_the_page_is_asked_for_again_while_it_is_being_sent(self, sent: Api) -> None:
        assert "data-refresh" not in get(sent)
        sent.post("/emails/1/retry")
        assert ' data-refresh="2">' in get(sent)

    def test_an_email_that_was_just_saved_or_has_just_become_due_is_not_overdue(self, waiting: Api) -> None:
        for event_id, due_in, saved_ago in ((2, -7200, 10), (3, -60, 7200)):
            waiting.installation.save_email(event_id, due_in, saved_ago=saved_ago)
            page = words(get(waiting, f"/emails/{event_id}"))
            assert "It will be sent within a minute" in page and "Recipients now 2" in page

    def test_what_is_overdue_says_so(self, waiting: Api) -> None:
        waiting.installation.save_email(2, -120, saved_ago=120)
        assert "It was due 2 min" in words(get(waiting, "/emails/2"))
        assert "It was due" not in words(get(waiting)) and re.search(r"in (59 min|1 h)", words(get(waiting)))

    def test_without_its_database_there_is_a_way_back(self, waiting: Api) -> None:
        (waiting.installation.folder / "email.db").unlink()
        assert "Go to the schedule" in get(waiting, status=503)

    def test_nothing_is_sent_twice_while_it_is_what_it_was(self, sent: Api) -> None:
        tag = sent.client.get("/emails/1").headers["ETag"]
        assert sent.client.get("/emails/1", headers={"If-None-Match": tag}).status_code == 304
        sent.post("/emails/1/retry")
        assert sent.client.get("/emails/1", headers={"If-None-Match": tag}).status_code == 200

    def test_what_was_forgotten_is_not_pretended_to_be_there(self, sent: Api) -> None:
        with sent.installation.database() as database:
            database.prune(datetime.now(UTC) + timedelta(seconds=9))
        page = words(get(sent))
        assert "2 failed, 1 unconfirmed" in page and "were deleted after the time that KEEP_FOR sets" in page
        assert "<form" not in get(sent)
        for part in ("frame", "source"):
            assert "has been deleted" in get(sent, f"/emails/1/{part}", 410)


def summary(**changes: object) -> EmailSummary:
    """Return the summary of an email that was sent."""
    now = datetime.now(UTC)
    base = EmailSummary(1, "Subject", now, now, now, "sent", None, 0, 0, 0, 0, 0, 0, now, None, None)
    return base._replace(**changes)  # type: ignore[arg-type]


def change_recipients(api: Api, change: str, recipient_id: int) -> None:
    with api.installation.database() as database:
        database.connection.execute(f"UPDATE recipients SET {change} WHERE recipient_id = :id", id=recipient_id)


class TestRetry:
    def test_just_the_ticked_are_tried_again(self, sent: Api) -> None:
        assert ids_ticked(sent) == ["2", "3", "4"]
        assert told(sent, "retry", which="ticked", recipient_id=["4"]) == "Retrying 1 delivery."
        assert [row["address"] for row in queued(sent)] == ["r3@example.com"]

    @pytest.mark.parametrize(("which", "count"), [("failed", 2), ("unknown", 1)])
    def test_all_of_an_outcome_are_tried_again_and_only_once(self, sent: Api, which: str, count: int) -> None:
        assert "Retrying " in told(sent, "retry", which=which)
        assert len(queued(sent)) == count
        assert told(sent, "retry", which=which) == "None of them can be retried any longer. Nothing changed."
        assert len(queued(sent)) == count

    def test_it_says_who_was_not_retried(self, sent: Api) -> None:
        sentence = told(sent, "retry", which="ticked", recipient_id=["1", "2"])
        assert sentence.startswith("Retrying 1 delivery. 1 more selected delivery can no longer be retried")

    def test_the_button_counts_what_can_be_retried_and_the_page_says_why_not_the_rest(self, sent: Api) -> None:
        assert retry_button(sent) == "Retry 2"
        change_recipients(sent, "status = 'rejected'", 2)
        page = words(get(sent))
        assert (
            retry_button(sent) == "Retry 1" and "1 failed delivery cannot be retried: 1 recipient is rejected." in page
        )
        said = "Retrying 1 delivery. 1 cannot be retried: 1 recipient is rejected."
        assert told(sent, "retry", which="failed") == said
        assert retry_button(sent) is None
        said = "1 of them cannot be retried: 1 recipient is rejected. Nothing changed."
        assert told(sent, "retry", which="failed") == said

    def test_rejected_recipients_are_reactivated_and_their_deliveries_retried(self, sent: Api) -> None:
        assert "Reactivate" not in get(sent)
        change_recipients(sent, "status = 'rejected'", 2)
        assert "Reactivate rejected recipients and retry?" in get(sent)
        said = told(sent, "retry", which="rejected")
        assert said == "Reactivated 1 recipient. Retrying 2 deliveries."
        assert "Reactivate" not in get(sent) and len(queued(sent)) == 2

    def test_an_unknown_delivery_to_someone_who_left_is_not_offered_again(self, sent: Api) -> None:
        assert "Resend 1…" in words(get(sent))
        change_recipients(sent, "removed_at = 1", 3)
        page = words(get(sent))
        assert "Resend" not in page and "Mark 1 as delivered" in page
        assert "1 of them cannot be retried: 1 recipient was removed." in page

    def test_of_very_many_failures_only_the_first_are_looked_at(
        self, sent: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.deliveries.retry.BATCH_SIZE", 1)
        monkeypatch.setattr("web.pages.email.view.MAX_REASON_ROWS", 1)
        change_recipients(sent, "status = 'rejected'", 2)
        page = words(get(sent))
        assert retry_button(sent) == "Retry failed" and "Resend unconfirmed…" in page
        assert "1 or more failed deliveries cannot be retried: 1 recipient is rejected." in page

    def test_without_a_tick_nothing_is_retried(self, sent: Api) -> None:
        assert told(sent, "retry", which="ticked").startswith("Select at least one delivery")
        assert queued(sent) == []

    @pytest.mark.parametrize(
        "fields",
        [{}, {"which": "sent"}, {"which": "ticked", "recipient_id": "x"}, {"which": "ticked", "recipient_id": ""}],
    )
    def test_a_form_that_no_page_made_is_refused(self, sent: Api, fields: dict[str, str]) -> None:
        assert post(sent, "retry", **fields).status_code == 400
        assert queued(sent) == []

    def test_the_filter_stays(self, sent: Api) -> None:
        assert post(sent, "retry?status=failed", which="failed").location == "/emails/1?status=failed"
        assert post(sent, "retry?status=%0d%0a", which="failed").location == "/emails/1"


def retry_button(api: Api) -> str | None:
    """Return the label of the button that retries all failed deliveries."""
    form = re.search(r'name="which" value="failed">\s*<button.*?</svg>(.*?)</button>', get(api))
    return form and form[1]


def queued(api: Api) -> list[dict[str, object]]:
    return api.get("/emails/1/deliveries?status=queued")["deliveries"]  # type: ignore[no-any-return]


class TestDecide:
    @pytest.mark.parametrize("which", [{"which": "unknown"}, {"which": "ticked", "recipient_id": ["3", "2"]}])
    @pytest.mark.parametrize(("status", "word"), [("sent", "delivered"), ("failed", "failed")])
    def test_a_person_says_what_became_of_the_unknown_ones(
        self, sent: Api, which: dict[str, object], status: str, word: str
    ) -> None:
        assert told(sent, "decide", status=status, **which) == f"Marked 1 delivery as {word}."
        assert sent.get("/emails/1/deliveries/3")["status"] == status
        assert sent.get("/emails/1/deliveries/2")["status"] == "failed"
        assert told(sent, "decide", status=status, **which).startswith("None of these deliveries is unconfirmed")

    def test_without_a_tick_nothing_is_decided(self, sent: Api) -> None:
        assert told(sent, "decide", which="ticked", status="sent").startswith("Select at least one delivery")
        assert sent.get("/emails/1/deliveries/3")["status"] == "unknown"

    def test_a_form_that_no_page_made_is_refused(self, sent: Api) -> None:
        for fields in ({"which": "unknown"}, {"status": "sent"}, {"which": "failed", "status": "sent"}):
            assert post(sent, "decide", **fields).status_code == 400


class TestCancel:
    def test_before_it_began_nobody_gets_it(self, waiting: Api) -> None:
        assert told(waiting, "cancel") == told(waiting, "cancel") == "Cancelled. It was not sent to anyone."
        page = words(get(waiting))
        assert "Cancelled To all active recipients" in page and "It was not sent to anyone." in page

    def test_it_tells_who_had_got_it(self, sent: Api) -> None:
        sent.post("/emails/1/retry")
        sentence = told(sent, "cancel")
        assert sentence == "Cancelled. 2 recipients already received it."

    def test_of_a_cancelled_one_the_unknown_can_still_be_decided(self, sent: Api) -> None:
        sent.post("/emails/1/retry", {"statuses": ["failed"]})
        told(sent, "cancel")
        page = get(sent)
        assert "Mark 1 as delivered" in page and "Resend" not in page and ">Retry" not in page
        assert told(sent, "decide", which="unknown", status="sent") == "Marked 1 delivery as delivered."
        assert "Mark 1" not in get(sent)

    def test_it_asks_first_and_only_while_it_can_be_done(self, waiting: Api) -> None:
        assert "Yes, cancel this email" in get(waiting)
        told(waiting, "cancel")
        assert "Yes, cancel" not in get(waiting)


class TestTwoPeople:
    def test_who_comes_second_reads_what_happened(self, waiting: Api) -> None:
        post(waiting, "cancel")
        assert told(waiting, "release") == "It has been cancelled in the meantime. Nothing changed."
        assert told(waiting, "retry", which="failed") == "It has been cancelled in the meantime. Nothing changed."
        assert told(waiting, "reschedule", timestamp="2030-01-02T08:00").startswith(
            "It has been cancelled in the meantime"
        )

    def test_what_was_sent_is_neither_cancelled_nor_moved(self, sent: Api) -> None:
        for act in ("cancel", "release"):
            assert told(sent, act) == "It has been sent in the meantime. Nothing changed."
        assert told(sent, "reschedule", timestamp="2030-01-02T08:00").startswith("It has been sent in the meantime")

    @pytest.mark.parametrize("act", ["cancel", "release", "reschedule", "retry", "decide", "undo"])
    def test_an_email_that_is_not_there_is_not_found(self, sent: Api, act: str) -> None:
        fields = {"which": "unknown", "status": "sent", "timestamp": "2030-01-02T08:00"}
        assert post(sent, f"../2/{act}", **fields).status_code == 404

    def test_a_get_does_nothing(self, waiting: Api) -> None:
        for act in ("cancel", "release", "reschedule", "retry", "decide", "undo"):
            get(waiting, f"/emails/1/{act}", 405)
        assert waiting.get("/emails/1")["status"] == "scheduled"


class TestRelease:
    def test_a_held_one_goes_out(self, tmp_path: Path) -> None:
        api = Api(tmp_path)
        api.installation.save_email(1)
        api.sweep()
        assert "There were no active recipients when it was due. Nothing will be sent until you release it." in words(
            get(api)
        )
        assert told(api, "release") == "Still on hold: there are no active recipients."
        api.installation.add_recipients(1)
        page = words(get(api))
        assert "Send anyway…" in page and "It will be sent now to 1 active recipient." in page
        assert told(api, "release") == "Released. It is being saved in the outbox now."
        assert told(api, "release") == "It is now being saved in the outbox. Nothing changed."
        api.sweep()
        assert "100% in the outbox" in words(get(api)) and "In the outbox 1" in words(get(api))
        api.close()

    def test_it_asks_before_it_is_sent_at_once_however_long_the_page_was_open(self, waiting: Api) -> None:
        with waiting.installation.database() as database:
            database.connection.execute("UPDATE emails SET status = 'held'")
        page = get(waiting)
        assert '<input type="hidden" name="expected" value="scheduled">' in page and "Yes, send it now" not in page
        make_due(waiting)
        assert told(waiting, "release", expected="scheduled").startswith("Not released: its time has passed")
        assert waiting.get("/emails/1")["status"] == "held"
        assert "It will be sent now to 2 active recipients. This can’t be undone." in words(get(waiting))
        told(waiting, "release")
        assert waiting.get("/emails/1")["status"] == "sending"

    def test_the_number_of_people_is_named_before_the_rest_is_sent_or_cancelled(self, sent: Api) -> None:
        sent.post("/emails/1/retry")
        with sent.installation.database() as database:
            database.connection.execute("UPDATE emails SET status = 'held', held_because = 'x'")
        page = words(get(sent))
        assert "It will be sent now to 3 recipients who have not received it yet. This can’t be undone." in page
        assert "3 recipients will not receive it." in page


def make_due(api: Api) -> None:
    with api.installation.database() as database:
        now = int(datetime.now(UTC).timestamp())
        database.connection.execute("UPDATE emails SET due_at = :due WHERE event_id = 1", due=now - 1)


class TestUndo:
    """An email that is sent now from a page goes out after ten seconds."""

    def sent_now(self, api: Api) -> str:
        """Reschedule the email into the past, and return the path of the page that offers to undo that."""
        return str(post(api, "reschedule", timestamp="2020-01-02T08:00", confirmed="yes").location)

    def was(self, api: Api, path: str) -> str:
        page = get(api, path)
        assert '<form method="post" action="/emails/1/undo">' in page
        return unescape(re.findall('name="was" value="([^"]*)"', page)[0])

    def test_a_rescheduled_email_gets_its_former_time_back(self, api: Api) -> None:
        api.installation.add_recipients(2)
        api.installation.save_email(1, due_in=3_600)
        before = api.get("/emails/1")
        path = self.sent_now(api)
        assert "It will be saved in the outbox in " in words(get(api, path))
        assert told(api, "undo", was=self.was(api, path)).startswith("Undone. It will be sent ")
        assert api.get("/emails/1") == before

    def test_without_a_former_time_it_is_cancelled_and_the_form_is_filled_in(self, api: Api) -> None:
        api.installation.add_recipients(2)
        api.installation.save_email(1, due_in=60, subject="Gala")
        with api.installation.database() as database:
            database.connection.execute("UPDATE emails SET status = 'held'")
        path = self.sent_now(api)
        answer = post(api, "undo", was=self.was(api, path))
        assert answer.location == "/emails/new?again=1"
        form = get(api, str(answer.location))
        assert 'value="Gala"' in form and re.search('value="now" checked', form)
        assert "Undone. It was not sent to anyone." in form
        assert api.get("/emails/1")["status"] == "cancelled"

    @pytest.mark.parametrize("was", ["now", "2090-01-01T00:00:00Z"])
    def test_it_is_too_late_once_sending_has_begun(self, waiting: Api, was: str) -> None:
        path = self.sent_now(waiting)
        make_due(waiting)
        waiting.sweep()
        assert 'action="/emails/1/undo"' not in get(waiting, path)
        said = "Too late to undo. It has been saved in the outbox in the meantime."
        assert told(waiting, "undo", was=was) == said
        assert waiting.get("/emails/1")["status"] == "sent"

    def test_the_offer_ends_when_it_is_due(self, waiting: Api) -> None:
        path = self.sent_now(waiting)
        assert "/undo" in get(waiting, path)
        make_due(waiting)
        assert "/undo" not in get(waiting, path)

    def test_a_time_that_no_page_made_is_refused(self, waiting: Api) -> None:
        assert post(waiting, "undo", was="soon").status_code == 400


class TestReschedule:
    @pytest.mark.parametrize("typed", ["2030-01-02T08:00", "2030-01-02T08:00:00", "2030-01-02 08:00:00"])
    def test_its_time_is_moved_on_the_clocks_of_the_service(self, waiting: Api, typed: str) -> None:
        assert told(waiting, "reschedule", timestamp=typed).startswith(
            "Rescheduled. It will be sent Wed 2 Jan 2030 08:00 +08:00, in "
        )
        assert waiting.get("/emails/1")["due_at"] == "2030-01-02T00:00:00Z"
        assert 'value="2030-01-02T08:00:00"' in get(waiting)

    def test_a_time_in_the_past_asks_before_the_email_is_sent_to_everyone(self, waiting: Api) -> None:
        before = waiting.get("/emails/1")["due_at"]
        answer = post(waiting, "reschedule", timestamp="2020-01-02T08:00")
        assert answer.status_code == 200
        assert "the email will be sent now to 2 active recipients" in words(answer.text)
        waiting.sweep()
        assert (waiting.get("/emails/1")["due_at"], waiting.get("/emails/1")["status"]) == (before, "scheduled")
        hidden = dict(re.findall('type="hidden" name="(timestamp|offset|confirmed)" value="([^"]*)"', answer.text))
        assert post(waiting, "reschedule", **hidden).location.startswith("/emails/1?undo=")
        assert waiting.sweep() == [] and waiting.get("/emails/1")["status"] == "scheduled"  # it can still be undone
        make_due(waiting)
        waiting.sweep()
        assert waiting.get("/emails/1")["status"] == "sent"

    def test_of_an_email_that_was_sent_meanwhile_a_time_in_the_past_asks_nothing(self, waiting: Api) -> None:
        post(waiting, "reschedule", timestamp="2020-01-02T08:00", confirmed="yes")
        make_due(waiting)
        waiting.sweep()
        assert told(waiting, "reschedule", timestamp="2020-01-02T08:00").startswith(
            "It has been saved in the outbox in the meantime"
        )

    @pytest.mark.parametrize("typed", ["", "soon", "2030-02-30T08:00", "2030-01-02", '"><script>', "1981-12-31T23:45"])
    def test_what_is_no_time_is_said_at_the_field_and_kept(self, waiting: Api, typed: str) -> None:
        before = waiting.get("/emails/1")["due_at"]
        answer = post(waiting, "reschedule", timestamp=typed)
        assert answer.status_code == 400 and 'aria-describedby="wrong zone" aria-invalid="true"' in answer.text
        assert "Not rescheduled" in answer.text and "<script>" not in answer.text
        assert waiting.get("/emails/1")["due_at"] == before

    def test_of_a_time_that_comes_twice_it_asks_which_is_meant(self, tmp_path: Path) -> None:
        api = Api(tmp_path, TIMEZONE="Europe/Berlin")
        api.installation.save_email(1, due_in=3_600)
        twice = {"timestamp": "2030-10-27T02:30"}
        answer = post(api, "reschedule", **twice)
        assert answer.status_code == 400
        assert re.findall('name="offset" value="([^"]*)"', answer.text) == ["+02:00", "+01:00"]
        assert "Rescheduled" in told(api, "reschedule", **twice, offset="+01:00")
        assert api.get("/emails/1")["due_at"] == "2030-10-27T01:30:00Z"
        api.close()

    def test_the_zone_is_named_at_the_field(self, waiting: Api) -> None:
        assert "Time zone: Asia/Singapore (currently UTC+08:00)." in words(get(waiting))


def test_a_page_costs_no_more_than_its_rows_and_every_row_can_be_any_text(waiting: Api) -> None:
    odd = ['"<b>"@example.com', "'\"@example.com", "+x@example.com"]
    with waiting.installation.database() as database:
        database.recipients.add((Address(text, text) for text in odd), datetime.now(UTC))
    waiting.installation.save_email(7)
    waiting.sweep()
    page = get(waiting, "/emails/7")
    assert "<b>" not in page and "&lt;b&gt;" in page


def test_on_every_kind_of_database(api: Api) -> None:
    api.installation.add_recipients(2)
    api.installation.save_email(1, due_in=60)
    answer = post(api, "reschedule", timestamp="2020-01-02T08:00", confirmed="yes")
    assert "It will be saved in the outbox in " in words(get(api, str(answer.location)))
    make_due(api)
    api.sweep()
    assert "100% in the outbox" in words(get(api)) and "In the outbox 2" in words(get(api))
    assert told(api, "decide", which="unknown", status="sent").startswith("None of these deliveries is unconfirmed")
