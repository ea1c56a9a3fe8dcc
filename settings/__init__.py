"""Read the environment and `.env` into an immutable, typed object, and report all errors at once.

The environment takes precedence over `.env`. An empty value means the default. `settings/parse.py` checks the values,
and `settings/catalogue.py` describes them. An idle sweep imports this module every minute, so it imports nothing large.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from settings import parse as values
from settings.defaults import DEFAULTS
from settings.parse import DatabaseURL, EmailURL, InvalidValueError, Mailbox, RefusedError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["FOLDER", "EmailURL", "Settings", "SettingsError", "load_settings"]

FOLDER = Path(__file__).resolve().parent.parent
FROM_FILES = (
    "API_TOKEN",
    "DATABASE_URL",
    "EMAIL_URL",
    "REDIS_URL",
)  # each may also be in the file that NAME_FILE names
ADDRESS = ("HOST", "PORT")  # of DEFAULTS, read by `serving.address`
NEW_DATABASE = ("NEW_DATABASE_URL", "NEW_DATABASE_URL_FILE")  # read by `flask copy-database` alone
# A line of `.env` whose value has no quotes, no comment after it, and no spaces at either end.
PLAIN_LINE = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)=((?!['" ])[ !"$-~]*(?<! ))""")
PLAIN_COMMENT = re.compile("#[ -~]*")
SECRETS = ("API_TOKEN", "SECRET_KEY")  # never shown, and neither is anything in a URL that may be a password
T = TypeVar("T")


class SettingsError(Exception):
    """The settings are invalid. `errors` has one line for each problem."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class SettingSource(NamedTuple):
    """A setting's value as text, with secrets masked, and where it comes from."""

    name: str
    text: str
    source: str  # 'environment' | '.env' | 'default', or the variable that names its file


class Settings(NamedTuple):
    """All settings. Paths are absolute, durations in seconds, and sizes in bytes."""

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
    public_url: str | None  # without a trailing slash
    service_name: str  # of this installation, for its pages
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
    default_audience: str  # of an email that does not say who it is for: 'everyone' | 'required'
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
        """The time zone that TIMEZONE names."""
        return values.zone(self.zone_name)

    @property
    def database_name(self) -> str:
        """The database without user name and password, for display."""
        return str(self.database_path or values.without_secrets(self.database_url).replace("…@", ""))


def load_settings(environ: Mapping[str, str] | None = None, folder: Path = FOLDER) -> Settings:
    """Return the settings of this process. Raises SettingsError, which lists every problem."""
    errors: list[str] = []
    read = _Reader(variables_of(environ, folder, errors), folder, errors)
    fields = _read_all(read, folder)
    if errors:
        raise SettingsError(errors)
    database: DatabaseURL = fields.pop("database")
    fields["service_name"] = fields["service_name"] or _name_of_sender(fields["mail_from"])
    in_environment = os.environ if environ is None else environ
    sources = tuple(_sourced(source, in_environment) for source in read.sources)
    return Settings(folder, database_url=database.url, database_path=database.path, **fields, sources=sources)


def database_of_variable(name: str, folder: Path = FOLDER) -> Settings:
    """Return the settings of `.env`, with DATABASE_URL taken from the variable `name` or from the file in NAME_FILE.

    Raises SettingsError, also if neither variable is set.
    """
    errors: list[str] = []
    variables = variables_of(None, folder, errors)
    chosen = {suffix: variables.get(name + suffix, "").strip() for suffix in ("", "_FILE")}
    if not errors and not any(chosen.values()):
        errors = [f"{name} is not set in the environment or in .env"]
    if errors:
        raise SettingsError(errors)
    environ = {"DATA_DIR": variables.get("DATA_DIR", "")}
    environ |= {"DATABASE_URL" + suffix: text for suffix, text in chosen.items()}
    try:
        return load_settings(environ, folder)
    except SettingsError as error:
        raise SettingsError([line.replace("DATABASE_URL", name) for line in error.errors]) from None


def variables_of(environ: Mapping[str, str] | None, folder: Path, errors: list[str]) -> dict[str, str]:
    """Return the variables of `.env`, overridden by the environment. Errors in the file are appended to `errors`."""
    variables = _read_env_file(folder / ".env", errors)
    variables.update(os.environ if environ is None else environ)
    return variables


def known_names() -> set[str]:
    """Return the name of every setting."""
    return {*DEFAULTS, *(name + "_FILE" for name in FROM_FILES)}


def env_file_names(folder: Path) -> set[str]:
    """Return every name that `.env` sets."""
    return set(_read_env_file(folder / ".env", []))


def _read_all(read: _Reader, folder: Path) -> dict[str, Any]:
    """Return the value of every setting by its field of Settings. Invalid ones are None, and are in `read.errors`."""
    data_dir = read("DATA_DIR", lambda text: values.path(text, folder)) or folder
    return {
        "data_dir": data_dir,
        "database": read("DATABASE_URL", lambda text: values.database(text, data_dir)),
        "email_url": read("EMAIL_URL", lambda text: values.email_url(text, data_dir)),
        "mail_from": read("MAIL_FROM", values.mailbox),
        "mail_reply_to": read("MAIL_REPLY_TO", lambda text: values.mailbox(text) if text else None),
        "zone_name": read("TIMEZONE", values.zone_name),
        "api_tokens": read("API_TOKEN", values.tokens),
        "secret_key": read("SECRET_KEY", values.secret_key),
        "public_url": read("PUBLIC_URL", values.public_url),
        "service_name": read("SERVICE_NAME", values.service_name),
        "trusted_proxies": read("TRUSTED_PROXIES", values.whole_number(0, 100)),
        "scheduler": read("SCHEDULER", values.scheduler),
        "redis_url": read("REDIS_URL", values.redis_url),
        "smtp_helo_name": read("SMTP_HELO_NAME", values.helo_name),
        "smtp_connections": read("SMTP_CONNECTIONS", values.whole_number(1, 1000)),
        "smtp_messages_per_connection": read("SMTP_MESSAGES_PER_CONNECTION", values.whole_number(0)),
        "smtp_max_rate": read("SMTP_MAX_RATE", values.decimal_number),
        "smtp_max_per_day": read("SMTP_MAX_PER_DAY", values.whole_number(0)),
        "senders": read("SENDERS", values.whole_number(1, 1000)),
        "retry_for": read("RETRY_FOR", values.duration),
        "in_doubt": read("IN_DOUBT", values.choice("resend", "hold")),
        "hold_if_late": read("HOLD_IF_LATE", values.duration),
        "default_audience": read("DEFAULT_AUDIENCE", values.choice("everyone", "required")),
        "web_workers": read("WEB_WORKERS", values.whole_number(1, 64)),
        "max_body": read("MAX_BODY", values.size),
        "single_label_domains": read("SINGLE_LABEL_DOMAINS", values.yes_or_no),
        "keep_for": read("KEEP_FOR", values.duration),
        "session_idle_limit": read("SESSION_IDLE_LIMIT", values.duration),
        "rate_limit": read("RATE_LIMIT", values.whole_number(0)),
        "log_format": read("LOG_FORMAT", values.choice("text", "json", "off")),
        "tasklog": read("TASKLOG", lambda text: values.path(text, data_dir)),
    }


def _name_of_sender(mail_from: Mailbox) -> str:
    """Return the display name in MAIL_FROM, or the domain of its address."""
    return mail_from.name or mail_from.address.rpartition("@")[2]


def _sourced(setting: SettingSource, in_environment: Mapping[str, str]) -> SettingSource:
    """Set `source` to the environment, which takes precedence, or to `.env`."""
    if setting.source in ("default", *in_environment):
        return setting._replace(source="environment" if setting.source == setting.name else setting.source)
    return setting._replace(source=".env" if setting.source == setting.name else f"{setting.source} in .env")


class _Reader:
    """Reads one variable after another and collects the errors, so that one start reports all of them."""

    def __init__(self, variables: Mapping[str, str], folder: Path, errors: list[str]) -> None:
        self.variables = variables
        self.folder = folder
        self.errors = errors
        self.sources: list[SettingSource] = []  # here, `source` is the variable that has the value, or 'default'

    def __call__(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Return the value of a variable. If it is invalid, add an error and return None."""
        default = DEFAULTS[name]
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
            self.errors.append(f"{shown}: {_explained(name, refused)}")
            return None

    def _contents(self, name: str, file: str, text: str) -> str:
        if text:
            raise RefusedError(f"{name} is set too; keep only one of them")
        return values.file_contents(self.folder / file)


def _explained(name: str, refused: RefusedError) -> str:
    """Return the reason for refusing a value of this setting, and what is allowed instead."""
    if not isinstance(refused, InvalidValueError):
        return str(refused)
    # Imported here because an idle sweep, whose settings are valid, does not need the texts.
    from settings.catalogue import SETTINGS

    return "; ".join(filter(None, (str(refused), SETTINGS[name].rule, refused.hint)))


def _masked(name: str, text: str) -> str:
    """Return a valid value without any secret in it."""
    if name in SECRETS:
        return "set, not shown" if text else ""
    return values.without_secrets(text) if name.endswith("_URL") else text


def _shown(name: str, text: str) -> str:
    """Return `NAME='value'` for an error message, without anything that may be a password."""
    if name in SECRETS:
        return f"{name} (its value is not shown)"
    if name.endswith("_URL") and not re.fullmatch(r"(\w[\w+.-]*://|maildir:)?[^:@?#%]*(:\d{1,5})?/?", text):
        text = text.partition(":")[0] + ":…"
    return f"{name}={text if len(text) <= 100 else text[:99] + '…'!r}"


def _read_env_file(path: Path, errors: list[str]) -> dict[str, str]:
    """Return the variables of `.env` literally. `$` is not expanded, so a password may contain it."""
    try:
        status = path.stat()
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        errors.append(f"{path} cannot be read ({error.strerror}); check its owner and permissions")
        return {}
    except UnicodeDecodeError as error:
        errors.append(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
        return {}
    errors.extend(env_file_faults(path, status))
    return parsed_variables(path, text, errors)


def env_file_faults(path: Path, status: os.stat_result) -> list[str]:
    """Return the problems with the owner and mode of `.env`, which contains passwords. None on Windows."""
    if os.name != "posix":
        return []
    owner, mode = status.st_uid, status.st_mode & 0o777
    if owner not in (0, os.geteuid()):
        return [f"{path} belongs to another user ({owner}); run: chown {os.geteuid()} .env && chmod 600 .env"]
    if mode & 0o077:
        return [f"{path} is accessible to other users (mode {mode:o}); run: chmod 600 .env"]
    return []


def protect_env_file(path: Path) -> str | None:
    """Make `.env` inaccessible to other users, if possible. Return a message about what was done."""
    try:
        status = path.stat()
        mode = status.st_mode & 0o777
        if os.name != "posix" or not mode & 0o077 or status.st_uid not in (0, os.geteuid()):
            return None
        path.chmod(mode & 0o700)
    except OSError:
        return None  # reading the file reports the problem
    return (
        f"{path} was accessible to other users (mode {mode:o}). Its mode is now {mode & 0o700:o}."
        " If you do not trust those users, change the passwords in it."
    )


def plain_variables(text: str) -> dict[str, str] | None:
    """Return the variables of a file that uses no quotes or escapes, as dotenv would; None for any other file."""
    variables: dict[str, str] = {}
    for line in text.split("\n"):
        if match := PLAIN_LINE.fullmatch(line):
            variables[match[1]] = match[2]
        elif line and not PLAIN_COMMENT.fullmatch(line):
            return None
    return variables


def parsed_variables(path: Path, text: str, errors: list[str]) -> dict[str, str]:
    """Return the variables of the text of `.env`. Errors, which name `path` and the line, are appended to `errors`."""
    plain = plain_variables(text)
    if plain is not None:
        return plain
    from dotenv.parser import parse_stream  # importing it takes a fifth of the time of an idle sweep

    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            line = binding.original.line
            errors.append(f"{path}, line {line}: expected NAME=value (quote the value if needed)")
        elif binding.key:
            variables[binding.key] = binding.value or ""
    return variables
