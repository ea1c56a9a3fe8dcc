"""What the settings say of outgoing mail: the sender that EMAIL_URL asks for, and the links of PUBLIC_URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from database import Database
from delivery.outcome import Sender
from settings import EmailURL, Settings

if TYPE_CHECKING:
    from delivery.sender import SMTPServer
    from delivery.unsubscribe import Links, Tokens


def make_sender(settings: Settings) -> Sender:
    """The sender for EMAIL_URL; only what it needs is imported."""
    url = settings.email_url
    if url.path is not None:
        from delivery.maildir import MaildirSender

        return MaildirSender(url.path)
    from delivery.sender import SMTPSender

    return SMTPSender(
        server_of(url),
        connections=settings.smtp_connections,
        messages_per_connection=settings.smtp_messages_per_connection,
        max_rate=settings.smtp_max_rate,
    )


def server_of(url: EmailURL) -> SMTPServer:
    """The SMTP server that EMAIL_URL names."""
    from delivery.sender import SMTPServer

    security = {"smtp": "none", "smtp+tls": "starttls", "smtp+ssl": "tls"}[url.scheme]
    return SMTPServer(url.host, url.port, security, url.user, url.password)


def unsubscribe_links(settings: Settings, database: Database) -> Links | None:
    """The links that messages carry; None without PUBLIC_URL."""
    if settings.public_url is None:
        return None
    return unsubscribe_tokens(settings, database).links(settings.public_url)


def unsubscribe_tokens(settings: Settings, database: Database) -> Tokens:
    """The tokens of this installation: those in its messages, and those that the web server gets back."""
    from delivery.unsubscribe import Tokens

    return Tokens(settings.secret_key or database.meta("secret_key"), database.meta("installation"))
