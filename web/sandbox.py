"""An email's HTML as a document of its own, which can do nothing: in a frame of a page, and opened alone as well."""

from __future__ import annotations

import re

from flask import Response

POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
# No policy covers what these have a browser do: look up a name, or connect, before anything is fetched.
CONNECTING = re.compile(r"<(?=(?:link|iframe|frame|object|embed|portal)[\s/>])", re.IGNORECASE)


def framed(html: str) -> Response:
    """The answer that shows `html` and runs and fetches nothing of it."""
    response = Response(CONNECTING.sub("<no-", html), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-DNS-Prefetch-Control"] = "off"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
