"""Pages that scripts poll. The response is 304 as long as the page has not changed."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

from flask import Response, g, render_template, request, session

from settings.version import __version__
from web.pages import alert_banner
from web.services import current_settings


def page(template: str, data: object, **values: object) -> Response:
    """Render `template` with these `values`, or return 304 if the client already has this page.

    `data` is everything the page shows, except what only the clock changes, such as relative times. Its repr must be
    deterministic.
    """
    tag = _tag(data)
    if request.if_none_match.contains_weak(tag) and "_flashes" not in session:
        response = Response(status=304)
    else:
        response = Response(render_template(template, **values))
    response.set_etag(tag, weak=True)
    return response


def _tag(data: object) -> str:
    """Return a tag that changes whenever the page does. Only a page in a session has a logout button."""
    zone = current_settings().timezone
    today = datetime.now(zone).date()  # times are shown as Today or Tomorrow
    page = (__version__, zone, today, g.get("is_logged_in", False), alert_banner.alert_levels(), data)
    return blake2b(repr(page).encode(errors="surrogatepass"), digest_size=12).hexdigest()
