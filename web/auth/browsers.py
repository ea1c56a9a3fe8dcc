"""Distinguish browsers from programs, and decide where a browser may be redirected."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
FOR_PROGRAMS = frozenset(("/send-emails", "/api", "/openapi.json", "/healthz", "/readyz", "/metrics"))
# A path of this site, without spaces and control characters. Browsers read // or /\ at the start as another site.
SITE_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
ELSEWHERE = "this request was sent by another website"


def is_for_programs(path: str) -> bool:
    """Return whether this path is for programs: no forms, no redirects, no HTML."""
    return path in FOR_PROGRAMS or path.startswith("/api/")


def wants_html(request: Request) -> bool:
    """Return whether a browser is asking for a page."""
    return "text/html" in request.headers.get("Accept", "") and not is_for_programs(request.path)


def safe_path(text: str | None) -> str:
    """Return `text` if it is a path of this site, otherwise the start page. Safe for a Location header."""
    return text if text and SITE_PATH.fullmatch(text) else "/"


def login_return_url(request: Request) -> str:
    """Return where a browser goes after the login: to the page that it requested, or whose form it sent."""
    if request.method in ("GET", "HEAD"):
        return safe_path(request.full_path.removesuffix("?"))
    page = urlsplit(request.referrer or "")
    return safe_path(page.path) if page.netloc == request.host else "/"


def refuse_other_sites(request: Request, public_url: str | None) -> None:
    """Reject a request that another website sent (OWASP's check of Fetch Metadata and Origin)."""
    site = request.environ.get("HTTP_SEC_FETCH_SITE")
    origin = request.environ.get("HTTP_ORIGIN")
    if site is not None and site not in ("same-origin", "none"):
        raise Forbidden(ELSEWHERE)
    if origin is not None and origin not in (f"{request.scheme}://{request.host}", _origin(public_url)):
        raise Forbidden(f"{ELSEWHERE}; behind a proxy, check TRUSTED_PROXIES and PUBLIC_URL")


def _origin(url: str | None) -> str | None:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if url else None
