"""What `flask setup` knows of mail providers: their servers, and which of their many passwords is the right one.

All of these servers use STARTTLS. docs/mail-server.md lists them, and a test compares the two.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Server(NamedTuple):
    """A provider's mail server. `host` may contain `{region}`. `purpose` tells apart several servers of a provider."""

    host: str
    hint: str
    purpose: str = ""
    port: int = 587
    user: str = ""  # the user name that all customers have
    user_is_sender: bool = False  # the user name is usually the sender's address
    user_label: str = "User name"
    hidden_label: str = "Password"  # of the answer that is not shown
    one_token: bool = False  # a single token is both user name and password

    def has(self, host: str) -> bool:
        """Return whether `host` is this server, in any region."""
        pattern = re.escape(self.host).replace(re.escape("{region}"), "[a-z0-9-]+")
        return re.fullmatch(pattern, host) is not None


class Provider(NamedTuple):
    name: str
    servers: tuple[Server, ...]


SES = "email-smtp.{region}.amazonaws.com"
MAILGUN = "Use the SMTP credentials of your sending domain (Domain settings, SMTP credentials), not your account."
MAILTRAP = "The sender's domain must be verified. The password is your API token."
PROVIDERS = (
    Provider(
        "SMTP2GO",
        (
            Server(
                "mail.smtp2go.com",
                "Use an SMTP user, not your account. You can add one under Sending > SMTP Users.",
            ),
        ),
    ),
    Provider(
        "Mailgun",
        (
            Server("smtp.mailgun.org", MAILGUN, "a domain in the US region"),
            Server("smtp.eu.mailgun.org", MAILGUN, "a domain in the EU region"),
        ),
    ),
    Provider(
        "Postmark",
        (
            Server(
                "smtp-broadcasts.postmarkapp.com",
                "Generate an SMTP token in the settings of your broadcast stream. It consists of two keys.",
                "broadcast stream (emails to many people)",
                user_label="Access key",
                hidden_label="Secret key",
            ),
            Server(
                "smtp.postmarkapp.com",
                "The server API token is both user name and password. It is shown under API Tokens.",
                "transactional stream (emails to individuals)",
                hidden_label="Server API token",
                one_token=True,
            ),
        ),
    ),
    Provider(
        "Amazon SES",
        (
            Server(
                SES,
                "Create SMTP credentials in the SES console (SMTP settings), in the same region. Your AWS access keys"
                " do not work here.",
                user_label="SMTP user name",
                hidden_label="SMTP password",
            ),
        ),
    ),
    Provider(
        "Gmail or Google Workspace",
        (
            Server(
                "smtp.gmail.com",
                "Create an app password at https://myaccount.google.com/apppasswords. It needs 2-step verification. The"
                " password of the account does not work here.",
                user_is_sender=True,
                user_label="Address of the account",
                hidden_label="App password",
            ),
        ),
    ),
    Provider(
        "Microsoft 365",
        (
            Server(
                "smtp.office365.com",
                "An administrator must turn on Authenticated SMTP for this mailbox. Microsoft is phasing out logins"
                " with a password.",
                user_is_sender=True,
                user_label="Address of the mailbox",
            ),
        ),
    ),
    Provider(
        "Mailtrap",
        (
            Server(
                "bulk.smtp.mailtrap.io",
                MAILTRAP,
                "bulk stream (emails to many people)",
                user="api",
                hidden_label="API token",
            ),
            Server(
                "live.smtp.mailtrap.io",
                MAILTRAP,
                "transactional stream (emails to individuals)",
                user="api",
                hidden_label="API token",
            ),
            Server(
                "sandbox.smtp.mailtrap.io",
                "Use the credentials of your sandbox. It keeps all messages, and delivers none.",
                "a test inbox (sandbox)",
                port=2525,
            ),
        ),
    ),
)


def provider_of(host: str) -> tuple[Provider, Server] | None:
    """Return the provider of a mail server, or None if it is not one of them."""
    found = ((provider, server) for provider in PROVIDERS for server in provider.servers if server.has(host))
    return next(found, None)
