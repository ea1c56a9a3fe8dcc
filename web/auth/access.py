"""Access control for every route.

A path without a route gets a 404 before any other check, for every client. If API_TOKEN is set, programs send one of
its tokens with every request, and people log in with one (`web/auth/login.py`). If it is not set, only direct requests
from this machine are accepted: no requests through a proxy, and none that another website makes a browser send. Routes
are closed unless OPEN_ENDPOINTS lists them. All of this is decided before the body is read. A form of a page must also
contain the CSRF token of its session.
"""

from __future__ import annotations

import hmac
import re
from contextlib import suppress
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import quote, urlsplit

from flask import Flask, Request, Response, current_app, g, redirect, request
from flask.globals import request_ctx
from flask_wtf.csrf import CSRFProtect, generate_csrf
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound, TooManyRequests, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from database import DatabaseUnavailable
from settings import Settings
from web.auth import sessions
from web.auth.browsers import SAFE_METHODS, is_for_programs, login_return_url, refuse_other_sites, wants_html
from web.auth.client_address import ClientAddress
from web.auth.rate_limits import Limits
from web.body_limits import mark_authenticated
from web.form import URLENCODED
from web.middleware import RequestMiddleware
from web.request_log import RequestLog
from web.services import Services, current_services, services_of

OPEN_ENDPOINTS: frozenset[str] = frozenset(
    (
        "login.show",
        "login.log_in",
        "probes.healthz",
        "probes.readyz",
        "static",
        "unsubscribe.ask",
        "unsubscribe.unsubscribe",
    )
)
# A mail provider sends the clicks of all its users from a few addresses.
UNCOUNTED = frozenset(("static", "unsubscribe.ask", "unsubscribe.unsubscribe"))
# Keys of the WSGI environment. A look-up there costs a tenth of one in `request.headers`.
PROXY_HEADERS = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")
FORWARDED = re.compile("HTTP_X_FORWARDED")


def register(app: Flask) -> None:
    """Require authentication in `app`, and wrap it in the middleware. Its services must be registered."""
    services = services_of(app)
    settings = services.settings
    sessions.register(app, settings.secret_key)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # checked later, once the client is known
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # valid as long as the session, because a page may stay open for hours
    app.config["WTF_CSRF_SSL_STRICT"] = False  # requires a Referer; Origin and Sec-Fetch-Site are checked instead
    CSRFProtect(app)
    app.jinja_env.globals["csrf_token"] = csrf_token  # for macros
    app.context_processor(lambda: {"csrf_token": csrf_token})  # overrides the one of CSRFProtect
    app.before_request(require_authentication)
    log = None if settings.log_format == "off" else RequestLog(settings.log_format)
    app.wsgi_app = RequestMiddleware(app.wsgi_app, log, services.body_limits, bool(settings.trusted_proxies))  # type: ignore[method-assign]
    if settings.trusted_proxies:
        number = settings.trusted_proxies
        app.wsgi_app = ClientAddress(app.wsgi_app, number)  # type: ignore[method-assign]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=number, x_host=number)  # type: ignore[method-assign]


def limits() -> Limits:
    """Return the rate limits of this application."""
    return current_services().rate_limits


def require_authentication() -> Response | None:
    """Accept a request to an open endpoint or from an authenticated client; redirect other people to the login."""
    request = request_ctx.request  # every access through the proxy `flask.request` costs a function call
    endpoint = request.endpoint
    if endpoint in UNCOUNTED:
        return None
    if isinstance(request.routing_exception, NotFound):
        return _not_found(request.routing_exception)
    services = current_services()
    services.rate_limits.count_request(request.remote_addr or "")
    return None if endpoint in OPEN_ENDPOINTS else check_caller(request, services)


def _not_found(error: NotFound) -> NoReturn:
    """Return 404 to every client. The page has the navigation only for authenticated people."""
    with suppress(TooManyRequests):
        limits().count_request(request.remote_addr or "")
    if request.method in SAFE_METHODS and wants_html(request):
        may_see_all()
    raise error


def may_see_all() -> bool:
    """Return whether the caller of an open endpoint is authenticated. False if the session cannot be checked."""
    try:
        return check_caller(request_ctx.request, current_services()) is None
    except (HTTPException, DatabaseUnavailable):
        return False


def check_caller(request: Request, services: Services) -> Response | None:
    """Reject a client that is not authenticated, or redirect it to the login."""
    settings = services.settings
    by_token = bool(settings.api_tokens) and "HTTP_AUTHORIZATION" in request.environ
    if not settings.api_tokens:
        require_loopback(request)
    elif by_token:
        check_token(request, settings.api_tokens, services.rate_limits)
    elif not may_have_session(request) or not is_logged_in(request):
        return _login_required()
    if settings.api_tokens:
        check_host(request, settings.public_url)
    g.may_see_reasons = True
    mark_authenticated(request, services.body_limits)
    if not by_token:
        check_form(request, settings)
    return None


def may_have_session(request: Request) -> bool:
    """Return whether a session is sufficient for this request. It never is for changes through the API."""
    return request.method in SAFE_METHODS or not is_for_programs(request.path)


def check_form(request: Request, settings: Settings) -> None:
    """Reject a change that was not sent by a page of this service."""
    g.may_see_pages = True
    if request.method not in SAFE_METHODS:
        refuse_other_sites(request, settings.public_url)
        if request.routing_exception is None and not is_for_programs(request.path):  # otherwise Flask returns 405
            refuse_forged_form()


def refuse_forged_form() -> None:
    """Reject a form without the CSRF token of this session. Reads the body."""
    sessions.secret_key()
    if request.mimetype == URLENCODED:
        request.get_data()  # cached, because read_page_form parses it more strictly than Werkzeug
    current_app.extensions["csrf"].protect()


def csrf_token() -> str:
    """Return the CSRF token, which each form needs in a hidden field `csrf_token`."""
    sessions.secret_key()
    return str(generate_csrf())


def is_logged_in(request: Request) -> bool:
    """Return whether this request has a valid session. Raises DatabaseUnavailable if that cannot be checked."""
    if "HTTP_COOKIE" in request.environ:
        sessions.secret_key()
    g.is_logged_in = sessions.is_logged_in()
    return bool(g.is_logged_in)


def _login_required() -> Response:
    if not wants_html(request):
        raise _unauthorized()
    return redirect(f"/login?next={quote(login_return_url(request), safe='/')}", 303)  # type: ignore[return-value]


def check_token(request: Request, tokens: tuple[str, ...], limits: Limits) -> None:
    """Reject a request without a valid token, in constant time."""
    address = request.remote_addr or ""
    limits.refuse_guessing(address)
    scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    octets = token.strip().encode("latin-1", "replace")  # WSGI decodes headers as latin-1
    if scheme.lower() != "bearer" or not is_token(octets, tokens):
        limits.count_wrong_token(address)
        raise _unauthorized()


def is_token(octets: bytes, tokens: tuple[str, ...]) -> bool:
    """Return whether this is one of the tokens. Compares all of them, each in constant time."""
    equal = [hmac.compare_digest(octets, token.encode()) for token in tokens]
    return any(equal)


def _unauthorized() -> Unauthorized:
    return Unauthorized(
        "access token missing or wrong; send the header Authorization: Bearer TOKEN (API_TOKEN)",
        www_authenticate=WWWAuthenticate("bearer", {"realm": "email endpoint"}),
    )


def check_host(request: Request, public_url: str | None) -> None:
    """Reject a request for another host name, if PUBLIC_URL is set."""
    if not public_url:
        return
    name = _name(request.environ.get("HTTP_HOST", ""))
    if name != _name(urlsplit(public_url).netloc) and not _is_loopback(name):
        raise BadRequest("the Host header matches neither PUBLIC_URL nor this machine")


def require_loopback(request: Request) -> None:
    """Reject a request that does not come directly from this machine."""
    environ = request.environ
    origin = environ.get("HTTP_ORIGIN")
    if not _is_loopback(request.remote_addr or ""):
        fault = "comes from another machine"
    elif any(name in environ for name in PROXY_HEADERS) or any(map(FORWARDED.match, environ)):
        fault = "came through a proxy"
    elif not _is_loopback(_name(environ.get("HTTP_HOST", ""))):
        fault = "is for a host name other than localhost"
    elif origin is not None and origin != f"{request.scheme}://{request.host}":
        fault = "was sent by another website"
    else:
        return
    raise Forbidden(f"this request {fault}; to allow it, set API_TOKEN and send that token")


def _name(host: str) -> str:
    """Return the name or address in a Host header, without the trailing dot of an absolute name (RFC 3986, 3.2.2)."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name in ("localhost", "127.0.0.1"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
