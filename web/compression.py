"""Compress pages with gzip.

The length of a compressed page reveals whether something in the URL also occurs in the page. An attacker who can see
lengths, and makes the browser of someone who is logged in request many URLs, could guess the page in this way (BREACH).
So a request that another site has made is answered without compression: every current browser marks such a request with
Sec-Fetch-Site, over TLS. Without TLS, whoever sees lengths sees the page too. The CSRF token is of no use to such an
attacker in any case, because its signature includes the second in which the page was made.
"""

from __future__ import annotations

import gzip

from flask import Blueprint, Response, request

MIN_BYTES, MAX_BYTES = 500, 1_000_000  # smaller gains nothing, larger takes too long
LEVEL = 6
MEDIA_TYPES = ("text/html", "text/plain")
OWN_REQUESTS = ("same-origin", "none")  # Sec-Fetch-Site of a page of this service, and of a person's own request


def register(blueprint: Blueprint) -> None:
    """Compress the responses of a blueprint."""
    blueprint.after_request(compress)


def compress(response: Response) -> Response:
    """Compress a response that is in memory, if the client accepts that."""
    if response.mimetype not in MEDIA_TYPES or response.is_streamed or response.direct_passthrough:
        return response
    response.vary.update(("Accept-Encoding", "Cookie"))
    if request.accept_encodings["gzip"] <= 0 or request.headers.get("Sec-Fetch-Site", "none") not in OWN_REQUESTS:
        return response
    if "Content-Encoding" not in response.headers and MIN_BYTES <= (response.content_length or 0) <= MAX_BYTES:
        response.set_data(gzip.compress(response.get_data(), LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response
