"""Where mail goes: the SMTP server takes our login, or the Maildir can be written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from delivery.interface import SessionError
from delivery.smtp.login_check import LoginResult, try_login
from delivery.smtp.sender import SMTPServer
from monitoring.disk import existing
from monitoring.finding import Finding, error, ok, warning
from sender.outgoing import server_of
from settings import Settings

LOGIN_TIMEOUT = 10.0  # seconds
DAY = 24 * 60 * 60
CERTIFICATE_WARNING = 14 * DAY  # before it expires
REMEDIES = (
    ("speaks TLS from", "write smtp+ssl:// in EMAIL_URL"),
    ("speaks no TLS", "write smtp+tls:// in EMAIL_URL"),
    (" 53", "mend the user and the password in EMAIL_URL"),
    ("AUTH", "see what the server's owner says of its login"),
    ("password", "write smtp+tls:// or smtp+ssl:// in EMAIL_URL"),
    ("STARTTLS", "write smtp+ssl:// with port 465 in EMAIL_URL, or smtp:// for a server in your own network"),
    ("CERTIFICATE", "the server needs a valid certificate for the name in EMAIL_URL"),
    ("certificate", "the server needs a valid certificate for the name in EMAIL_URL"),
)


def check_maildir(settings: Settings) -> Iterator[Finding]:
    """Look at the Maildir, if mail goes there."""
    if settings.email_url.path is not None:
        yield from _maildir(settings.email_url.path)


def check_mail_server(settings: Settings) -> Iterator[Finding]:
    """Log in to the mail server, if there is one, as the sender does, and leave without mail."""
    if settings.email_url.path is not None:
        return
    server = server_of(settings)
    try:
        welcome = try_login(server, LOGIN_TIMEOUT)
    except SessionError as refusal:
        yield error("mail server", refusal.reason, remedy_for(refusal.reason))
        return
    how = _login(server)
    yield ok("mail server", f"{server.host}:{server.port} {how}")
    yield from certificate(welcome, time.time())


def _login(server: SMTPServer) -> str:
    if not server.user:
        return "answers; it asks for no login"
    if server.user == server.password:  # where a secret token is both
        return "takes our login"
    return f"takes our login as {server.user}"


def certificate(welcome: LoginResult, now: float) -> Iterator[Finding]:
    """How long the server's certificate still holds, where there is one."""
    if welcome.certificate_expires_at is None:
        return
    left = welcome.certificate_expires_at - now
    until = time.strftime("%Y-%m-%d", time.gmtime(welcome.certificate_expires_at))
    if left < CERTIFICATE_WARNING:
        text = f"its certificate ends on {until}, in {max(0, left) // DAY:.0f} days: then nothing is sent"
        yield warning("mail server", text, "let its owner renew it")
    else:
        yield ok("mail server", f"{welcome.tls}, its certificate holds until {until}")


def remedy_for(reason: str) -> str:
    """Return what to do about an error of the server or the network."""
    return next((remedy for words, remedy in REMEDIES if words in reason), "see host and port in EMAIL_URL")


def _maildir(path: Path) -> Iterator[Finding]:
    text = f"mail goes to the local folder {path}, and never leaves this machine"
    yield warning("mail server", text, "name your mail server: EMAIL_URL=smtp+tls://USER:PASSWORD@HOST:587")
    for folder in (path / "tmp", path / "new"):
        place = existing(folder)
        if not os.access(place, os.W_OK | os.X_OK):
            yield error("mail server", f"{place} cannot be written", "let this user write there (chown, chmod u+rwx)")
            return
    yield ok("mail server", "that folder can be written")
