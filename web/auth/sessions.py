"""Login sessions: a signed cookie with a digest of the token, so that changing the token ends every session.

A session ends LIFETIME after the login, or earlier if it is not used for SESSION_IDLE_LIMIT. The cookie records when it
was last used. That is updated at most once per sixtieth of the limit, and not by automatic requests of a page.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from datetime import UTC, datetime, timedelta

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin

from database import Database, DBError
from web.services import current_settings, in_database

LIFETIME = timedelta(days=7)  # since the login, however much the session is used
RENEWALS = 60  # per SESSION_IDLE_LIMIT
AUTOMATIC = "X-Automatic-Refresh"  # a header of the requests that a page makes on its own


def register(app: Flask, key: str | None) -> None:
    """Add sessions to `app`, signed with `key` (SECRET_KEY) or else with the key in the database."""
    app.secret_key = key
    app.session_interface = Sessions()
    app.config["PERMANENT_SESSION_LIFETIME"] = LIFETIME
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


def secret_key() -> str:
    """Return the key that signs sessions and forms. It is read on first use. Raises DatabaseUnavailable."""
    if current_app.secret_key is None:
        current_app.secret_key = in_database(lambda database: database.meta("secret_key"))
    return str(current_app.secret_key)


class Sessions(SecureCookieSessionInterface):
    """Flask's signed sessions, at no cost for requests without a cookie."""

    digest_method = staticmethod(hashlib.sha256)

    def get_cookie_name(self, app: Flask) -> str:
        """With TLS, use a name that browsers accept only from this host."""
        return "__Host-session" if request.is_secure else "session"

    def get_cookie_secure(self, app: Flask) -> bool:
        """A cookie that was set over TLS is never sent without TLS."""
        return request.is_secure

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession:
        """Return the session of this request, or an empty one for a program that sends a token."""
        if "HTTP_COOKIE" not in request.environ or "HTTP_AUTHORIZATION" in request.environ:
            return self.session_class()
        try:
            secret_key()
        except DBError:  # access control needs the key too, and reports the error
            return self.session_class()
        return super().open_session(app, request) or self.session_class()

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """Return when the browser deletes the cookie: as soon as the session can no longer be valid."""
        if "ends_at" not in session:
            return super().get_expiration_time(app, session)
        idle_limit = current_settings().session_idle_limit
        idle_end = _used_at(session) + idle_limit if idle_limit else session["ends_at"]
        return datetime.fromtimestamp(min(session["ends_at"], idle_end), UTC)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie if it has changed. A program that sends a token gets no cookie."""
        if (session.modified or session.accessed) and "HTTP_AUTHORIZATION" not in request.environ:
            if session.modified:
                secret_key()  # a browser without a cookie may get a message, too
            super().save_session(app, session, response)


def begin(token: str) -> None:
    """Start a new session with this token."""
    now = int(time.time())
    session.clear()
    session.permanent = True
    session["token"] = _digest(token)
    session["id"] = secrets.token_urlsafe(16)
    session["ends_at"] = now + int(LIFETIME.total_seconds())
    session["used_at"] = now


def end() -> None:
    """Log out. The session is never accepted again, even if its cookie was copied."""
    session_id, ends_at = session.get("id"), session.get("ends_at")
    session.clear()
    if session_id is not None and ends_at is not None:
        until = datetime.fromtimestamp(ends_at, UTC)
        in_database(lambda database: database.sessions.end(session_id, until, datetime.now(UTC)))


def end_all(database: Database) -> None:
    """End all sessions that exist now. Tokens remain valid."""
    now = datetime.fromtimestamp(time.time(), UTC)
    database.sessions.end_all(now + LIFETIME, now)


def is_logged_in() -> bool:
    """Return whether the session is active and its token still valid. Raises DatabaseUnavailable."""
    digest = session.get("token")
    if digest is None:
        return False
    known = [hmac.compare_digest(digest, _digest(token)) for token in current_settings().api_tokens]
    if not any(known) or _is_over():
        return False
    g.may_see_reasons = True  # for an error in the next lines
    ends_at = datetime.fromtimestamp(session["ends_at"], UTC)
    has_ended = in_database(lambda database: database.sessions.has_ended(session["id"], ends_at))
    g.may_see_reasons = not has_ended
    if not has_ended and AUTOMATIC not in request.headers:
        _renew()
    return not has_ended


def _is_over() -> bool:
    """Return whether the session is too old, or has been idle for too long."""
    now, idle_limit = time.time(), current_settings().session_idle_limit
    return session["ends_at"] < now or bool(idle_limit and _used_at(session) + idle_limit < now)


def _renew() -> None:
    """Record in the cookie that the session is in use, unless that was recorded recently."""
    now, idle_limit = time.time(), current_settings().session_idle_limit
    if idle_limit and _used_at(session) + idle_limit / RENEWALS < now:
        session["used_at"] = int(now)


def _used_at(session: SessionMixin) -> float:
    """Return when the session was last used, to within a sixtieth of the idle limit."""
    return float(session.get("used_at", session["ends_at"] - LIFETIME.total_seconds()))


def _digest(token: str) -> str:
    return hmac.new(secret_key().encode(), b"session " + token.encode(), hashlib.sha256).hexdigest()
