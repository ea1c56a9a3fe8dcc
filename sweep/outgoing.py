"""Which sender EMAIL_URL asks for."""

from __future__ import annotations

from delivery.outcome import Sender
from settings import Settings


def make_sender(settings: Settings) -> Sender:
    """The sender for EMAIL_URL; only what it needs is imported."""
    url = settings.email_url
    if url.path is not None:
        from delivery.maildir import MaildirSender

        return MaildirSender(url.path)
    from delivery.sender import SMTPSender, SMTPServer

    security = {"smtp": "none", "smtp+tls": "starttls", "smtp+ssl": "tls"}[url.scheme]
    return SMTPSender(
        SMTPServer(url.host, url.port, security, url.user, url.password),
        connections=settings.smtp_connections,
        messages_per_connection=settings.smtp_messages_per_connection,
        max_rate=settings.smtp_max_rate,
    )
