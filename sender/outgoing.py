"""Build outgoing mail from the settings: the sender for EMAIL_URL, the messages, and the links to PUBLIC_URL."""

from __future__ import annotations

from database import Database, TextToSend
from delivery.interface import Sender
from delivery.maildir.sender import MaildirSender
from delivery.message.message import Message
from delivery.message.mime import is_html
from delivery.message.personal import PersonalMessage
from delivery.message.plain_text import plain_text
from delivery.message.unsubscribe import Links, Tokens
from delivery.smtp.sender import SMTPSender, SMTPServer
from settings import Settings


def make_sender(settings: Settings) -> Sender:
    """Return the sender for EMAIL_URL."""
    url = settings.email_url
    if url.path is not None:
        return MaildirSender(url.path)
    return SMTPSender(
        server_of(settings),
        connections=settings.smtp_connections,
        messages_per_connection=settings.smtp_messages_per_connection,
        max_rate=settings.smtp_max_rate,
    )


def server_of(settings: Settings) -> SMTPServer:
    """Return the SMTP server that EMAIL_URL specifies."""
    url = settings.email_url
    security = {"smtp": "none", "smtp+tls": "starttls", "smtp+ssl": "tls"}[url.scheme]
    return SMTPServer(url.host, url.port, security, url.user, url.password, helo_name=settings.smtp_helo_name)


def make_message(settings: Settings, database: Database, event_id: int, text: TextToSend) -> Message:
    """Render the message of an email, once for all recipients. Raises MessageError if it cannot be built."""
    reply_to = settings.mail_reply_to
    kind = PersonalMessage if text.personal else Message
    return kind(
        event_id=event_id,
        subject=text.subject,
        content=text.content,
        sender_name=settings.mail_from.name,
        sender_address=settings.mail_from.address,
        reply_to=(reply_to.name, reply_to.address) if reply_to else None,
        token=text.token,
        ready_at=text.ready_at,
        unsubscribe=unsubscribe_links(settings, database),
    )


def goes_as_html(content: str) -> bool:
    """Return whether content is sent as HTML. Otherwise it is sent as plain text alone."""
    return is_html(content)


def as_plain_text(content: str) -> str:
    """Return content as plain text, as seen in a mail program that does not show HTML."""
    return plain_text(content) if goes_as_html(content) else content


def unsubscribe_links(settings: Settings, database: Database) -> Links | None:
    """Return the unsubscribe links for messages, or None if PUBLIC_URL is not set."""
    if settings.public_url is None:
        return None
    return unsubscribe_tokens(settings, database).links(settings.public_url)


def unsubscribe_tokens(settings: Settings, database: Database) -> Tokens:
    """Return the Tokens that create the links in messages, and verify them in the web server."""
    return Tokens(settings.secret_key or database.meta("secret_key"), database.meta("installation"))
