"""Check the settings: unknown names in `.env`, unsafe permissions, and values that are not fit for production."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

from monitoring.finding import Finding, error, ok, warning
from settings import NEW_DATABASE, Settings, env_file_faults, env_file_names, known_names

FOREIGN = ("FLASK_",)  # Flask reads `.env` too


def check_setup(settings: Settings) -> Iterator[Finding]:
    """Check `.env`, MAIL_FROM, PUBLIC_URL and API_TOKEN."""
    yield from _env_file(settings)
    yield from _addresses(settings)


def _env_file(settings: Settings) -> Iterator[Finding]:
    path = settings.folder / ".env"
    if not path.exists():
        yield ok("settings", f"no file {path}; using the environment and defaults")
        return
    for fault in env_file_faults(path, path.stat()):
        yield error("settings", fault, "chmod 600 .env")
    if os.name == "posix":
        yield ok("settings", f"{path}, mode {path.stat().st_mode & 0o777:o}")
    if _is_in_git(settings):
        yield error(
            "settings",
            f"{path} is committed to git with its passwords",
            "git rm --cached .env, then change the passwords",
        )
    yield from map(unknown, sorted(env_file_names(settings.folder) - known_names() - set(NEW_DATABASE)))


def unknown(name: str) -> Finding:
    """Return the finding for a name in `.env` that is not a setting."""
    if name.startswith(FOREIGN):
        return ok("settings", f"{name} in .env is for Flask, not for this program")
    close = difflib.get_close_matches(name.upper(), known_names(), n=1, cutoff=0.75)
    remedy = f"did you mean {close[0]}?" if close else "remove it, or see the list of settings in docs/settings.md"
    return warning("settings", f"unknown setting {name} in .env", remedy)


def _is_in_git(settings: Settings) -> bool:
    if not (settings.folder / ".git").exists():
        return False
    command = ["git", "-C", str(settings.folder), "ls-files", "--error-unmatch", ".env"]
    try:
        return subprocess.run(command, capture_output=True, timeout=5).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False  # git is not installed, or did not respond


def _addresses(settings: Settings) -> Iterator[Finding]:
    sends = settings.email_url.path is None
    if settings.mail_from.address.endswith("@localhost"):
        text = f"MAIL_FROM is {settings.mail_from.address}, which cannot receive replies"
        remedy = "set MAIL_FROM to an address of yours, such as: Our club <news@example.com>"
        yield (
            error("settings", f"{text}; mail servers reject it", remedy) if sends else warning("settings", text, remedy)
        )
    else:
        yield ok("settings", f"mail is sent from {settings.mail_from.address}")
    yield _public_url(settings)
    if not settings.api_tokens:
        yield from _no_token(settings)


def _no_token(settings: Settings) -> Iterator[Finding]:
    remedy = "set API_TOKEN, for instance to the output of: openssl rand -hex 24"
    if settings.trusted_proxies:
        yield error(
            "settings", "API_TOKEN is not set: all requests through the proxy (TRUSTED_PROXIES) are refused", remedy
        )
    elif _is_reached_from_elsewhere(settings.public_url):
        text = "API_TOKEN is not set: from other machines, people can only unsubscribe"
        yield warning("settings", text, remedy)


def _is_reached_from_elsewhere(public_url: str | None) -> bool:
    host = urlsplit(public_url or "http://localhost").hostname or ""
    return not (host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]+){3}", host))


def _public_url(settings: Settings) -> Finding:
    if settings.public_url is None:
        text = "PUBLIC_URL is not set: messages have no unsubscribe link, which large providers require"
        return warning("settings", text, "set PUBLIC_URL to the public address of this service")
    if settings.public_url.startswith("http://"):
        text = f"PUBLIC_URL is {settings.public_url}: without TLS, email clients offer no one-click unsubscribe"
        return warning(
            "settings", text, "put a TLS proxy in front (docs/deploy.md), and start PUBLIC_URL with https://"
        )
    return ok("settings", f"recipients reach this service at {settings.public_url}")
