"""Show the HTML of an email as a sandboxed document, in a frame or in its own tab."""

from __future__ import annotations

import re

from flask import Response

POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
# These elements make a browser resolve names or connect before it fetches anything, which no policy prevents.
CONNECTING = re.compile(r"<(?=(?:link|iframe|frame|object|embed|portal)[\s/>])", re.IGNORECASE)


def framed(html: str) -> Response:
    """Return a response that shows `html` without running scripts or fetching anything."""
    response = Response(CONNECTING.sub("<no-", html), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-DNS-Prefetch-Control"] = "off"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
