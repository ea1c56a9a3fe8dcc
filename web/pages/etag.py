"""Pages that scripts ask for again and again: 304 and nothing else, as long as what they show is what it was."""

from __future__ import annotations

from hashlib import blake2b

from flask import Response, g, render_template, request, session

from settings.version import __version__
from web.pages import alert_banner
from web.services import current_settings


def page(template: str, data: object, **values: object) -> Response:
    """`template` with these `values`, or 304 if the client has it already.

    `data` is what the page shows, in tuples and the like, without what only the clock changes: how far away a time is.
    """
    tag = _tag(data)
    if request.if_none_match.contains_weak(tag) and "_flashes" not in session:
        response = Response(status=304)
    else:
        response = Response(render_template(template, **values))
    response.set_etag(tag, weak=True)
    return response


def _tag(data: object) -> str:
    """The same for the same page only; a page has the button to log out only in a session."""
    page = (__version__, current_settings().timezone, g.get("is_logged_in", False), alert_banner.alert_levels(), data)
    return blake2b(repr(page).encode(errors="surrogatepass"), digest_size=12).hexdigest()
