"""Importing in the browser: upload, preview, import, invalid lines, undo, and unusable files."""

from __future__ import annotations

import errno
import gc
import io
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from database import Address, Database, Import
from intake.recipients_csv import import_job
from storage.recipients import imports as storage_imports
from tests.support.disk import fill
from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from tests.support.web.recipient_pages import BROWSER, everyone, get, unsubscribe
from web.pages import imports

FILE = (
    "\ufeffname;recipient_email\r\n"
    "Ada;ada@example.com\r\n"
    "Bad;not an address\r\n"
    "Left;left@example.com\r\n"
    "Known;Known@example.com\r\n"
    "Again;ADA@example.com\r\n"
    "\"Formula\";=cmd|' /C calc'!A0\r\n"
    "Größe;größe@example.com\r\n"
).encode()
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"


@pytest.fixture
def where() -> dict[str, str]:
    """Use SQLite. tests/storage/recipients/test_recipient_imports.py tests both engines."""
    return {}


@pytest.fixture
def api(api: Api) -> Iterator[Api]:
    """Return an API with one active and one unsubscribed recipient."""
    with api.installation.database() as database:
        names = ("known@example.com", "left@example.com")
        database.recipients.add([Address(name, name) for name in names], datetime.now(UTC))
    unsubscribe(api, 2)
    yield api
    for thread in threading.enumerate():
        if thread.name.startswith("import "):
            thread.join()


def upload(api: Api, content: bytes, name: str = "people.csv") -> TestResponse:
    fields = {"csrf_token": csrf_token(get(api, "/recipients/import")), "file": (io.BytesIO(content), name)}
    return api.client.post("/recipients/import", data=fields, headers=BROWSER)


def step(api: Api, name: str, number: int = 1) -> str:
    """Submit a step, and return the page that follows."""
    token = csrf_token(get(api, "/recipients"))
    answer = api.client.post(f"/recipients/imports/{number}/{name}", data={"csrf_token": token}, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    return get(api, answer.location)


def preview(api: Api, content: bytes = FILE) -> str:
    answer = upload(api, content)
    assert answer.status_code == 303, answer.text
    assert answer.location == "/recipients/imports/1"
    return get(api, answer.location)


def facts(page: str) -> dict[str, str]:
    found = re.findall(r"<dt>(?:<span[^>]*></span>)?([^<]+)</dt><dd>(.+?)</dd>", page)
    return {term: re.sub(r"</?small>", "", value) for term, value in found}


def rows(page: str) -> list[str]:
    """Return the address and the result of each row in the preview."""
    found = re.findall(r"<tr>\s*<th scope=\"row\" class=\"line\">(.*?)</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


def get_import(api: Api) -> Import:
    with api.installation.database() as database:
        found = database.imports.get(1)
    assert found
    return found


def addresses(api: Api) -> list[str]:
    return sorted(recipient.address for recipient in everyone(api))


class TestSteps:
    def test_before_anything_is_stored_it_is_said_what_will_happen(self, api: Api) -> None:
        page = preview(api)
        assert "<h1>Review import</h1>" in page and "Import 2 new recipients" in page
        assert facts(page) == {
            "New": "2",
            "Already recipients": "1",
            "Unsubscribed": "1 (no change)",
            "Duplicates": "1",
            "Invalid": "2 lines",
            "Encoding": "UTF-8",
            "Columns": "2, separated by semicolons",
            "Header": "on line 1",
        }
        assert rows(page) == [
            "2 ada@example.com added",
            "3 not an address skipped: not an address is not valid: An email address must have an @-sign.",
            "4 left@example.com no change (unsubscribed)",
            "5 Known@example.com no change (already a recipient)",
            "6 ADA@example.com skipped (duplicate)",
            "7 =cmd|' /C calc'!A0 skipped: =cmd|' /C calc'!A0 is not valid: An email address must have an @-sign.",
            "8 größe@example.com added",
        ]
        assert addresses(api) == ["known@example.com", "left@example.com"]

    def test_then_it_is_imported_and_nobody_becomes_active_again(self, api: Api) -> None:
        preview(api)
        page = step(api, "import")
        assert "<h1>Imported</h1>" in page and 'href="/emails/new"' in page and "Write an email" in page
        assert facts(page)["Added"] == "2" and facts(page)["Unsubscribed"] == "1 (no change)"
        assert addresses(api) == ["ada@example.com", "größe@example.com", "known@example.com", "left@example.com"]
        assert {each.address: each.status for each in everyone(api)}["left@example.com"] == "unsubscribed"

    def test_the_bad_lines_are_a_csv_file_that_no_spreadsheet_runs(self, api: Api) -> None:
        page = preview(api)
        for _ in range(2):
            assert 'href="/recipients/imports/1/bad-lines.csv"' in page
            answer = api.client.get("/recipients/imports/1/bad-lines.csv")
            assert answer.content_type.startswith("text/csv") and "attachment" in answer.headers["Content-Disposition"]
            assert answer.text.split("\r\n") == [
                "\ufeffline,reason,name,recipient_email",
                "3,not an address is not valid: An email address must have an @-sign.,Bad,not an address",
                "7,'=cmd|' /C calc'!A0 is not valid: An email address must have an @-sign.,Formula,'=cmd|' /C calc'!A0",
                "",
            ]
            page = step(api, "import")

    def test_a_first_line_for_excel_names_the_delimiter(self, api: Api) -> None:
        page = preview(api, '\ufeff"sep=;"\r\nrecipient_email;name\r\nada@example.com;A,B\r\nnobody;C\r\n'.encode())
        assert "ada@example.com" in page
        assert "\r\n4,nobody is not valid" in api.client.get("/recipients/imports/1/bad-lines.csv").text
        step(api, "import")
        assert "ada@example.com" in addresses(api)

    def test_undoing_takes_away_whom_it_added(self, api: Api) -> None:
        preview(api)
        assert "Undo this import" in step(api, "import")
        page = step(api, "undo")
        assert "Removed 2 of 2 added recipients." in page
        assert addresses(api) == ["known@example.com", "left@example.com"]
        assert "Undo this import" not in page

    def test_undoing_leaves_who_was_sent_something(self, api: Api) -> None:
        preview(api)
        step(api, "import")
        api.installation.save_email(7)
        assert api.sweep() == []
        page = step(api, "undo")
        assert "Removed 0 of 2" in page
        assert "Kept 2 recipients. Recipients are kept if they have an email in the outbox" in page

    def test_every_button_can_be_pressed_twice(self, api: Api) -> None:
        preview(api)
        for name, count in (("import", 4), ("undo", 2)):
            step(api, name)
            assert "Already in progress" in step(api, name)
            assert len(everyone(api)) == count
        assert "It is too late to discard" in step(api, "discard")

    def test_a_file_can_be_discarded(self, api: Api) -> None:
        preview(api)
        assert "Nothing was imported." in step(api, "discard")
        assert "was already discarded" in step(api, "discard")
        get(api, "/recipients/imports/1", 404)

    def test_the_imports_so_far_are_listed(self, api: Api) -> None:
        assert "Recent imports" not in get(api, "/recipients/import")
        preview(api)
        page = get(api, "/recipients/import")
        assert (
            '<a class="main" href="/recipients/imports/1"><bdi>people.csv</bdi></a>' in page
            and "Ready to review" in page
        )

    def test_of_very_many_bad_lines_the_first_are_named(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(import_job, "MAX_INVALID_LINES", 3)
        page = preview(api, b"ada@example.com\n" + b"x\n" * 9)
        assert "9 lines cannot be imported" in page and "the first 3 with the reasons" in page
        assert len(api.client.get("/recipients/imports/1/bad-lines.csv").text.splitlines()) == 4

    def test_when_nobody_is_new_recipients_can_be_updated(self, api: Api) -> None:
        page = preview(api, b"known@example.com\n")
        assert "Update 1 recipient" in page and "/recipients/imports/1/discard" in page

    def test_a_page_that_has_not_changed_is_not_sent_again(self, api: Api) -> None:
        preview(api)
        answer = api.client.get("/recipients/imports/1", headers=BROWSER)
        again = api.client.get("/recipients/imports/1", headers={**BROWSER, "If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304

    @pytest.mark.parametrize("number", ["0", "2", str(2**63), "9" * 300])
    def test_there_is_nothing_at_other_numbers(self, api: Api, number: str) -> None:
        assert "Import not found" in get(api, f"/recipients/imports/{number}", 404)
        assert api.client.get(f"/recipients/imports/{number}/bad-lines.csv").status_code == 404
        token = csrf_token(get(api, "/recipients"))
        for name, status in (("import", 404), ("discard", 303), ("nothing", 404)):
            path = f"/recipients/imports/{number}/{name}"
            assert api.client.post(path, data={"csrf_token": token}).status_code == status


class TestForms:
    @pytest.mark.parametrize(
        ("content", "columns", "header"),
        [
            (b"a@example.com\nb@example.com", "1", "none (one address per line)"),
            (b"\nRECIPIENT_EMAIL\r\na@example.com\rb@example.com", "1", "on line 2"),
            (b"recipient_email\tname\na@example.com\tA\nb@example.com\t", "2, separated by tabs", "on line 1"),
            (b"name,recipient_email\n,a@example.com\n,b@example.com\n", "2, separated by commas", "on line 1"),
        ],
    )
    def test_the_form_of_a_file_is_found(self, api: Api, content: bytes, columns: str, header: str) -> None:
        page = preview(api, content)
        assert (facts(page)["Columns"], facts(page)["Header"]) == (columns, header)
        assert facts(page)["Encoding"] == "UTF-8"
        assert facts(page)["New"] == "2"

    def test_who_has_left_by_the_file_itself_is_left_out(self, api: Api) -> None:
        page = preview(api, b"recipient_email,recipient_status\na@example.com,active\nb@example.com,unsubscribed\n")
        assert facts(page)["New"] == "1" and facts(page)["Skipped"] == "1 (marked inactive in the file)"

    def test_an_address_in_another_encoding_is_read_as_windows_1252_where_that_is_possible(self, api: Api) -> None:
        page = preview(api, "ada@example.com\njosé@example.com\n".encode("latin-1") + b"\x81@example.com\n")
        assert facts(page)["New"] == "2" and facts(page)["Invalid"] == "1 line"
        assert "josé@example.com" in page and "the address is not UTF-8 text; save the file as UTF-8" in page

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the file contains no recipients"),
            (b"\xef\xbb\xbf\r\n\r\n", "the file contains no recipients"),
            (b"recipient_email;name\r\n", "the file contains no recipients"),
            (b"a@example.com\0\n", "the file is UTF-16 or not text"),
            (b'a@example.com\n"b@example.com\nc@example.com\n', "cannot read the file from line 2: unclosed quote"),
            (
                b"name,contact\nAda,Bonn\n",
                "the file has 2 columns, but no header named recipient_email or email",
            ),
            (b"name\nAda\n", "the first line is neither an address nor a header named recipient_email"),
            (b"=cmd|' /C calc'!A0\n", "the first line is neither an address nor a header named recipient_email"),
            (PNG, "line 1"),
            (PNG * 9_000, "line 1"),
            (b"@\n", "the file has no valid lines; line 1: @ is not valid"),
        ],
    )
    def test_a_file_of_which_nothing_can_be_taken_is_refused_with_the_reason(
        self, api: Api, content: bytes, reason: str
    ) -> None:
        answer = upload(api, content)
        page = unescape(answer.text)
        assert answer.status_code == 400 and reason in page
        assert 'aria-invalid="true"' in page and 'type="file"' in page
        assert len(everyone(api)) == 2
        get(api, "/recipients/imports/1", 404)

    def test_many_bad_lines_before_the_end_are_a_file_of_their_own(self, api: Api) -> None:
        page = get(api, upload(api, b'@\n@\n"b@example.com\n').location)
        assert "This file cannot be imported" in page and "cannot read the file from line 3" in page
        assert len(api.client.get("/recipients/imports/1/bad-lines.csv").text.splitlines()) == 4

    def test_a_nul_further_down_is_one_bad_line(self, api: Api) -> None:
        page = preview(api, b"recipient_email\n" + b"\n" * 30 + b"b\0@example.com\na@example.com\n")
        assert facts(page)["New"] == "1" and "the line contains a NUL character" in page

    @pytest.mark.parametrize(
        "name", ["<b>&\"'.csv", "../../etc/passwd", "a\x7fb\x1b[31m.csv", "n" * 5_000, "日本 😀.csv"]
    )
    def test_any_name_of_a_file_is_shown_and_nothing_more(self, api: Api, name: str) -> None:
        answer = upload(api, b"a@example.com\n", name)
        assert answer.status_code == 303
        text = api.client.get("/recipients/imports/1").text
        assert "<b>&" not in text and "n" * 101 not in text

    @pytest.mark.parametrize("fields", [{}, {"file": "a@example.com"}, {"file": (io.BytesIO(b"a@example.com"), "")}])
    def test_no_file_is_said(self, api: Api, fields: dict[str, object]) -> None:
        token = csrf_token(get(api, "/recipients/import"))
        answer = api.client.post(
            "/recipients/import", data={**fields, "csrf_token": token}, content_type="multipart/form-data"
        )
        assert answer.status_code == 400 and "choose a file first" in answer.text


def test_a_file_of_max_body_and_a_byte_more_is_for_the_command_line(tmp_path: Path) -> None:
    api = Api(tmp_path, MAX_BODY="20kB")
    answer = upload(api, b"a@example.com\n" * 1_600)
    page = unescape(answer.text)
    assert answer.status_code == 413 and "run flask recipients import FILE" in page and "20 kB" in page
    assert upload(api, b"a@example.com\n" * 1_300).status_code == 303
    api.close()


class TestBreaking:
    def test_what_is_running_is_shown_and_asked_for_again(self, api: Api) -> None:
        preview(api)
        self.set(api, status="importing", position=len(FILE) // 2, heartbeat_at=int(time.time()))
        page = get(api, "/recipients/imports/1")
        assert 'data-refresh="2"' in page and "50% read" in page
        assert f'<progress class="progress" id="progress" max="{len(FILE)}" value="{len(FILE) // 2}">' in page

    @pytest.mark.parametrize("status", ["reading", "importing"])
    def test_when_the_process_died_nothing_was_imported_and_it_can_be_started_again(
        self, api: Api, status: str
    ) -> None:
        preview(api)
        self.set(api, status=status, heartbeat_at=int(time.time()) - storage_imports.HEARTBEAT_TIMEOUT_SECONDS - 1)
        page = get(api, "/recipients/imports/1")
        assert "<h1>Import interrupted</h1>" in page and "Nothing was imported. The server stopped" in page
        assert "data-refresh" not in page and "Start again" in page
        done = step(api, "read" if status == "reading" else "import")
        assert ("Review import" if status == "reading" else "<h1>Imported</h1>") in done

    def test_an_undoing_that_broke_off_goes_on(self, api: Api) -> None:
        preview(api)
        step(api, "import")
        self.set(api, status="undoing", heartbeat_at=0, position=0)
        assert "Removed 0 of 2 recipients so far." in get(api, "/recipients/imports/1")
        assert "Removed 2 of 2 added recipients." in step(api, "undo")

    def test_a_database_that_fails_is_told_in_the_import(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        preview(api)
        with api.installation.database() as database:
            database.connection.execute("ALTER TABLE recipients RENAME TO elsewhere")
        page = step_without_list(api, "import")
        assert "<h1>Import interrupted</h1>" in page and "no such table: recipients" in page
        with api.installation.database() as database:
            database.connection.execute("ALTER TABLE elsewhere RENAME TO recipients")
        assert "<h1>Imported</h1>" in step(api, "import")

    @staticmethod
    def set(api: Api, **columns: object) -> None:
        changes = ", ".join(f"{name} = :{name}" for name in columns)
        with api.installation.database() as database:
            database.connection.execute(f"UPDATE imports SET {changes}", **columns)


def step_without_list(api: Api, name: str) -> str:
    """Like `step`, for pages that cannot show the list."""
    page = get(api, "/recipients/imports/1")
    answer = api.client.post(f"/recipients/imports/1/{name}", data={"csrf_token": csrf_token(page)})
    return get(api, answer.location)


def test_a_large_file_is_read_beside_the_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "JOB_TIMEOUT", 0.0)
    count = 20_000
    answer = upload(api, b"".join(b"r%d@example.com\n" % number for number in range(count)))
    assert answer.status_code == 303
    wait_for(api, "ready")
    assert get_import(api).position == get_import(api).size
    step(api, "import")
    wait_for(api, "done")
    assert (get_import(api).added, len(addresses_of(api))) == (count, count + 2)


def wait_for(api: Api, status: str) -> None:
    ends = time.monotonic() + 60
    while get_import(api).status != status:
        assert time.monotonic() < ends, get_import(api)
        time.sleep(0.05)


def addresses_of(api: Api) -> list[str]:
    def all_of(database: Database) -> list[str]:
        return [each.address for page in database.recipients.pages() for each in page]

    with api.installation.database() as database:
        return all_of(database)


def upload_raw(api: Api, token: str) -> TestResponse:
    """Upload a megabyte without a temporary file on the client's side."""
    body = (
        f'--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="people.csv"\r\n\r\n'
        "recipient_email\r\nada@example.com\r\n" + "\r\n" * 500_000 + "\r\n--b--\r\n"
    )
    return api.client.post(
        "/recipients/import", data=body.encode(), content_type="multipart/form-data; boundary=b", headers=BROWSER
    )


EXCEL = (
    "First name;E-Mail\r\nJürgen;juergen@example.com\r\nAnn;Ann Lee <ann@example.com>\r\n;mailto:bob@example.com\r\n"
)


@pytest.mark.parametrize(("encoding", "shown"), [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-8", "UTF-8")])
def test_a_file_as_excel_saves_it_loses_nobody(api: Api, encoding: str, shown: str) -> None:
    page = preview(api, EXCEL.encode(encoding))
    assert facts(page)["Encoding"] == shown
    step(api, "import")
    assert {"juergen@example.com", "ann@example.com", "bob@example.com"} <= {each.address for each in everyone(api)}


UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # by Werkzeug's form parser


@UNCLOSED
def test_an_upload_without_room_for_a_temporary_file_is_refused_and_may_come_again(
    api: Api, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = csrf_token(get(api, "/recipients/import"))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    filler = fill(small_disk)
    answer = upload_raw(api, token)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "60"
    assert "annot create a temporary file" in answer.text and "went wrong" not in answer.text
    gc.collect()
    filler.unlink()
    assert upload_raw(api, token).status_code == 303


@UNCLOSED
def test_an_upload_without_any_temporary_folder_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    token = csrf_token(get(api, "/recipients/import"))
    monkeypatch.setattr(tempfile, "_get_default_tempdir", no_folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    answer = upload_raw(api, token)
    assert answer.status_code == 503 and "annot create a temporary file" in answer.text
    gc.collect()
