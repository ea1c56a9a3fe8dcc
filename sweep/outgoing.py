"""Which sender EMAIL_URL asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.outcome import Sender
from settings import EmailURL, Settings

if TYPE_CHECKING:
    from delivery.sender import SMTPServer


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
