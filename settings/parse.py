"""Parse the value of each kind of setting. Invalid text raises InvalidValueError.

The message about it says what is allowed, from settings/catalogue.py. No message contains any part of the text, which
may be a secret. Numbers are matched before they are converted, because Python's own parsers accept "1_000", "١٢" and
"nan".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import category
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

HOST = r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*(%[a-z0-9._-]+)?"  # a name, or an IPv6 address without brackets
LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 3986, with several hosts separated by commas, as in libpq.
POSTGRESQL = (
    r"(?P<hosts>(((\[[^\]/?#@]*\]|[^\[\]:,/?#@]*)(:[0-9]{0,5})?)(,|(?=[/?]|$)))*)"
    r"(/(?P<path>[^?]*))?(\?(?P<query>([^&=]+=[^&]*|&)*))?"
)
LOGINS = ("([^/@?#]*@)?", "([^/@]*@)")  # the second is not RFC 3986, but libpq accepts ? and # in a password
PUBLIC_URL = r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%/-]*)?"
LARGEST = 10**12
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
SHORTEST_TOKEN = 16
LONGEST_SERVICE_NAME = 60  # characters
SMTP_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
ESCAPES = "in a user name or password, write @ as %40, / %2F, : %3A, # %23, ? %3F, % %25"


class RefusedError(ValueError):
    """The text is not a valid value. The message says why."""


class InvalidValueError(RefusedError):
    """The setting does not allow this text. What it allows goes between `reason` and `hint`, which may be empty."""

    def __init__(self, reason: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class EmailURL(NamedTuple):
    """Where mail goes: a Maildir at `path`, or the SMTP server at `host`:`port`."""

    scheme: str  # 'maildir' | 'smtp' | 'smtp+tls' | 'smtp+ssl'
    host: str = ""
    port: int = 0
    user: str | None = None
    password: str | None = None
    path: Path | None = None


class DatabaseURL(NamedTuple):
    url: str
    path: Path | None


class Mailbox(NamedTuple):
    """A display name in any language, and an address. `header` is `name <address>`, quoted if necessary."""

    header: str
    name: str
    address: str


def has_control(text: str) -> bool:
    """Return whether the text contains a control character, any kind of line break, or an unpaired surrogate."""
    return any(category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text)


def refuse_quotation_marks(text: str) -> None:
    """Reject a value in quotes. Reading `.env` removes quotes, but `docker run --env-file` keeps them."""
    if text[:1] in ('"', "'") and re.fullmatch(r"""(["']).*\1(\s+#.*)?""", text, re.DOTALL):
        raise RefusedError("the quotation marks are part of the value; remove them (docker run --env-file keeps them)")


def whole_number(least: int, most: int = LARGEST) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,13}", text) or not least <= int(text) <= most:
            raise InvalidValueError
        return int(text)

    return parse


def decimal_number(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise InvalidValueError
    return float(text)


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise InvalidValueError
        return text

    return parse


def yes_or_no(text: str) -> bool:
    return choice("no", "yes")(text) == "yes"


def scheduler(text: str) -> str:
    """Return the value of SCHEDULER. RQ forks for each job, which Windows does not support."""
    if text == "rq-scheduler" and sys.platform == "win32":
        raise RefusedError("rq-scheduler does not run on Windows; allowed there: cron")
    return choice("cron", "rq-scheduler")(text)


def duration(text: str) -> int:
    """Return seconds. A number without a unit is refused, so that 24 is not mistaken for 24 hours."""
    match = re.fullmatch("([0-9]{1,9})([smhd])", text) or re.fullmatch("(0)()", text)
    if not match or int(match[1]) * SECONDS.get(match[2], 1) > 36500 * SECONDS["d"]:
        raise InvalidValueError
    return int(match[1]) * SECONDS.get(match[2], 1)


def size(text: str) -> int:
    """Return bytes. kB and MB are powers of 1000, KiB and MiB are powers of 1024."""
    match = re.fullmatch("([0-9]{1,12}) ?([a-z]*)", text.lower())
    number = int(match[1]) * BYTES.get(match[2], 0) if match else 0
    if not 1000 <= number <= 1000**3:
        raise InvalidValueError
    return number


def path(text: str, folder: Path) -> Path:
    if not text or has_control(text):
        raise InvalidValueError
    return folder / text


def file_contents(file: Path) -> str:
    """Return the value in a secret's file, without surrounding whitespace."""
    try:
        with file.open("rb") as stream:
            text = stream.read(65536).decode("utf-8-sig").strip()
    except OSError as error:
        raise RefusedError(f"the file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise RefusedError("the file is not UTF-8 text") from None
    if not text:
        raise RefusedError("the file is empty")
    return text


def tokens(text: str) -> tuple[str, ...]:
    """Return the tokens. Each has at least 16 characters, because shorter ones could be guessed over the network."""
    parts = tuple(part.strip() for part in text.split(",")) if text else ()
    if not all(re.fullmatch(f"[!-+\\--~]{{{SHORTEST_TOKEN},}}", part) for part in parts):
        raise InvalidValueError
    return parts


def secret_key(text: str) -> str | None:
    if text and len(text) < SHORTEST_TOKEN:
        raise InvalidValueError
    return text or None


def zone_name(text: str) -> str:
    """Return the name. Rejects `localtime`, which depends on the host, and `right/`, which counts leap seconds."""
    is_name = re.fullmatch(r"(?!right/|localtime$|posixrules$|Factory$)[A-Za-z][A-Za-z0-9_+/-]*", text)
    if not is_name or not _zone_exists(text):
        raise InvalidValueError
    return text


@lru_cache(maxsize=8)
def zone(name: str) -> ZoneInfo:
    """Load a time zone. Raises KeyError, ValueError or OSError if it does not exist."""
    # Imported here because an idle sweep does not need it, and would take more than three times as long as
    # `import sqlite3` with it (bench/idle_sweep.py).
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _zone_exists(name: str) -> bool:
    """Return whether the system has a file for this zone (RFC 8536, section 3.1), or zoneinfo finds one."""
    try:
        with Path("/usr/share/zoneinfo", name).open("rb") as file:
            if file.read(4) == b"TZif":
                return True
    except OSError:
        pass  # the zone data may be elsewhere, such as in the package tzdata
    try:
        zone(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def database(text: str, folder: Path) -> DatabaseURL:
    """Parse DATABASE_URL: a SQLite file, or a URI for libpq, which checks the rest when it connects."""
    if has_control(text):
        raise InvalidValueError
    if match := re.match("postgres(ql)?://", text, re.IGNORECASE):
        return DatabaseURL(_postgresql(text[match.end() :]), None)
    file = text.removeprefix("sqlite:///")
    if file == text or not file or file.endswith("/") or "?" in file or file == ":memory:":
        raise InvalidValueError
    return DatabaseURL(text, folder / file)


def _postgresql(rest: str) -> str:
    """Return the URI in the form libpq needs: a slash before the query, no = in a value, and no empty parameter."""
    match = next(filter(None, (re.fullmatch(f"(?P<login>{login}){POSTGRESQL}", rest) for login in LOGINS)), None)
    if match is None or re.search("%(?![0-9A-Fa-f]{2})|%00", rest):
        raise InvalidValueError(hint=ESCAPES)
    pairs = (pair.partition("=") for pair in (match["query"] or "").split("&") if pair)
    query = "&".join(f"{name}={value.replace('=', '%3D')}" for name, _, value in pairs)
    return f"postgresql://{match['login']}{match['hosts']}/{match['path'] or ''}{query and '?' + query}"


def email_url(text: str, folder: Path) -> EmailURL:
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if has_control(text) or (" " in text and scheme != "maildir"):
        raise InvalidValueError
    if scheme == "maildir" and re.fullmatch("(//(?=/))?/?[^/].*", rest):
        return EmailURL("maildir", path=folder / _unescaped(rest.removeprefix("//")))
    if scheme not in SMTP_PORTS or not rest.startswith("//"):
        raise InvalidValueError
    return _smtp_url(scheme, _split(text))


def _smtp_url(scheme: str, url: SplitResult) -> EmailURL:
    port = SMTP_PORTS[scheme] if url.port is None else url.port
    host = url.hostname or ""
    user = _unescaped(url.username or "") or None
    password = _unescaped(url.password or "") or None
    if (user is None) != (password is None):
        raise InvalidValueError("set both a user name and a password, or neither")
    if user and scheme == "smtp" and not is_this_machine(host):
        raise RefusedError("a password is only sent over TLS or to this machine; allowed: smtp+tls:// or smtp+ssl://")
    return EmailURL(scheme, host, port, user, password)


def is_this_machine(host: str) -> bool:
    """Return whether a name or address is one of this machine's own, so that no network sees what is sent to it."""
    return re.fullmatch(r"localhost|127(\.[0-9]+){3}|::1", host) is not None


def smtp_url(server: EmailURL) -> str:
    """Return the text that `email_url` parses to this SMTP server. It is plain ASCII."""
    login = f"{quote(server.user, safe='')}:{quote(server.password or '', safe='')}@" if server.user else ""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{server.scheme}://{login}{host}:{server.port}"


def _split(text: str) -> SplitResult:
    """Split an SMTP URL. The error message of urlsplit is not passed on, because it may contain a password."""
    try:
        url = urlsplit(text)
        usable = url.port != 0 and re.fullmatch(HOST, url.hostname or "")
    except ValueError:
        usable = None
    if not usable or url.path not in ("", "/") or "?" in text or "#" in text:
        raise InvalidValueError(hint=f"{ESCAPES}; the host name must be ASCII (xn--…), the port 1 to 65535")
    return url


def _unescaped(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        plain = "\0"
    if re.search("%(?![0-9A-Fa-f]{2})", text) or has_control(plain):
        raise InvalidValueError("invalid %-escape", ESCAPES)
    return plain


def without_secrets(url: str) -> str:
    """Return a valid URL without user name, password and query. A user name may be a secret token."""
    scheme, slashes, rest = url.partition("://")
    authority, slash, path = rest.partition("/")  # a password cannot contain a slash
    login, at, host = authority.rpartition("@")
    if "?" in login:  # part of a password, or a query without a path before it
        return f"{scheme}{slashes}…"
    place, question, _ = f"{host}{slash}{path}".partition("?")
    return scheme + slashes + ("…@" if at else "") + place + ("?…" if question else "")


def redis_url(text: str) -> str:
    login, place = "([^/@?# ]*@)?", r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[0-9]{0,4})?"
    if not re.fullmatch(rf"(rediss?://{login}{place}|unix://{login}/[^?# ]+)(\?[^# ]*)?", text) or has_control(text):
        raise InvalidValueError(hint=ESCAPES)
    return text


def public_url(text: str) -> str | None:
    """Parse PUBLIC_URL. It goes into a header of every message, so it may contain only what needs no encoding there."""
    if text and (len(text) > 500 or not re.fullmatch(PUBLIC_URL, text)):
        raise InvalidValueError
    return text.rstrip("/") or None


def service_name(text: str) -> str:
    """Return a name for the top of the pages."""
    if len(text) > LONGEST_SERVICE_NAME or has_control(text):
        raise InvalidValueError
    return text


def mailbox(text: str) -> Mailbox:
    """Parse `Name <address>`, `"Name" <address>` or an address. Rejects anything that could inject a header."""
    match = re.fullmatch(r'(?:("(?:[^"\\]|\\.)*"|[^"<>]*?)\s*<([^<>\s]+)>|([^<>"\s]+))', text)
    if not match or has_control(text) or "=?" in text:
        raise InvalidValueError
    name, address = match[1] or "", _sender_address(match[2] or match[3])
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(mailbox_text(name, address), name, address)


def mailbox_text(name: str, address: str) -> str:
    """Return the text that `mailbox` parses to this name, which may be empty, and this address."""
    return f"{_phrase(name)} <{address}>" if name else address


def _sender_address(text: str) -> str:
    """Return an address in plain ASCII, which every server accepts."""
    atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
    label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if not re.fullmatch(rf"(?=.{{1,254}}$)(?=[^@]{{1,64}}@){atom}(\.{atom})*@{label}(\.{label})*", text):
        raise InvalidValueError("the address must be ASCII, with an international domain as xn--…")
    return text


def _phrase(name: str) -> str:
    if not re.search(r"""[()<>@,;:\\".\[\]]""", name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def helo_name(text: str) -> str | None:
    """Return a host name or an address literal (RFC 5321 section 4.1.2), or None for the name of this machine."""
    name = text.removesuffix(".")
    byte, group = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])", "[0-9A-Fa-f]{1,4}"
    groups = rf"({group}:){{7}}{group}|(?=(:*{group}){{0,7}}:*\])({group}(:{group})*)?::({group}(:{group})*)?"
    literal = rf"\[({byte}(\.{byte}){{3}}|IPv6:({groups}))\]"
    if (text and not re.fullmatch(rf"({LABEL}\.)*(?![0-9]+$){LABEL}|{literal}", name)) or len(name) > 253:
        raise InvalidValueError
    return name or None
