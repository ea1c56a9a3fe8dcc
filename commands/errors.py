"""What can go wrong under a command, said in plain lines on stderr with exit code 1; never a traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from flask.cli import with_appcontext

from database import DBError
from intake.text import printable
from settings.console import escape_unencodable

P = ParamSpec("P")
T = TypeVar("T")


def plain_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Run a command in the application's context; what fails below it becomes click's `Error: reason (remedy)`."""

    @wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> T:
        escape_unencodable()
        try:
            return command(*args, **options)
        except DBError as error:
            raise click.ClickException(printable(str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has seen enough; click ends the command quietly
                raise
            raise click.ClickException(printable(_of_file(error))) from error

    return with_appcontext(run)


def _of_file(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
