"""What a browser loads: files that it may keep, and pages, both compressed."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from database import Address, db_init, open_database
from email_app import create_app
from settings import Settings
from web.assets import FOLDER, asset_url

BROWSER = {"Accept": "text/html", "Accept-Encoding": "gzip, deflate, br"}
MAX_BYTES, MAX_REQUESTS = 60_000, 6  # of the schedule with everything that it loads
FILES = re.compile(r'(?:src|href)="(/static/[^"#]+)')


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    db_init(settings, datetime.now(UTC))
    return create_app(settings._replace(log_format="off")).test_client()


def test_the_schedule_and_what_it_loads_are_small_and_compressed(client: FlaskClient) -> None:
    first = client.get("/", headers=BROWSER)
    page = gzip.decompress(first.data).decode()
    answers = [first, *(client.get(file, headers=BROWSER) for file in set(FILES.findall(page)))]
    assert {answer.headers["Content-Encoding"] for answer in answers} == {"gzip"}
    assert len(answers) <= MAX_REQUESTS
    assert sum(len(answer.data) for answer in answers) <= MAX_BYTES


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_file_is_kept_for_a_year_under_the_url_of_its_content(client: FlaskClient, path: Path) -> None:
    with client.application.app_context():
        url = asset_url(path.name)
    kept = client.get(url)
    assert kept.data == path.read_bytes() and "Content-Encoding" not in kept.headers
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert kept.headers["Vary"] == "Accept-Encoding"
    for stale in (f"/static/{path.name}", f"/static/{path.name}?v=0"):
        answer = client.get(stale, headers=BROWSER)
        assert gzip.decompress(answer.data) == path.read_bytes() and answer.headers["Cache-Control"] == "no-cache"
        unchanged = client.get(stale, headers={"If-None-Match": answer.headers["ETag"]})
        assert (unchanged.status_code, unchanged.data) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.css", "../email_app.py", "%2e%2e/email_app.py", "%00", ".", "x" * 5_000])
def test_only_the_files_of_the_folder_are_served(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_a_changed_file_is_read_again_while_debugging(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.assets.FOLDER", tmp_path)
    monkeypatch.setattr("web.assets._assets", {})
    file = tmp_path / "page.js"
    for text, debugging, expected in (("1", True, "1"), ("22", True, "22"), ("333", False, "22")):
        file.write_text(text)
        client.application.debug = debugging
        assert client.get("/static/page.js").text == expected


def test_a_page_is_compressed_only_if_the_client_accepts_that(client: FlaskClient) -> None:
    plain = client.get("/recipients", headers={"Accept": "text/html"})
    for accepted in ("gzip", "*", "br, gzip;q=0.5"):
        packed = client.get("/recipients", headers={"Accept-Encoding": accepted})
        assert "<h1>" in gzip.decompress(packed.data).decode()
        assert packed.content_length == len(packed.data) < len(plain.data)
        assert set(packed.vary) == {"Accept-Encoding", "Cookie"} == set(plain.vary)
    for refused in ("gzip;q=0", "br", "identity"):
        assert "<h1>" in client.get("/recipients", headers={"Accept-Encoding": refused}).text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_a_page_that_another_site_requests_is_not_compressed(client: FlaskClient, site: str) -> None:
    """Its length would reveal whether the URL repeats what the page contains."""
    assert "Content-Encoding" not in client.get("/recipients", headers=BROWSER | {"Sec-Fetch-Site": site}).headers
    for own in ("same-origin", "none"):
        assert client.get("/recipients", headers=BROWSER | {"Sec-Fetch-Site": own}).headers["Content-Encoding"]


def test_a_download_stays_a_stream(client: FlaskClient, settings: Settings) -> None:
    with open_database(settings) as database:
        database.recipients.add([Address("a@example.com", "a@example.com")], datetime.now(UTC))
    answer = client.get("/api/recipients", headers=BROWSER | {"Accept": "text/csv"})
    assert "Content-Encoding" not in answer.headers and "a@example.com" in answer.text
