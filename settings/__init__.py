"""The environment and `.env`, read once into a typed object that cannot be changed; every error at once.

A value in the environment takes precedence over the same one in `.env`; an empty value means the default. What
each kind of value may look like is in `settings/parse.py`. An idle sweep imports this module every minute, so it
imports nothing large.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from settings import parse as values
from settings.parse import DatabaseURL, EmailURL, Mailbox, RefusedError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["FOLDER", "EmailURL", "Settings", "SettingsError", "load_settings"]

FOLDER = Path(__file__).resolve().parent.parent
FROM_FILES = ("API_TOKEN", "DATABASE_URL", "EMAIL_URL", "REDIS_URL")  # or from the file <name>_FILE
ADDRESS = ("HOST", "PORT")  # read by `serving.address`
NEW_DATABASE = ("NEW_DATABASE_URL", "NEW_DATABASE_URL_FILE")  # read by `flask copy-database` alone
# A line of `.env` without quotes around the value, a comment behind it, or blanks at an end.
PLAIN_LINE = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)=((?!['" ])[ !"$-~]*(?<! ))""")
PLAIN_COMMENT = re.compile("#[ -~]*")
SECRETS = ("API_TOKEN", "SECRET_KEY")  # never shown; what may be a password in a URL is never shown either
T = TypeVar("T")


class SettingsError(Exception):
    """The service cannot start with this environment; `errors` holds one line for each mistake."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class SettingSource(NamedTuple):
    """Where the value of a setting comes from, and its text, fit to be shown: a secret is masked."""

    name: str
    text: str
    source: str  # 'environment' | '.env' | 'default', or the variable that names its file


class Settings(NamedTuple):
    """The whole configuration. Paths are absolute, durations are in seconds, sizes in bytes."""

    folder: Path  # of the program, with `.env`
    data_dir: Path
    database_url: str
    database_path: Path | None  # of the SQLite file; None for another database
    email_url: EmailURL
    mail_from: Mailbox
    mail_reply_to: Mailbox | None
    zone_name: str
    api_tokens: tuple[str, ...]
    secret_key: str | None
    public_url: str | None  # without a slash at its end
    trusted_proxies: int
    scheduler: str
    redis_url: str
    smtp_helo_name: str | None
    smtp_connections: int
    smtp_messages_per_connection: int
    smtp_max_rate: float
    smtp_max_per_day: int
    senders: int
    retry_for: int
    in_doubt: str
    hold_if_late: int
    web_workers: int
    max_body: int
    single_label_domains: bool
    keep_for: int
    session_idle_limit: int  # seconds; 0: none
    rate_limit: int
    log_format: str  # of the log of requests: 'text' | 'json' | 'off'
    tasklog: Path
    sources: tuple[SettingSource, ...]

    @property
    def timezone(self) -> ZoneInfo:
        """The zone of TIMEZONE."""
        return values.zone(self.zone_name)

    @property
    def database_name(self) -> str:
        """The database, fit to be shown: without user and password."""
        return str(self.database_path or values.without_secrets(self.database_url).replace("…@", ""))


def load_settings(environ: Mapping[str, str] | None = None, folder: Path = FOLDER) -> Settings:
    """Return the settings of this process. Raises SettingsError, which names everything that is wrong."""
    errors: list[str] = []
    read = _Reader(variables_of(environ, folder, errors), folder, errors)
    fields = _read_all(read, folder)
    if errors:
        raise SettingsError(errors)
    database: DatabaseURL = fields.pop("database")
    in_environment = os.environ if environ is None else environ
    sources = tuple(_sourced(source, in_environment) for source in read.sources)
    return Settings(folder, database_url=database.url, database_path=database.path, **fields, sources=sources)


def database_of_variable(name: str, folder: Path = FOLDER) -> Settings:
    """Return the settings of `.env`, but with the database that the variable `name` holds, or the file of NAME_FILE.

    Raises SettingsError, also if there is no such variable.
    """
    errors: list[str] = []
    variables = variables_of(None, folder, errors)
    chosen = {suffix: variables.get(name + suffix, "").strip() for suffix in ("", "_FILE")}
    if not errors and not any(chosen.values()):
        errors = [f"there is no {name} in the environment or in .env"]
    if errors:
        raise SettingsError(errors)
    environ = {"DATA_DIR": variables.get("DATA_DIR", "")}
    environ |= {"DATABASE_URL" + suffix: text for suffix, text in chosen.items()}
    try:
        return load_settings(environ, folder)
    except SettingsError as error:
        raise SettingsError([line.replace("DATABASE_URL", name) for line in error.errors]) from None


def variables_of(environ: Mapping[str, str] | None, folder: Path, errors: list[str]) -> dict[str, str]:
    """Return the variables of `.env`, overridden by the environment. Mistakes in the file are appended to `errors`."""
    variables = _read_env_file(folder / ".env", errors)
    variables.update(os.environ if environ is None else environ)
    return variables


def known_names() -> set[str]:
    """Every name that means something in the environment or in `.env`."""
    read = _Reader({}, FOLDER, [])
    _read_all(read, FOLDER)
    return {*read.names, *(name + "_FILE" for name in FROM_FILES), *ADDRESS}


def env_file_names(folder: Path) -> set[str]:
    """Every name that `.env` gives a value."""
    return set(_read_env_file(folder / ".env", []))


def _read_all(read: _Reader, folder: Path) -> dict[str, Any]:
    """Return the value of every setting, by its field of Settings; None for each that is in the errors of `read`."""
    data_dir = read("DATA_DIR", ".", lambda text: values.path(text, folder)) or folder
    return {
        "data_dir": data_dir,
        "database": read("DATABASE_URL", "sqlite:///email.db", lambda text: values.database(text, data_dir)),
        "email_url": read("EMAIL_URL", "maildir:outbox", lambda text: values.email_url(text, data_dir)),
        "mail_from": read("MAIL_FROM", "Email endpoint <no-reply@localhost>", values.mailbox),
        "mail_reply_to": read("MAIL_REPLY_TO", "", lambda text: values.mailbox(text) if text else None),
        "zone_name": read("TIMEZONE", "Asia/Singapore", values.zone_name),
        "api_tokens": read("API_TOKEN", "", values.tokens),
        "secret_key": read("SECRET_KEY", "", values.secret_key),
        "public_url": read("PUBLIC_URL", "", values.public_url),
        "trusted_proxies": read("TRUSTED_PROXIES", "0", values.whole_number(0, 100)),
        "scheduler": read("SCHEDULER", "cron", values.scheduler),
        "redis_url": read("REDIS_URL", values.REDIS_URL, values.redis_url),
        "smtp_helo_name": read("SMTP_HELO_NAME", "", values.helo_name),
        "smtp_connections": read("SMTP_CONNECTIONS", "4", values.whole_number(1, 1000)),
        "smtp_messages_per_connection": read("SMTP_MESSAGES_PER_CONNECTION", "100", values.whole_number(0)),
        "smtp_max_rate": read("SMTP_MAX_RATE", "0", values.decimal_number),
        "smtp_max_per_day": read("SMTP_MAX_PER_DAY", "0", values.whole_number(0)),
        "senders": read("SENDERS", "1", values.whole_number(1, 1000)),
        "retry_for": read("RETRY_FOR", "24h", values.duration),
        "in_doubt": read("IN_DOUBT", "resend", values.choice("resend", "hold")),
        "hold_if_late": read("HOLD_IF_LATE", "0", values.duration),
        "web_workers": read("WEB_WORKERS", "1", values.whole_number(1, 64)),
        "max_body": read("MAX_BODY", "10MB", values.size),
        "single_label_domains": read("SINGLE_LABEL_DOMAINS", "no", values.yes_or_no),
        "keep_for": read("KEEP_FOR", "0", values.duration),
        "session_idle_limit": read("SESSION_IDLE_LIMIT", "12h", values.duration),
        "rate_limit": read("RATE_LIMIT", "0", values.whole_number(0)),
        "log_format": read("LOG_FORMAT", "text", values.choice("text", "json", "off")),
        "tasklog": read("TASKLOG", "tasklog.log", lambda text: values.path(text, data_dir)),
    }


def _sourced(setting: SettingSource, in_environment: Mapping[str, str]) -> SettingSource:
    """Say whether the variable is from the environment, which takes precedence, or from `.env`."""
    if setting.source in ("default", *in_environment):
        return setting._replace(source="environment" if setting.source == setting.name else setting.source)
    return setting._replace(source=".env" if setting.source == setting.name else f"{setting.source} in .env")


class _Reader:
    """Reads one variable after another and collects what is wrong, so that one start names all of it."""

    def __init__(self, variables: Mapping[str, str], folder: Path, errors: list[str]) -> None:
        self.variables = variables
        self.folder = folder
        self.errors = errors
        self.names: list[str] = []  # every setting that was read
        self.sources: list[SettingSource] = []  # here, `source` is the variable that has the value, or 'default'

    def __call__(self, name: str, default: str, parse: Callable[[str], T]) -> T | None:
        """Return the value of a variable, or None if its text is not allowed, which is added to the errors."""
        self.names.append(name)
        file = self.variables.get(name + "_FILE", "").strip() if name in FROM_FILES else ""
        text = self.variables.get(name, "").strip()
        try:
            values.refuse_quotation_marks(file)
            if file:
                text = self._contents(name, file, text)
            values.refuse_quotation_marks(text)
            source = name + "_FILE" if file else name if text else "default"
            self.sources.append(SettingSource(name, _masked(name, text or default), source))
            return parse(text or default)
        except RefusedError as refused:
            shown = f"{name}_FILE={file!r}" if file else _shown(name, text or default)
            self.errors.append(f"{shown}: {refused}")
            return None

    def _contents(self, name: str, file: str, text: str) -> str:
        if text:
            raise RefusedError(f"{name} is set too; keep one of the two and leave the other empty")
        return values.file_contents(self.folder / file)


def _masked(name: str, text: str) -> str:
    """A good value, with no secret in it."""
    if name in SECRETS:
        return "set, not shown" if text else ""
    return values.without_secrets(text) if name.endswith("_URL") else text


def _shown(name: str, text: str) -> str:
    """`NAME='value'` for an error line, with nothing in it that could be a password."""
    if name in SECRETS:
        return f"{name} (its value is not shown)"
    if name.endswith("_URL") and not re.fullmatch(r"(\w[\w+.-]*://|maildir:)?[^:@?#%]*(:\d{1,5})?/?", text):
        text = text.partition(":")[0] + ":…"
    return f"{name}={text if len(text) <= 100 else text[:99] + '…'!r}"


def _read_env_file(path: Path, errors: list[str]) -> dict[str, str]:
    """The variables of `.env` as they stand there: `$` means nothing, so that any password can be written."""
    try:
        status = path.stat()
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        errors.append(f"{path}: cannot be read ({error.strerror}); mend it, or chmod 600 .env as its owner")
        return {}
    except UnicodeDecodeError as error:
        errors.append(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
        return {}
    errors.extend(env_file_faults(path, status))
    return _parsed(path, text, errors)


def env_file_faults(path: Path, status: os.stat_result) -> list[str]:
    """Why `.env`, which holds passwords, is not safe where it is. Windows keeps such rights elsewhere."""
    if os.name != "posix":
        return []
    owner, mode = status.st_uid, status.st_mode & 0o777
    if owner not in (0, os.geteuid()):
        return [f"{path}: belongs to another user ({owner}); chown {os.geteuid()} .env && chmod 600 .env"]
    if mode & 0o077:
        return [f"{path}: other users can read or change it (mode {mode:o}); chmod 600 .env"]
    return []


def protect_env_file(path: Path) -> str | None:
    """Take the rights of other users on `.env` away if this user can; return what was done, as a sentence."""
    try:
        status = path.stat()
        mode = status.st_mode & 0o777
        if os.name != "posix" or not mode & 0o077 or status.st_uid not in (0, os.geteuid()):
            return None
        path.chmod(mode & 0o700)
    except OSError:
        return None  # reading it says what is wrong
    return (
        f"{path}: other users could read or change it (mode {mode:o}); its mode is now {mode & 0o700:o}."
        " If you do not trust them, change the passwords in it."
    )


def _plain_variables(text: str) -> dict[str, str] | None:
    """Return the variables of a file without quotes, escapes and the like, as dotenv does; None for any other file."""
    variables: dict[str, str] = {}
    for line in text.split("\n"):
        if match := PLAIN_LINE.fullmatch(line):
            variables[match[1]] = match[2]
        elif line and not PLAIN_COMMENT.fullmatch(line):
            return None
    return variables


def _parsed(path: Path, text: str, errors: list[str]) -> dict[str, str]:
    plain = _plain_variables(text)
    if plain is not None:
        return plain
    from dotenv.parser import parse_stream  # takes a fifth of an idle sweep to import

    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            line = binding.original.line
            errors.append(f"{path}: line {line} is no NAME=value; quote the value or mend the line")
        elif binding.key:
            variables[binding.key] = binding.value or ""
    return variables
