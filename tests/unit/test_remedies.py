"""What to do about an error of the mail server fits the error."""

from __future__ import annotations

import pytest

from monitoring.mail_server import remedy_for

REMEDIES = [
    ("535 5.7.8 authentication failed", "check the user name and password in EMAIL_URL"),
    ("534-5.7.9 Application-specific password required. Learn more at https://x", "check the user name and password"),
    ("454 4.7.0 Temporary authentication failure", "wait: the sender tries again every minute; if this continues"),
    ("421 4.7.0 Too many login attempts", "wait: the sender tries again every minute; if this continues"),
    ("530 5.7.0 Must issue a STARTTLS command first", "use smtp+tls:// in EMAIL_URL"),
    ("550 5.4.5 Daily user sending limit exceeded", "wait until the mail provider's limit allows more"),
    ("552 5.2.2 Outgoing message quota exceeded", "wait until the mail provider's limit allows more"),
    ("20 recipients in a row were refused: 550 out of credits", "wait until the mail provider's limit allows more"),
    ("454 4.7.1 <a@example.com>: Relay access denied", "set a user name and password in EMAIL_URL, or let"),
    ("553 5.7.1 <x@example.com>: Sender address rejected: not owned by user", "check MAIL_FROM"),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "check MAIL_FROM"),
    ("550 5.7.26 This mail has been blocked because the sender is unauthenticated", "set up SPF, DKIM, DMARC"),
    (
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "ask the mail provider why",
    ),
    ("550 5.7.1 HELO name rejected", "set SMTP_HELO_NAME"),
    ("421 4.3.2 busy", "wait: the sender tries again every minute"),
    ("550 您的账号今日发信量已超过上限", "ask the mail provider what this reply means"),
    ("the server offers neither AUTH PLAIN nor AUTH LOGIN", "check your provider's login instructions"),
    ("the server does not offer STARTTLS; nothing was sent unencrypted", "use smtp+ssl:// with port 465"),
    ("220 x ESMTP … this port does not start with TLS: use smtp+tls:// in EMAIL_URL", "use smtp+tls:// in EMAIL_URL"),
    ("this port speaks TLS from the start: use smtp+ssl:// in EMAIL_URL", "use smtp+ssl:// in EMAIL_URL"),
    ("Connection refused", "check host and port in EMAIL_URL"),
    ("Name or service not known", "check host and port in EMAIL_URL"),
    ("TLS: certificate has expired", "the server needs a valid certificate"),
]


@pytest.mark.parametrize(("said", "remedy"), REMEDIES)
@pytest.mark.parametrize("where", ["mail.example.com:587: ", "mail.example.com:535: [2001:db8::1]:535: "])
def test_the_remedy_fits_what_stopped_the_sender(where: str, said: str, remedy: str) -> None:
    assert remedy_for(where + said).startswith(remedy)


def test_the_remedy_for_a_maildir_is_the_one_that_its_error_names() -> None:
    reason = "cannot write to the Maildir /srv/outbox: No space left on device; free some disk space"
    assert remedy_for(reason) == "free some disk space"
