"""Who is served: one place, applied to every route.

With API_TOKEN set, every request needs one of its tokens. With none set, only direct clients on this machine
are served: not what a proxy passes on, and not what a page of another site makes a browser send. Routes are
closed unless OPEN_ENDPOINTS lists them. All of this is decided before a byte of the body is read.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from settings import Settings
from web.context import current_settings

OPEN_ENDPOINTS: frozenset[str] = frozenset()
PROXY_HEADERS = ("Forwarded", "Via", "X-Real-Ip")  # and all that begin with X-Forwarded
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def register(app: Flask, settings: Settings) -> None:
    """Close `app`, and give its answers their headers."""
    if settings.trusted_proxies:
        number = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=number, x_host=number)  # type: ignore[method-assign]
    app.before_request(refuse_strangers)
    app.after_request(add_headers)


def refuse_strangers() -> None:
    """Let only those through who may use the service."""
    if request.endpoint in OPEN_ENDPOINTS:
        return
    settings = current_settings()
    if settings.api_tokens:
        check_token(request, settings.api_tokens)
        check_host(request, settings.public_url)
    else:
        check_direct(request)


def check_token(request: Request, tokens: tuple[str, ...]) -> None:
    """Refuse a request without one of the tokens; how long that takes tells nothing about them."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    octets = given.strip().encode("latin-1", "replace")  # WSGI hands out the header's bytes as latin-1
    equal = [hmac.compare_digest(octets, token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(equal):
        raise Unauthorized(
            "this needs the header Authorization: Bearer TOKEN, with a token of this service (API_TOKEN)",
            www_authenticate=WWWAuthenticate("bearer", {"realm": "email endpoint"}),
        )


def check_host(request: Request, public_url: str | None) -> None:
    """Refuse a request that was meant for another service, once the name of this one is known."""
    name = _name(request.headers.get("Host", ""))
    if public_url and name != urlsplit(public_url).hostname and not _is_loopback(name):
        raise BadRequest("the Host header names neither PUBLIC_URL nor this machine")


def check_direct(request: Request) -> None:
    """Refuse a request that does not come straight from a program on this machine."""
    origin = request.headers.get("Origin")
    if not _is_loopback(request.remote_addr or ""):
        fault = "comes from another machine"
    elif any(name in request.headers for name in PROXY_HEADERS) or _is_forwarded(request):
        fault = "came through a proxy"
    elif not _is_loopback(_name(request.headers.get("Host", ""))):
        fault = "is for a host name that is not this machine's own (localhost)"
    elif origin is not None and origin != f"{request.scheme}://{request.host}":
        fault = "comes from a page of another site"
    else:
        return
    raise Forbidden(f"this request {fault}; to serve it, set API_TOKEN (in .env) and send that token")


def _is_forwarded(request: Request) -> bool:
    return any(key.startswith("HTTP_X_FORWARDED") for key in request.environ)


def _name(host: str) -> str:
    """The name or address in a Host header."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def add_headers(response: Response) -> Response:
    """The headers of every answer; a route that needs another value has set it before."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response
