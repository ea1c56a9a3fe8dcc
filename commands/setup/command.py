"""The command itself: what must be true before the first question, and what is written after the last one."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path

import click

from commands.errors import plain_errors
from commands.setup.questions import ask_login, ask_sender, ask_server
from commands.setup.terminal import is_interactive, say
from commands.setup.trial import Answers, working
from commands.write_file import write_file
from settings import Settings
from settings.env_file import with_values
from settings.parse import smtp_url, without_secrets
from web.services import current_settings

GUIDE = "docs/mail-server.md"
NAMES = ("EMAIL_URL", "MAIL_FROM")
NOT_INTERACTIVE = (
    f"flask setup asks questions, so it needs a terminal. Without one, set EMAIL_URL and MAIL_FROM ({GUIDE})."
)
START = "start_flask.bat" if sys.platform == "win32" else "./start_flask.sh"


@click.command()
@plain_errors
def setup() -> None:
    """Connect the service to your mail server.

    Asks for your provider, the sender and the login. Tests the login, sends a test message to an address that you
    choose, and writes EMAIL_URL and MAIL_FROM to the file .env, which only you can read. Nothing changes until you
    confirm at the end.
    """
    settings = current_settings()
    file = settings.folder / ".env"
    _require_terminal_and_effect(settings, file)
    try:
        values = _ask(settings, file)
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("\nStopped. Nothing was changed.", err=True)
        sys.exit(1)
    if values:
        write_file(file, [_changed(file, values)])
        _say_what_is_next(file)


def _require_terminal_and_effect(settings: Settings, file: Path) -> None:
    """Raise ClickException if there is no terminal for the questions, or if the new settings would have no effect."""
    if not is_interactive():
        raise click.ClickException(NOT_INTERACTIVE)
    for name in NAMES:
        if name in os.environ:
            raise click.ClickException(
                f"{name} is set in the environment, which takes precedence over .env. Change it there, or unset it and"
                " run flask setup again."
            )
    source = _source(settings, "EMAIL_URL")
    if source.startswith("EMAIL_URL_FILE"):
        raise click.ClickException(
            f"EMAIL_URL is read from a file ({source}). Change it there, or remove EMAIL_URL_FILE and run flask setup"
            " again."
        )
    if not os.access(file.resolve().parent, os.W_OK | os.X_OK):
        raise click.ClickException(
            f"This user cannot write to {file.resolve().parent}, so {file.name} cannot be replaced. Edit it instead"
            f" ({GUIDE})."
        )


def _ask(settings: Settings, file: Path) -> Mapping[str, str]:
    """Return the values to write. There are none if they are in `.env` already, or if the person does not confirm."""
    present = settings.email_url
    say("Connect this service to your mail server.")
    say("To keep the answer in brackets, press Enter. To stop, press Ctrl-C.")
    say("Nothing changes until you confirm at the end.")
    say()
    server = ask_server(present)
    sender = ask_sender(settings.mail_from if _source(settings, "MAIL_FROM") != "default" else None)
    say()
    answers = working(settings, Answers(ask_login(server, present, sender), sender))
    values = {"EMAIL_URL": smtp_url(answers.server), "MAIL_FROM": answers.sender.header}
    if present == answers.server and settings.mail_from == answers.sender:
        say()
        say(f"{file.name} already has these settings. Nothing was changed.")
        return {}
    say()
    say(f"These lines go into {file}, which only you will be able to read:")
    say()
    say(f"EMAIL_URL={without_secrets(values['EMAIL_URL'])}", indent="  ")
    say(f"MAIL_FROM={values['MAIL_FROM']}", indent="  ")
    say()
    if file.exists():
        say("Everything else in the file stays as it is.")
    if not click.confirm("Write them?", default=True):
        say("Nothing was changed.")
        return {}
    return values


def _source(settings: Settings, name: str) -> str:
    return next(source.source for source in settings.sources if source.name == name)


def _changed(file: Path, values: Mapping[str, str]) -> bytes:
    """Return the content of `.env` with these values."""
    content = file.read_bytes() if file.exists() else b""
    mark = BOM_UTF8 if content.startswith(BOM_UTF8) else b""
    try:
        return mark + with_values(content.removeprefix(mark).decode(), values).encode()
    except ValueError as error:  # someone has changed the file since the start
        raise click.ClickException(f"{error}. Nothing was changed.") from None


def _say_what_is_next(file: Path) -> None:
    say(f"Wrote {file}.", colour="green")
    say()
    say("The service reads this file when it starts. If it is running, restart it:")
    say()
    say(f"in a terminal: press Ctrl-C there, then run {START}", indent="  ")
    if sys.platform != "win32":
        say("with systemd:  systemctl restart email-endpoint-web email-endpoint-watcher", indent="  ")
        say("with cron:     restart the web server; the next job uses the new settings", indent="  ")
    say()
    say("Then run flask check. It lists what still needs attention.")
