"""Build outgoing mail from the settings: the sender for EMAIL_URL, the messages, and the links to PUBLIC_URL."""

from __future__ import annotations

from database import Database, TextToSend
from delivery.errors import MessageError
from delivery.interface import Sender
from delivery.maildir.sender import MaildirSender
from delivery.message.message import MailingList, Message
from delivery.message.mime import is_html
from delivery.message.personal import PersonalMessage
from delivery.message.plain_text import plain_text
from delivery.message.unsubscribe import Links, Tokens
from delivery.smtp.sender import SMTPSender, SMTPServer
from settings import Settings
from settings.parse import Mailbox, RefusedError, mailbox

INSTALLATION_DIGITS = 8  # enough to tell apart the installations that send for one domain


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
    reply_to = _mailbox(text.reply_to) if text.reply_to else settings.mail_reply_to
    kind = PersonalMessage if text.personal else Message
    return kind(
        event_id=event_id,
        subject=text.subject,
        content=text.content,
        sender_name=text.from_name or settings.mail_from.name,
        sender_address=settings.mail_from.address,
        reply_to=(reply_to.name, reply_to.address) if reply_to else None,
        token=text.token,
        ready_at=text.ready_at,
        unsubscribe=unsubscribe_links(settings, database, event_id),
        mailing_list=_mailing_list(database, text),
    )


def goes_as_html(content: str) -> bool:
    """Return whether content is sent as HTML. Otherwise it is sent as plain text alone."""
    return is_html(content)


def as_plain_text(content: str) -> str:
    """Return the plain text that an email client without HTML support would show."""
    return plain_text(content) if goes_as_html(content) else content


def unsubscribe_links(settings: Settings, database: Database, event_id: int) -> Links | None:
    """Return the unsubscribe links of an email, or None if PUBLIC_URL is not set."""
    if settings.public_url is None:
        return None
    return unsubscribe_tokens(settings, database).links(settings.public_url, event_id)


def unsubscribe_tokens(settings: Settings, database: Database) -> Tokens:
    """Return the Tokens that create the links in messages, and verify them in the web server."""
    return Tokens(settings.secret_key or database.meta("secret_key"), database.meta("installation"))


def _mailbox(text: str) -> Mailbox:
    """Return a mailbox that was checked when its email was saved."""
    try:
        return mailbox(text)
    except RefusedError as refused:  # it was changed in the database since
        raise MessageError(f"the Reply-To address is not valid; {refused}") from None


def _mailing_list(database: Database, text: TextToSend) -> MailingList | None:
    """Return the list of an email to exactly one list, or None.

    Its label is different from that of any other list, also in another installation that sends for the same domain.
    """
    if text.list_name is None or text.list_id is None:
        return None
    installation = database.meta("installation")[:INSTALLATION_DIGITS]
    return MailingList(text.list_name, f"list-{text.list_id}.{installation}")
