"""The most hostile HTML email, in a real browser: none of it runs, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.web_server import serve
from tests.support.web.browser import Elsewhere, Tab

EVIL = "http://evil.example"
MARKUP = f"""<!DOCTYPE html><html><head>
<meta http-equiv="refresh" content="0;url={EVIL}/refresh">
<base href="{EVIL}/base/" target="_top">
<link rel="stylesheet" href="{EVIL}/style"><link rel="preload" as="image" href="{EVIL}/preload">
<link rel="prefetch" href="{EVIL}/prefetch"><link rel="icon" href="{EVIL}/icon">
<link rel="preconnect" href="https://evil.example"><link rel="dns-prefetch" href="//evil.example">
<link rel="preconnect" href="{EVIL}"><link rel="manifest" href="{EVIL}/manifest">
<link rel="modulepreload" href="{EVIL}/module">
<style>@import url({EVIL}/import); body {{ background: url({EVIL}/background) }}
@font-face {{ font-family: x; src: url({EVIL}/font) }} p {{ font-family: x }}</style>
<script src="{EVIL}/script"></script>
<script>parent.document.title = document.title = 'it runs'; fetch('{EVIL}/fetch'); alert(1)</script>
<script type="speculationrules">{{"prefetch": [{{"urls": ["{EVIL}/rules"]}}]}}</script>
</head><body onload="alert(2)"><p>Text</p>
<img src="{EVIL}/img" onerror="alert(3)"><img srcset="{EVIL}/srcset 1x">
<picture><source srcset="{EVIL}/source"></picture>
<svg onload="alert(4)"><image href="{EVIL}/image"/><use href="{EVIL}/use#a"/></svg>
<video src="{EVIL}/video" poster="{EVIL}/poster" autoplay></video><audio src="{EVIL}/audio" autoplay></audio>
<iframe src="{EVIL}/iframe"></iframe><iframe srcdoc="<img src={EVIL}/srcdoc>"></iframe>
<object data="{EVIL}/object"></object><embed src="{EVIL}/embed">
<input type="image" src="{EVIL}/input"><table background="{EVIL}/table"><tr><td>x</td></tr></table>
<form id="f" action="{EVIL}/form"><input name="a" autofocus onfocus="alert(5)"></form>
<a id="a" href="javascript:alert(6)">a</a></body></html>"""
TITLE = "</title><script>alert(7)</script>"


@pytest.mark.parametrize("place", ["in the page", "in its frame alone"])
def test_a_hostile_email_is_only_drawn(tmp_path: Path, chromium: Browser, elsewhere: Elsewhere, place: str) -> None:
    installation = Installation(tmp_path)
    installation.save_email(7, 3_600, TITLE, MARKUP)
    with serve(tmp_path, port := unused_port(), **installation.environment):
        tab = Tab(chromium, f"http://127.0.0.1:{port}", elsewhere)
        dialogs: list[str] = []
        tab.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        address = "/emails/7" if place == "in the page" else "/emails/7/frame"
        tab.page.goto(address)
        if place == "in the page":
            tab.page.locator("iframe").scroll_into_view_if_needed()
        drawn = tab.page.frames[-1]
        drawn.get_by_text("Text").wait_for()
        drawn.locator("#a").click()
        tab.page.wait_for_timeout(1_500)
        assert (dialogs, elsewhere.asked) == ([], [])
        assert tab.page.url.endswith(address) and tab.page.title() != "it runs"
        tab.close()
