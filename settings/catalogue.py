"""Every setting: what it means, what it allows, and an example. The only place that describes settings.

docs/settings.md, `.env.example`, the Health page and the error messages come from this table; settings/documents.py
writes the two files. The defaults are in settings/defaults.py, because an idle sweep needs them, but not these texts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from settings.defaults import DEFAULTS

DURATION = "0, or a whole number with `s`, `m`, `h` or `d`"
SIZE = "`1kB` to `1GB`, also with `KiB` or `MiB`, or as a number of bytes"
MAILBOX = "`Name <address@host>` or `address@host`, without line breaks"


class Setting(NamedTuple):
    """One setting. `meaning` and `allowed` are Markdown with code spans and links. `plain` removes the markup."""

    name: str
    meaning: str
    allowed: str
    examples: tuple[str, ...] = ()  # without secrets, so a secret has none
    unit: str = ""  # of a number, such as `per second`
    without: str = "none"  # what applies if the default is empty
    hint: str = ""  # further help with an invalid value

    @property
    def default(self) -> str:
        """The default as text, or '' if there is none."""
        return DEFAULTS[self.name]

    @property
    def sentence(self) -> str:
        """The meaning as plain text, such as `The sender's log.`."""
        text = plain(self.meaning)
        return f"{text[:1].upper()}{text[1:]}."

    @property
    def rule(self) -> str:
        """What is allowed, with an example, for the message about an invalid value."""
        example = f"; for example {self.name}={self.examples[0]}" if self.examples else ""
        return f"allowed: {plain(self.allowed)}{example}" + (f"; {self.hint}" if self.hint else "")


def plain(markdown: str) -> str:
    """Return the text without code spans and links."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")


SECTIONS: dict[str, tuple[Setting, ...]] = {
    "Mail": (
        Setting(
            "EMAIL_URL",
            "where mail goes: to a folder (`maildir:`), or to a mail server without TLS (`smtp://`), with STARTTLS"
            " (`smtp+tls://`) or with TLS from the start (`smtp+ssl://`)",
            "`maildir:FOLDER`, `smtp://HOST:25`, `smtp+tls://USER:PASSWORD@HOST:587` or"
            " `smtp+ssl://USER:PASSWORD@HOST:465`",
            ("smtp+tls://USER:PASSWORD@smtp.example.com:587", "smtp://localhost:25"),
        ),
        Setting(
            "MAIL_FROM",
            "the From header. Its address is also the envelope sender",
            MAILBOX,
            ("Summer Club <news@example.com>",),
        ),
        Setting(
            "MAIL_REPLY_TO",
            "the Reply-To header",
            MAILBOX,
            ("office@example.com",),
        ),
        Setting(
            "PUBLIC_URL",
            "the public address of this service. If set, every message carries an"
            " [unsubscribe link](recipients.md#unsubscribing)",
            "`https://HOST[:PORT][/PATH]`, without `?` or `#`",
            ("https://mail.example.com",),
        ),
        Setting(
            "SERVICE_NAME",
            "the name of this installation, at the top of every page",
            "1 to 60 characters, without line breaks",
            ("Summer Club",),
            without="the name in `MAIL_FROM`, or the domain of its address",
        ),
        Setting(
            "TIMEZONE",
            "the time zone of times without an offset, such as `timestamp`",
            "the IANA name of a time zone",
            ("Europe/Berlin", "UTC"),
            hint="if every name fails, install the zone data: pip install tzdata",
        ),
        Setting(
            "DEFAULT_AUDIENCE",
            "who receives an email that does not say who it is for. `required`: such an email is refused",
            "`everyone` or `required`",
            ("required",),
        ),
        Setting(
            "SINGLE_LABEL_DOMAINS",
            "whether recipients may have a domain without a dot, such as `root@mailhost`",
            "`no` or `yes`",
            ("yes",),
        ),
    ),
    "Sending": (
        Setting(
            "SMTP_CONNECTIONS",
            "how many connections one sender uses at the same time",
            "a whole number from 1 to 1000",
            ("8",),
        ),
        Setting(
            "SMTP_MESSAGES_PER_CONNECTION",
            "how many messages one connection carries before it is replaced. 0 means no limit",
            "0 or a positive whole number",
            ("50",),
        ),
        Setting(
            "SMTP_MAX_RATE",
            "how many messages one sender sends per second, across all its connections. 0 means no limit",
            "0 or a positive number",
            ("14", "0.5"),
            unit="per second",
        ),
        Setting(
            "SMTP_MAX_PER_DAY",
            "how many messages all senders together send in 24 hours, for the quota of a provider. 0 means no limit",
            "0 or a positive whole number",
            ("10000",),
            unit="per day",
        ),
        Setting(
            "SMTP_HELO_NAME",
            "the name for EHLO. Set it if the mail server refuses the name of this machine",
            "a host name, or an address in brackets",
            ("mail.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]"),
            without="the name of this machine",
        ),
        Setting(
            "SENDERS",
            "how many senders may work at the same time",
            "a whole number from 1 to 1000",
            ("4",),
        ),
        Setting("RETRY_FOR", "how long a delivery is retried before it fails", DURATION, ("48h",)),
        Setting(
            "IN_DOUBT",
            "what happens to a message if sending was interrupted before the mail server confirmed it: it is sent again"
            " (`resend`), or waits for your decision (`hold`)",
            "`resend` or `hold`",
            ("hold",),
        ),
        Setting(
            "HOLD_IF_LATE",
            "puts an email on hold if sending would start more than this long after its due time, or after its"
            " submission if that was later. 0 means never",
            DURATION,
            ("6h",),
        ),
        Setting(
            "KEEP_FOR",
            "deletes the content and deliveries of emails this long after they finish. 0 keeps everything",
            DURATION,
            ("90d",),
        ),
        Setting(
            "SCHEDULER",
            "what starts sending. `cron`: the cron job, or a sender that keeps running. `rq-scheduler`: each POST also"
            " schedules a wake-up in [Redis](redis.md)",
            "`cron` or `rq-scheduler`",
            ("rq-scheduler",),
        ),
        Setting(
            "REDIS_URL",
            "the Redis server for `SCHEDULER=rq-scheduler`",
            "`redis://:PASSWORD@HOST:PORT/NUMBER`, with `rediss://` for TLS, or `unix:///SOCKET`",
            ("redis://:PASSWORD@redis.example.com:6379/0", "unix:///run/redis/redis.sock"),
        ),
        Setting("TASKLOG", "the sender's log", "the path of a file", ("/var/log/email-endpoint/tasklog.log",)),
    ),
    "Web server": (
        Setting(
            "HOST",
            "the address that `start_flask.sh` listens on",
            "an address or name of this machine",
            ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - all addresses of this machine
        ),
        Setting("PORT", "the port that `start_flask.sh` listens on", "a whole number from 1 to 65535", ("5001",)),
        Setting(
            "API_TOKEN",
            "the [access token](deploy.md#access-tokens) for programs and people. To replace a token, set both the old"
            " and the new one, separated by a comma. Without a token, only this machine has access",
            "tokens of 16 or more ASCII characters, without spaces, separated by commas",
            hint="create one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        ),
        Setting(
            "SECRET_KEY",
            "signs sessions and unsubscribe links. The key in the database is the same on every machine, and is in"
            " every backup",
            "16 or more characters, or empty to use the key in the database",
            without="from the database",
        ),
        Setting(
            "TRUSTED_PROXIES",
            "how many proxies in front of the service are trusted to set `X-Forwarded-*`. For the client's address,"
            " they can set `Forwarded` instead",
            "a whole number from 0 to 100",
            ("1",),
        ),
        Setting(
            "SESSION_IDLE_LIMIT",
            "logs people out when they have not used the pages for this long. With 0, they are logged out only seven"
            " days after the login",
            DURATION,
            ("1h",),
        ),
        Setting(
            "WEB_WORKERS",
            "how many processes the web server has",
            "a whole number from 1 to 64",
            ("2",),
        ),
        Setting("MAX_BODY", "the largest request that is accepted", SIZE, ("25MB", "512kB")),
        Setting(
            "RATE_LIMIT",
            "how many requests one client may send per minute. 0 means no limit. Without Redis, each process of the web"
            " server counts separately. Wrong tokens are always limited, to ten per minute",
            "0 or a positive whole number",
            ("120",),
            unit="per minute",
        ),
        Setting(
            "LOG_FORMAT", "the format of the log line for each request, on stderr", "`text`, `json` or `off`", ("json",)
        ),
    ),
    "Data": (
        Setting(
            "DATABASE_URL",
            "the database: a SQLite file, or a PostgreSQL database with any [libpq parameter](deploy.md#postgresql)",
            "`sqlite:///FILE`, `sqlite:////FOLDER/FILE` or `postgresql://USER:PASSWORD@HOST/NAME?PARAMETER=VALUE`",
            ("sqlite:////var/lib/email-endpoint/email.db", "postgresql://USER:PASSWORD@db.example.com/mail"),
        ),
        Setting(
            "DATA_DIR",
            "the data folder. Relative paths in `DATABASE_URL`, `EMAIL_URL` and `TASKLOG` are relative to it. A"
            " relative `DATA_DIR` is relative to the project's folder",
            "the path of a folder",
            ("/var/lib/email-endpoint",),
        ),
    ),
}
SETTINGS = {setting.name: setting for section in SECTIONS.values() for setting in section}
