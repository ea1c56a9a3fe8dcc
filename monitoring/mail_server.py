"""Check where mail goes: the SMTP server accepts the login, or the Maildir is writable."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from delivery.interface import SessionError
from delivery.smtp.login_check import LoginResult, try_login
from delivery.smtp.sender import SMTPServer
from monitoring.disk import existing
from monitoring.finding import Finding, error, ok, warning
from monitoring.humanize import pluralize
from sender.outgoing import server_of
from settings import Settings

LOGIN_TIMEOUT = 10.0  # seconds
DAY = 24 * 60 * 60
CERTIFICATE_WARNING = 14 * DAY  # before it expires
VALID_CERTIFICATE = "the server needs a valid certificate for the name in EMAIL_URL"
CHECK_LOGIN = "check the user name and password in EMAIL_URL"
WAIT = "wait: the sender tries again every minute"
CONNECTION_REMEDIES = (
    ("speaks TLS from", "use smtp+ssl:// in EMAIL_URL"),
    ("does not start with TLS", "use smtp+tls:// in EMAIL_URL"),
    ("AUTH", "check your provider's login instructions"),
    ("password", "use smtp+tls:// or smtp+ssl:// in EMAIL_URL"),
    ("STARTTLS", "use smtp+ssl:// with port 465 in EMAIL_URL, or smtp:// for a server in your own network"),
    ("CERTIFICATE", VALID_CERTIFICATE),
    ("certificate", VALID_CERTIFICATE),
)
# The first pattern that occurs in a reply of the server, in lower case, decides.
REPLY = re.compile(r": ([45][0-9]{2}\b.*)", re.DOTALL)
REPLY_REMEDIES = (
    (
        r"\b(?:spf|dkim|dmarc)\b|5\.7\.(?:26|515)\b|\bunauthenticated|\breverse|\bptr\b|\brdns\b",
        "set up SPF, DKIM, DMARC and reverse DNS for the sender's domain and server",
    ),
    (r"\b(?:helo|ehlo)\b", "set SMTP_HELO_NAME to the public name of this machine"),
    (r"\bstarttls\b|\b(?:tls|encryption)\b.*\brequired", "use smtp+tls:// in EMAIL_URL"),
    (r"^4.*(?:\bauth|\blog ?in\b|credential)", f"{WAIT}; if this continues, {CHECK_LOGIN}"),
    (r"^53|\bauthenticat|\blog ?in\b|credential|password|user ?name", CHECK_LOGIN),
    (
        r"limit|quota|exceed|too many|credits?\b|\brate\b|throttl",
        "wait until the mail provider's limit allows more, or ask for a higher one; the rest is sent then",
    ),
    (r"\brelay", "set a user name and password in EMAIL_URL, or let the mail server relay for this machine"),
    (r"\bsender\b|\bfrom\b|identit|not owned|send ?as", "check MAIL_FROM: the server must accept this sender address"),
    (
        r"block|blacklist|suspend|disabled|denied|reputation|\blisted\b|banned|spam",
        "ask the mail provider why it blocks this account, domain or server",
    ),
    (r"^4", WAIT),
    (r"", "ask the mail provider what this reply means"),
)


def check_maildir(settings: Settings) -> Iterator[Finding]:
    """Check the Maildir, if mail goes there."""
    if settings.email_url.path is not None:
        yield from _maildir(settings.email_url.path)


def check_mail_server(settings: Settings) -> Iterator[Finding]:
    """Log in to the mail server, if one is set, as the sender does. No message is sent."""
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
        return "is reachable; no login configured"
    if server.user == server.password:  # some providers use one secret token as both
        return "accepted the login"
    return f"accepted the login as {server.user}"


def certificate(welcome: LoginResult, now: float) -> Iterator[Finding]:
    """Report when the server's certificate expires, if the connection uses TLS."""
    if welcome.certificate_expires_at is None:
        return
    left = welcome.certificate_expires_at - now
    until = time.strftime("%Y-%m-%d", time.gmtime(welcome.certificate_expires_at))
    if left < CERTIFICATE_WARNING:
        days = pluralize(int(max(0, left) // DAY), "day")
        text = f"the server's certificate expires on {until}, in {days}; after that nothing can be sent"
        yield warning("mail server", text, "ask its operator to renew it")
    else:
        yield ok("mail server", f"{welcome.tls}, certificate valid until {until}")


def remedy_for(reason: str) -> str:
    """Return what to do about an error of the server, the network or the Maildir."""
    if reason.startswith("cannot write to the Maildir"):
        return reason.rpartition("; ")[2]
    if reply := REPLY.search(reason):
        text = reply[1].lower()
        return next(remedy for pattern, remedy in REPLY_REMEDIES if re.search(pattern, text))
    found = (remedy for words, remedy in CONNECTION_REMEDIES if words in reason)
    return next(found, "check host and port in EMAIL_URL")


def _maildir(path: Path) -> Iterator[Finding]:
    text = f"no mail server: messages are saved in {path}"
    yield warning("mail server", text, "run flask setup, or set EMAIL_URL=smtp+tls://USER:PASSWORD@HOST:587")
    for folder in (path / "tmp", path / "new"):
        place = existing(folder)
        if not os.access(place, os.W_OK | os.X_OK):
            yield error(
                "mail server", f"{place} is not writable", "give this user write access to it (chown, chmod u+rwx)"
            )
            return
    yield ok("mail server", "the outbox is writable")
