"""Change values in the text of `.env`, and keep everything else in it exactly as it is.

Each change is read back before it is returned, with the parser of the settings. So a value that the program would read
differently, or a change to any other value, is an error here and never reaches the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from settings import parsed_variables

SPACE, END = r"[^\S\r\n]", r"(?:\r\n|\n|\r|\Z)"
# What stands before a value, and after it: the comment and the line end.
BEFORE = re.compile(rf"\s*(?:export{SPACE}+)?(?:'[^']+'|[^=#\s]+){SPACE}*={SPACE}*")
QUOTED = re.compile(rf"(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")(?P<after>{SPACE}*(?:#[^\r\n]*)?{END})", re.DOTALL)
UNQUOTED = re.compile(rf"[^\r\n]*?(?P<after>(?:{SPACE}*(?<={SPACE})#[^\r\n]*)?{SPACE}*{END})")


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the text of `.env` with these values. All other lines, and all comments, stay byte for byte.

    If a name is set more than once, its last line changes, because that one counts. A new name gets a line at the end.
    Spaces around a value are removed, as they are when the settings are read. Raises ValueError if a value cannot be
    written, or if the text is not valid.
    """
    for name, value in values.items():
        text = _with_value(text, name, value.strip())
    return text


def _with_value(text: str, name: str, value: str) -> str:
    before, after = _around_value(text, name)
    expected = _variables(text) | {name: value}
    for written in (value, _in_quotes(value, "'"), _in_quotes(value, '"')):
        changed = f"{before}{written}{after}"
        try:
            if _variables(changed) == expected:
                return changed
        except ValueError:
            continue  # this way of writing it makes the file invalid
    raise ValueError(f"the value of {name} cannot be written to .env")


def _variables(text: str) -> dict[str, str]:
    errors: list[str] = []
    variables = parsed_variables(Path(".env"), text, errors)
    if errors:
        raise ValueError(errors[0])
    return variables


def _in_quotes(value: str, quote: str) -> str:
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"


def _around_value(text: str, name: str) -> tuple[str, str]:
    """Return the text before and after the value that counts. If there is none, the value goes on a new last line."""
    found = [(start, line) for start, key, line in _bindings(text) if key == name]
    if not found:
        newline = "\r\n" if "\r\n" in text else "\n"
        missing = newline if text and not text.endswith(("\n", "\r")) else ""
        return f"{text}{missing}{name}=", newline
    start, line = found[-1]
    before = BEFORE.match(line)
    pattern = QUOTED if before and line.startswith(("'", '"'), before.end()) else UNQUOTED
    value = pattern.fullmatch(line, before.end()) if before else None
    if before is None or value is None:
        raise ValueError(f"cannot parse the line in .env that sets {name}")
    return text[: start + before.end()], value["after"] + text[start + len(line) :]


def _bindings(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield where each binding starts, its name (None for a comment), and its text, with the blank lines before it."""
    start = 0
    for binding in parse_stream(StringIO(text)):
        yield start, binding.key, binding.original.string
        start += len(binding.original.string)
