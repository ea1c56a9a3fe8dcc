"""/styleguide: every component of the pages. Only in debug mode."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flask import Blueprint, render_template

from web.assets import FOLDER

TOKEN = re.compile(r"(--[a-z0-9-]+):#[0-9a-f]{3,8}\b")
ICON = re.compile(r'<symbol id="([a-z-]+)"')
blueprint = Blueprint("styleguide", __name__)


@blueprint.get("/styleguide")
def show() -> str:
    """Show the colours of tokens.css, the icons of icons.svg, and every macro of the components."""
    now = datetime.now(UTC)
    return render_template(
        "styleguide.html",
        colours=list(dict.fromkeys(TOKEN.findall((FOLDER / "tokens.css").read_text()))),
        icons=[name for name in ICON.findall((FOLDER / "icons.svg").read_text()) if name != "brand"],
        now=now,
        tomorrow=now + timedelta(days=1),
    )
