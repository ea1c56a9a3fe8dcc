"""Questions in a terminal of 80 columns. At each of them, Ctrl-C and Ctrl-D raise click.Abort.

An answer is checked when it is given. If it is not valid, the reason is shown and the question is asked again. Enter
keeps the default, which is shown in brackets.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from intake.text import printable

WIDTH = 79  # columns; many terminals wrap a line that fills all 80
MAX_QUESTION = 60  # columns, so that an answer fits beside it
T = TypeVar("T")


class InvalidAnswer(ValueError):
    """The answer cannot be used. The message is a sentence that says why."""


def is_interactive() -> bool:
    """Return whether a person can read the questions and type the answers."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def say(text: str = "", indent: str = "", colour: str | None = None) -> None:
    """Print a paragraph. Anything in it that could control the terminal is escaped."""
    lines = textwrap.fill(
        printable(text), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    click.echo(click.style(lines, fg=colour) if colour else lines)


def ask(question: str, check: Callable[[str], T], default: str = "") -> T:
    """Return what `check` makes of the answer. It raises InvalidAnswer if the answer cannot be used."""
    while True:
        typed = click.prompt(_with_default(question, default), default=default, show_default=False)
        try:
            return check(typed.strip())
        except InvalidAnswer as invalid:
            say(str(invalid), colour="red")


def ask_secret(question: str, check: Callable[[str], T], default: str = "") -> T:
    """Like `ask`, but neither the answer nor the default appears on the screen."""
    hidden = "not shown while you type"
    while True:
        note = f"({hidden}) [keep]" if default else f"({hidden})"
        typed = click.prompt(f"{question} {note}", default=default, show_default=False, hide_input=True)
        try:
            return check(typed.strip())
        except InvalidAnswer as invalid:
            say(str(invalid), colour="red")


def choose(question: str, options: Sequence[str], default: int | None = None) -> int:
    """Show a numbered list, and return the position in it that the person selects. Names work as well as numbers."""
    for number, option in enumerate(options, 1):
        say(f"{number}  {option}", indent="  ")

    def check(typed: str) -> int:
        if typed.isascii() and typed.isdigit() and 1 <= int(typed) <= len(options):
            return int(typed) - 1
        begun = [place for place, option in enumerate(options) if typed and option.lower().startswith(typed.lower())]
        if len(begun) == 1:
            return begun[0]
        raise InvalidAnswer(f"Enter a number from 1 to {len(options)}.")

    return ask(question, check, "" if default is None else str(default + 1))


def _with_default(question: str, default: str) -> str:
    room = MAX_QUESTION - len(question)
    shown = printable(default if len(default) <= room else f"{default[: max(room, 10) - 1]}…")
    return f"{question} [{shown}]" if default else question
