"""Access control: one place, applied to every route.

A path without a route is answered with 404, whoever asks, before anything else is checked. With API_TOKEN set, programs
send one of its tokens with every request, and people log in with one (`web/auth/login.py`). With none set, only direct
clients on this machine are served: not what a proxy passes on, and not what a page of another site makes a browser
send. Routes are closed unless OPEN_ENDPOINTS lists them. All of this is decided before a byte of the body is read. A
form of a page must also hold the token of its session against forgery (CSRF).
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import quote, urlsplit

from flask import Flask, Request, Response, current_app, g, redirect, request
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
from web.services import current_services, current_settings, services_of

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
PROXY_HEADERS = ("Forwarded", "Via", "X-Real-Ip")  # and all that begin with X-Forwarded


def register(app: Flask) -> None:
    """Require authentication in `app`, and wrap it in the middleware. Its services must be registered."""
    services = services_of(app)
    settings = services.settings
    sessions.register(app, settings.secret_key)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # not before it is known who asks
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # as long as the session: a page may stay open over lunch
    app.config["WTF_CSRF_SSL_STRICT"] = False  # asks for a Referer; Origin and Sec-Fetch-Site are looked at instead
    CSRFProtect(app)
    app.jinja_env.globals["csrf_token"] = csrf_token  # in macros, too
    app.context_processor(lambda: {"csrf_token": csrf_token})  # above the one of CSRFProtect
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
    """Let a request through if its endpoint is open or its client may use the service; send a person to the login."""
    if request.endpoint in UNCOUNTED:
        return None
    if isinstance(request.routing_exception, NotFound):
        return _not_found(request.routing_exception)
    limits().count_request(request.remote_addr or "")
    return None if request.endpoint in OPEN_ENDPOINTS else check_caller()


def _not_found(error: NotFound) -> NoReturn:
    """Answer 404, whoever asks. The page has the navigation only for those who may use it."""
    with suppress(TooManyRequests):
        limits().count_request(request.remote_addr or "")
    if request.method in SAFE_METHODS and wants_html(request):
        may_see_all()
    raise error


def may_see_all() -> bool:
    """Return whether the caller of an open endpoint is authenticated. False if the session cannot be checked."""
    try:
        return check_caller() is None
    except (HTTPException, DatabaseUnavailable):
        return False


def check_caller() -> Response | None:
    """Refuse a client that may not use the service, or redirect it to the login."""
    settings = current_settings()
    by_token = bool(settings.api_tokens) and "Authorization" in request.headers
    if not settings.api_tokens:
        require_loopback(request)
    elif by_token:
        check_token(request, settings.api_tokens)
    elif not may_have_session(request) or not is_logged_in(request):
        return _login_required()
    if settings.api_tokens:
        check_host(request, settings.public_url)
    g.may_see_reasons = True
    mark_authenticated(request, current_services().body_limits)
    if not by_token:
        check_form(request, settings)
    return None


def may_have_session(request: Request) -> bool:
    """Whether a session is enough for this request. It never is for changes through the API."""
    return request.method in SAFE_METHODS or not is_for_programs(request.path)


def check_form(request: Request, settings: Settings) -> None:
    """Refuse a change that was not sent from a page of this service."""
    g.may_see_pages = True
    if request.method not in SAFE_METHODS:
        refuse_other_sites(request, settings.public_url)
        if request.routing_exception is None and not is_for_programs(request.path):  # else Flask answers 405
            refuse_forged_form()


def refuse_forged_form() -> None:
    """Refuse a form without the CSRF token of this session. Reads the body."""
    sessions.secret_key()
    if request.mimetype == URLENCODED:
        request.get_data()  # kept as it is, for those who read it more strictly than Werkzeug
    current_app.extensions["csrf"].protect()


def csrf_token() -> str:
    """Return the CSRF token, which each form of a page needs in a hidden field `csrf_token`."""
    sessions.secret_key()
    return str(generate_csrf())


def is_logged_in(request: Request) -> bool:
    """Whether this request has a valid session. Raises DatabaseUnavailable if that cannot be checked."""
    if "HTTP_COOKIE" in request.environ:
        sessions.secret_key()
    g.is_logged_in = sessions.is_logged_in()
    return bool(g.is_logged_in)


def _login_required() -> Response:
    if not wants_html(request):
        raise _unauthorized()
    return redirect(f"/login?next={quote(login_return_url(request), safe='/')}", 303)  # type: ignore[return-value]


def check_token(request: Request, tokens: tuple[str, ...]) -> None:
    """Refuse a request without one of the tokens; how long that takes tells nothing about them."""
    address = request.remote_addr or ""
    limits().refuse_guessing(address)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    octets = token.strip().encode("latin-1", "replace")  # WSGI hands out the header's bytes as latin-1
    if scheme.lower() != "bearer" or not is_token(octets, tokens):
        limits().count_wrong_token(address)
        raise _unauthorized()


def is_token(octets: bytes, tokens: tuple[str, ...]) -> bool:
    """Whether this is one of the tokens. All are compared, each in constant time."""
    equal = [hmac.compare_digest(octets, token.encode()) for token in tokens]
    return any(equal)


def _unauthorized() -> Unauthorized:
    return Unauthorized(
        "this needs the header Authorization: Bearer TOKEN, with a token of this service (API_TOKEN)",
        www_authenticate=WWWAuthenticate("bearer", {"realm": "email endpoint"}),
    )


def check_host(request: Request, public_url: str | None) -> None:
    """Refuse a request that was meant for another service, once the name of this one is known."""
    name = _name(request.headers.get("Host", ""))
    if public_url and name != _name(urlsplit(public_url).netloc) and not _is_loopback(name):
        raise BadRequest("the Host header names neither PUBLIC_URL nor this machine")


def require_loopback(request: Request) -> None:
    """Refuse a request that does not come directly from a program on this machine."""
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
    raise Forbidden(f"this request {fault}; to serve it, set API_TOKEN and send that token")


def _is_forwarded(request: Request) -> bool:
    return any(key.startswith("HTTP_X_FORWARDED") for key in request.environ)


def _name(host: str) -> str:
    """Return the name or address in a Host header, without the final dot of an absolute name (RFC 3986, 3.2.2)."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
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
