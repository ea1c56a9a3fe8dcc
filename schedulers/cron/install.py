"""`./makecron.sh`: install, move to this folder, or remove the cron job that runs `task.py` every minute.

With Redis (SCHEDULER=rq-scheduler) the job is only a safety net, which runs every five minutes and without `--ahead`.
A user has at most one such job. Its stderr is not redirected, so that cron mails errors.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from schedulers.cron import crontab_file
from schedulers.cron.crontab_file import CronError
from schedulers.cron.job_line import Job, block_of, job_in, line_of
from settings import FOLDER, Settings, SettingsError, load_settings
from settings.console import escape_unencodable

_DAEMONS = {"cron", "crond", "fcron"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Return the exit code: 0, or 1 after an error on stderr."""
    options = _options(arguments)
    escape_unencodable()  # a path may contain any bytes
    try:
        print(remove() if options.remove else _install_here())
    except (CronError, SettingsError) as error:  # a SettingsError has one line per setting to fix
        print(error, file=sys.stderr)
        return 1
    return 0


def install(job: Job) -> str:
    """Make `job` the only cron job of this user. Return a sentence that says what was done. Raises CronError."""
    block = block_of(job)
    crontab = crontab_file.read()
    others, former = crontab_file.split_block(crontab)
    if former == block:
        return "The cron job is already installed. Nothing was changed."
    crontab_file.replace(crontab, crontab_file.append(others, block))
    return _what_changed(job, former)


def remove() -> str:
    """Remove the job from this user's crontab. Return a sentence that says what was done. Raises CronError."""
    crontab = crontab_file.read()
    others, block = crontab_file.split_block(crontab)
    if not block:
        return "No email-endpoint cron job found. Nothing was changed."
    crontab_file.replace(crontab, others)
    job = job_in(block)
    return f"Removed the cron job for {job.folder}." if job else "Removed the cron job."


def installed_job() -> Job | None:
    """Return the job in this user's crontab, or None if there is none or it was changed by hand. Raises CronError."""
    return job_in(crontab_file.split_block(crontab_file.read())[1])


def daemon_is_running() -> bool | None:
    """Return whether a cron daemon is running here, or None if that is unknown because there is no /proc."""
    try:
        Path("/proc/1/comm").read_text()
    except OSError:
        return None
    return any(_name_of(process) in _DAEMONS for process in Path("/proc").glob("[0-9]*"))


def _install_here() -> str:
    settings = load_settings({})  # as the job will load them, because cron does not pass on this shell's environment
    job = Job(Path(sys.executable), _this_folder(), settings.scheduler == "rq-scheduler")
    messages = [install(job), f"  {line_of(job)}"]
    if settings.email_url.scheme == "maildir":
        messages.append(_local_mail_note(settings))
    if daemon_is_running() is False:
        print("Warning: no cron daemon seems to be running. Start it: service cron start", file=sys.stderr)
    return "\n".join(messages)


def _local_mail_note(settings: Settings) -> str:
    return (
        f"Messages are only saved in {settings.email_url.path}. To send mail, run flask setup. "
        f"(cron reads settings only from {settings.folder / '.env'}.)"
    )


def _what_changed(job: Job, former_block: bytes) -> str:
    former = job_in(former_block)
    if not former_block:
        if job.is_safety_net:
            return "Installed the safety net for wake-ups that Redis loses; it runs every five minutes:"
        return "Installed the cron job; it runs every minute:"
    if former is None:
        return "Replaced the cron job, which had been changed by hand:"
    if former.folder != job.folder:
        return f"Moved the cron job from {former.folder} to this folder:"
    return "Updated the cron job for this folder:"


def _this_folder() -> Path:
    """Return the project's folder by the path that the user used, such as a link to the current release."""
    path = Path(os.environ.get("PWD", FOLDER))
    return path if path.is_absolute() and path.is_dir() and path.samefile(FOLDER) else FOLDER


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""  # it has just exited


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="makecron.sh",
        description="Install the cron job that sends due emails every minute, or move it to this folder. "
        "(With SCHEDULER=rq-scheduler it is a safety net and runs every five minutes.) "
        "No other line of the crontab is changed.",
    )
    parser.add_argument("--remove", action="store_true", help="remove the job from the crontab")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
