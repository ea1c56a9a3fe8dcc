"""What the settings say of outgoing mail: the sender that EMAIL_URL asks for, and the links of PUBLIC_URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from database import Database
from delivery.outcome import Sender
from settings import EmailURL, Settings

if TYPE_CHECKING:
    from database import TextToSend
    from delivery.message import Message
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


def make_message(settings: Settings, database: Database, event_id: int, text: TextToSend) -> Message:
    """The message of an email, rendered once for all recipients. Raises MessageError when it cannot be built."""
    from delivery.message import Message

    return Message(
        event_id=event_id,
        subject=text.subject,
        content=text.content,
        sender_name=settings.mail_from_name,
        sender_address=settings.mail_from_address,
        reply_to=settings.mail_reply_to,
        token=text.token,
        ready_at=text.ready_at,
        unsubscribe=unsubscribe_links(settings, database),
    )


def goes_as_html(content: str) -> bool:
    """Whether a content is sent as HTML, or as plain text alone."""
    from delivery.body import is_html

    return is_html(content)


def as_plain_text(content: str) -> str:
    """What those read of a content who see no HTML."""
    from delivery.plain_text import plain_text

    return plain_text(content) if goes_as_html(content) else content


def unsubscribe_links(settings: Settings, database: Database) -> Links | None:
    """The links that messages carry; None without PUBLIC_URL."""
    if settings.public_url is None:
        return None
    return unsubscribe_tokens(settings, database).links(settings.public_url)


def unsubscribe_tokens(settings: Settings, database: Database) -> Tokens:
    """The tokens of this installation: those in its messages, and those that the web server gets back."""
    from delivery.unsubscribe import Tokens

    return Tokens(settings.secret_key or database.meta("secret_key"), database.meta("installation"))
