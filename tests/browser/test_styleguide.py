"""/styleguide, which shows every component, in a real browser. It exists in debug mode only."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.web_server import serve
from tests.support.web.browser import Elsewhere, Tab


def test_every_component_is_for_everyone(tmp_path: Path, chromium: Browser, elsewhere: Elsewhere) -> None:
    installation = Installation(tmp_path, FLASK_DEBUG="1")
    with serve(tmp_path, port := unused_port(), **installation.environment):
        tab = Tab(chromium, f"http://127.0.0.1:{port}", elsewhere)
        assert tab.faults_in_every_view(lambda page: page.goto("/styleguide")) == []
        tab.close()
