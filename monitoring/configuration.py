"""The settings: what stands in `.env` and means nothing, and values that are only fit for a first try."""

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
    """`.env`, MAIL_FROM, PUBLIC_URL and API_TOKEN."""
    yield from _env_file(settings)
    yield from _addresses(settings)


def _env_file(settings: Settings) -> Iterator[Finding]:
    path = settings.folder / ".env"
    if not path.exists():
        yield ok("settings", f"there is no {path}: all is as the environment says, or by default")
        return
    for fault in env_file_faults(path, path.stat()):
        yield error("settings", fault, "chmod 600 .env")
    if os.name == "posix":
        yield ok("settings", f"{path}, mode {path.stat().st_mode & 0o777:o}")
    if _is_in_git(settings):
        yield error("settings", f"{path} is in git, with its passwords", "git rm --cached .env; then change them")
    yield from map(unknown, sorted(env_file_names(settings.folder) - known_names() - set(NEW_DATABASE)))


def unknown(name: str) -> Finding:
    """A name in `.env` that nobody reads."""
    if name.startswith(FOREIGN):
        return ok("settings", f"{name} in .env is for Flask, not for this program")
    close = difflib.get_close_matches(name.upper(), known_names(), n=1, cutoff=0.75)
    remedy = f"did you mean {close[0]}?" if close else "take it out, or see docs/settings.md"
    return warning("settings", f"{name} in .env is the name of no setting", remedy)


def _is_in_git(settings: Settings) -> bool:
    if not (settings.folder / ".git").exists():
        return False
    command = ["git", "-C", str(settings.folder), "ls-files", "--error-unmatch", ".env"]
    try:
        return subprocess.run(command, capture_output=True, timeout=5).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False  # there is no git here to tell


def _addresses(settings: Settings) -> Iterator[Finding]:
    sends = settings.email_url.path is None
    if settings.mail_from.address.endswith("@localhost"):
        text = f"MAIL_FROM is {settings.mail_from.address}, to which nobody can answer"
        remedy = "set MAIL_FROM to an address of yours, such as: Our club <news@example.com>"
        yield error("settings", f"{text}; servers refuse it", remedy) if sends else warning("settings", text, remedy)
    else:
        yield ok("settings", f"mail comes from {settings.mail_from.address}")
    yield _public_url(settings)
    if not settings.api_tokens:
        yield from _no_token(settings)


def _no_token(settings: Settings) -> Iterator[Finding]:
    remedy = "set API_TOKEN, for instance to the output of: openssl rand -hex 24"
    if settings.trusted_proxies:
        yield error("settings", "there is no API_TOKEN: nobody is served through the proxy (TRUSTED_PROXIES)", remedy)
    elif _is_reached_from_elsewhere(settings.public_url):
        text = "there is no API_TOKEN: from other machines people can unsubscribe, and nothing else"
        yield warning("settings", text, remedy)


def _is_reached_from_elsewhere(public_url: str | None) -> bool:
    host = urlsplit(public_url or "http://localhost").hostname or ""
    return not (host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]+){3}", host))


def _public_url(settings: Settings) -> Finding:
    if settings.public_url is None:
        text = "there is no PUBLIC_URL: mail goes out without a way to unsubscribe, which large providers ask for"
        return warning("settings", text, "set PUBLIC_URL to where recipients reach this service")
    if settings.public_url.startswith("http://"):
        text = f"PUBLIC_URL is {settings.public_url}: without TLS, mail programs offer no one-click unsubscribe"
        return warning("settings", text, "put a proxy with TLS in front (docs/deploy.md), and write https://")
    return ok("settings", f"recipients reach it at {settings.public_url}")
