"""What every page has around its content: the top bar, the banners and the footer. Also the style guide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings.version import __version__
from tests.support.web.api_client import Api

BROWSER = {"Accept": "text/html"}
STATE = re.compile(
    r'<a class="health-link ?(\w*)" id="state" href="/health"[^>]*>.*?<span class="label-text">(.*?)</span>'
)
CURRENT = re.compile(r'<a [^>]*?href="([^"]+)" aria-current="(\w+)"')


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path, EMAIL_URL="smtp://127.0.0.1:9", MAIL_FROM="Summer Club <news@example.com>")
    yield made
    made.close()


def page(api: Api, address: str) -> str:
    return api.client.get(address, headers=BROWSER).text


def test_the_bar_and_the_title_have_the_name_of_the_installation(api: Api, tmp_path: Path) -> None:
    text = page(api, "/recipients")
    assert "<span>Summer Club</span></a>" in text and "<title>Recipients – Summer Club</title>" in text
    assert f"email-endpoint {__version__}" in text
    other = Api(tmp_path, SERVICE_NAME="Riverside <Concerts>")
    assert "<span>Riverside &lt;Concerts&gt;</span></a>" in page(other, "/recipients")
    other.close()


def test_the_current_section_is_marked_on_its_inner_pages_too(api: Api) -> None:
    api.installation.add_recipients(1)
    api.installation.save_email(1, 3_600)
    current = {
        "/": ("/", "page"),
        "/emails/1": ("/", "true"),
        "/emails/new": ("/emails/new", "page"),
        "/recipients": ("/recipients", "page"),
        "/recipients/1": ("/recipients", "true"),
        "/lists": ("/lists", "page"),
        "/health": ("/health", "page"),
        "/docs": ("/docs", "page"),
        "/calendar": ("/", "true"),
    }
    assert {path: CURRENT.findall(page(api, path).partition("<main")[0]) for path in current} == {
        path: [link] for path, link in current.items()
    }


def test_the_bar_says_whether_mail_goes_out(api: Api, tmp_path: Path) -> None:
    api.sweep()
    assert STATE.findall(page(api, "/recipients")) == [("good", "Running")]
    practice = Api(tmp_path)
    assert STATE.findall(page(practice, "/recipients")) == [("warn", "Practice mode")]
    practice.close()


def test_a_sender_that_does_not_run_is_on_every_page(api: Api) -> None:
    with api.installation.database() as database:
        database.record_heartbeat(1)
    for path in ("/", "/recipients", "/lists", "/emails/new", "/docs"):
        text = page(api, path)
        assert STATE.findall(text) == [("bad", "Emails are not being sent")], path
        assert '<div class="banner bad" role="note">' in text and 'href="/health">How to fix this</a>' in text


def test_practice_mode_is_on_every_page_while_no_mail_server_is_set(api: Api, tmp_path: Path) -> None:
    practice = Api(tmp_path)
    for path in ("/", "/recipients", "/lists", "/emails/new", "/docs", "/health", "/outbox", "/nothing"):
        assert "<strong>Practice mode</strong>" in page(practice, path), path
        assert "Practice mode" not in page(api, path), path
        assert 'href="/outbox"' not in page(api, path).partition("<main")[0], path
    practice.close()


def test_a_stranger_sees_the_name_and_nothing_else(tmp_path: Path) -> None:
    closed = Api(tmp_path, API_TOKEN="the-token-of-this-test")
    text = page(closed, "/login")
    assert "<bdi>Email endpoint</bdi>" in text
    for part in ("<nav", "Practice mode", "<footer", __version__):
        assert part not in text
    closed.close()


def test_the_style_guide_exists_only_in_debug_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Api(tmp_path)
    assert usual.client.get("/styleguide").status_code == 404 and "/styleguide" not in page(usual, "/")
    usual.close()
    monkeypatch.setenv("FLASK_DEBUG", "1")
    debugging = Api(tmp_path)
    text = page(debugging, "/styleguide")
    assert "<h1><bdi>Style guide</bdi></h1>" in text and "--brand-soft" in text and "check-circle" in text
    assert 'href="/styleguide"' in page(debugging, "/")
    debugging.close()


def test_the_style_guide_shows_every_macro() -> None:
    """Otherwise, a component would first be seen on a finished page."""
    folder = Path("web/templates")
    macros = {
        name for file in (folder / "components").iterdir() for name in re.findall(r"{% macro (\w+)\(", file.read_text())
    }
    text = (folder / "styleguide.html").read_text()
    shown = {name for name in macros if re.search(rf"\b{name}\(", text)}
    internal = {"attributes", "described", "field", "tone_of", "csrf", "post_button", "menu_post"}
    assert macros - shown == internal
