"""Start the service: check the settings, create the tables, then serve and send until stopped."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime

from database import DBError, db_init
from schedulers.errors import QueueUnavailable
from schedulers.wake_ups import wake_ups_of
from serving import demo
from serving.address import Address, AddressError, reserve
from serving.supervisor import RESTART_INTERVAL, ManagedProcess, StopSignals, say, supervise
from settings import FOLDER, Settings, SettingsError, load_settings, protect_env_file, variables_of
from settings.console import escape_unencodable
from storage.schema.upgrading import UP_TO_DATE

MAX_WEB_RESTART_INTERVAL = 60.0  # seconds
SCRIPT = "start_flask.bat" if os.name == "nt" else "./start_flask.sh"


def main() -> int:
    """Return the exit code: 0 after a requested stop, 1 if the start failed or a process died."""
    escape_unencodable()
    stop = StopSignals()
    options = _arguments()
    os.umask(0o077)  # the database, the outbox and the log contain other people's mail
    if options.demo:
        demo.prepare()
    if done := protect_env_file(FOLDER / ".env"):
        say(done)
    try:
        settings, address = _check(SCRIPT + (" --demo" if options.demo else ""))
        done = db_init(settings, datetime.now(UTC))
    except (SettingsError, DBError) as error:
        print(error, file=sys.stderr)
        return 1
    if done != UP_TO_DATE:
        say(f"{settings.database_name}: {done}")
    return _serve(settings, address, stop, options.demo)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=SCRIPT, description=__doc__)
    text = (
        "use example data in demo/: three recipients and one email, due in a few seconds; no mail leaves this machine"
    )
    parser.add_argument("--demo", action="store_true", help=text)
    return parser.parse_args()


def _check(command: str) -> tuple[Settings, Address]:
    """Return the settings and the address. Raises SettingsError, which lists the problems of both."""
    errors: list[str] = []
    try:
        settings = load_settings()
        wake_ups = wake_ups_of(settings)
        if wake_ups is not None:
            wake_ups.ping()
    except SettingsError as error:
        errors += error.errors
    except QueueUnavailable as error:
        errors.append(str(error))
    try:
        address = reserve(variables_of(None, FOLDER, []), command)
    except AddressError as error:
        errors.append(str(error))
    if errors:
        raise SettingsError(errors)
    return settings, address


def _serve(settings: Settings, address: Address, stop: StopSignals, with_demo: bool) -> int:
    def once_up() -> None:
        # Before, its death is a fault of the installation, which a start should report. Now mail has to go on.
        web_server.max_restart_interval = MAX_WEB_RESTART_INTERVAL
        for line in _greeting(settings, address):
            say(line)
        if with_demo:
            demo.start(settings, address.url)

    web_server = ManagedProcess("web server", "web", address.host, str(address.port))
    return supervise([web_server, *_sending_processes(settings)], stop, once_up, address.answers)


def _sending_processes(settings: Settings) -> list[ManagedProcess]:
    if settings.scheduler == "cron":
        return [ManagedProcess("sender", "sender")]
    return [
        ManagedProcess("RQ worker", "worker", max_restart_interval=RESTART_INTERVAL),
        ManagedProcess("rqscheduler", "scheduler", max_restart_interval=RESTART_INTERVAL),
    ]


def _greeting(settings: Settings, address: Address) -> list[str]:
    lines = [f"Running at {address.url}. Due emails are sent automatically. Press Ctrl-C to stop (PID {os.getpid()})."]
    url = settings.email_url
    if url.path:
        folder = url.path.relative_to(FOLDER) if url.path.is_relative_to(FOLDER) else url.path
        lines.append(f"Messages are saved in {folder}. To send mail instead, run: flask setup")
    else:
        lines.append(f"Mail is sent through {url.host}:{url.port} ({url.scheme}).")
    if settings.scheduler == "rq-scheduler":
        lines.append("Redis triggers sending. Install the safety net for Redis outages: ./makecron.sh")
    if address.is_public and not settings.api_tokens:
        lines.append("API_TOKEN is not set: requests from other machines are refused.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
