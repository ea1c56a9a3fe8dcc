"""Login sessions: a signed cookie with a digest of the token, so that changing the token ends every session."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

from flask import Flask, Request, Response, current_app, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin

from database import DBError
from web.services import current_settings, in_database

LIFETIME = timedelta(days=7)  # from the login on, however much the session is used


def register(app: Flask, key: str | None) -> None:
    """Give `app` its sessions, signed with `key` (SECRET_KEY), or else with the one that the database keeps."""
    app.secret_key = key
    app.session_interface = Sessions()
    app.config["PERMANENT_SESSION_LIFETIME"] = LIFETIME
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


def secret_key() -> str:
    """The key that signs sessions and forms, read when it is first needed. Raises DatabaseUnavailable."""
    if current_app.secret_key is None:
        current_app.secret_key = in_database(lambda database: database.meta("secret_key"))
    return str(current_app.secret_key)


class Sessions(SecureCookieSessionInterface):
    """Flask's signed sessions, which cost a request without a cookie nothing."""

    digest_method = staticmethod(hashlib.sha256)

    def get_cookie_name(self, app: Flask) -> str:
        """Behind TLS a name that browsers take from this very host alone."""
        return "__Host-session" if request.is_secure else "session"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Never sent without TLS once it was made behind it."""
        return request.is_secure

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession:
        """The session of this request; an empty one for a program with a token of its own."""
        if "HTTP_COOKIE" not in request.environ or "HTTP_AUTHORIZATION" in request.environ:
            return self.session_class()
        try:
            secret_key()
        except DBError:  # said by the check of who may ask, which needs the key again, and can answer
            return self.session_class()
        return super().open_session(app, request) or self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie if something in it has changed; a program with a token of its own gets none."""
        if (session.modified or session.accessed) and "HTTP_AUTHORIZATION" not in request.environ:
            super().save_session(app, session, response)


def begin(token: str) -> None:
    """Log in with this token. Nothing of what the session was before is left in it."""
    session.clear()
    session.permanent = True
    session["token"] = _digest(token)
    session["id"] = secrets.token_urlsafe(16)
    session["ends_at"] = int((datetime.now(UTC) + LIFETIME).timestamp())


def end() -> None:
    """Log out: this session is never taken again, were its cookie copied."""
    session_id, ends_at = session.get("id"), session.get("ends_at")
    session.clear()
    if session_id is not None and ends_at is not None:
        until = datetime.fromtimestamp(ends_at, UTC)
        in_database(lambda database: database.sessions.end(session_id, until, datetime.now(UTC)))


def is_logged_in() -> bool:
    """Whether this request has a session that has not ended, with a token still valid. Raises DatabaseUnavailable."""
    digest = session.get("token")
    if digest is None:
        return False
    known = [hmac.compare_digest(digest, _digest(token)) for token in current_settings().api_tokens]
    if not any(known) or session["ends_at"] < datetime.now(UTC).timestamp():
        return False
    return not in_database(lambda database: database.sessions.has_ended(session["id"]))


def _digest(token: str) -> str:
    return hmac.new(secret_key().encode(), b"session " + token.encode(), hashlib.sha256).hexdigest()
