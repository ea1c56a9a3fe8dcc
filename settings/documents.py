"""Write docs/settings.md and `.env.example`: python -m settings.documents."""

from __future__ import annotations

import textwrap
from pathlib import Path

from settings import FOLDER, FROM_FILES
from settings.catalogue import SECTIONS, Setting, plain

DOCUMENT_WIDTH = 118  # characters
INTRODUCTION = """\
# Settings

This page lists every setting, with its default and its meaning.

Set these in the environment, or in a file `.env` in the project's folder. The environment takes precedence, and an
empty value means the default. The web server, `task.py` and `flask` read the same settings. If a value is invalid,
nothing starts, and each problem is printed on a line of its own. The **Health** page shows every setting, its value
(never a secret), where it comes from, and what it means.

To connect your mail server, run `flask setup`, which writes `EMAIL_URL` and `MAIL_FROM` for you
([mail server](mail-server.md)). For anything else, copy `.env.example`, which has an example of every setting, and
remove the `#` in front of those that you want to change:

```sh
cp .env.example .env
chmod 600 .env
```

`.env` must be readable only by its owner. `./start_flask.sh` removes the access of other users itself, and says so.
Each line is `NAME=value`, and `$` has no special meaning.
"""
NOTES = {
    "Mail": """\
In a user name or password in `EMAIL_URL`, write `@` as `%40`, `/` as `%2F`, `:` as `%3A`, `#` as `%23`, `?` as `%3F`
and `%` as `%25`. A password is sent only over TLS, or to this machine. With TLS, the server must have a valid
certificate for its name.
""",
}
FILES = ", ".join(f"`{name}_FILE`" for name in FROM_FILES[:-1]) + f" and `{FROM_FILES[-1]}_FILE`"
VALUES = f"""\
## Values

Durations are whole numbers with `s`, `m`, `h` or `d`, such as `90d`. Sizes are whole numbers with `kB`, `MB` or `GB`
(powers of 1000), or with `KiB`, `MiB` or `GiB` (powers of 1024).

{FILES} name a file that contains the value.

This page and `.env.example` are generated from `settings/catalogue.py` by `python -m settings.documents`.
"""
EXAMPLE_HEADER = """\
# The settings of email-endpoint, each with an example. Copy this file to .env, readable only by you:
#     cp .env.example .env && chmod 600 .env
# Then remove the # in front of the settings that you want to change. docs/settings.md has more about each of them.
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    parts = [INTRODUCTION]
    for title, settings in SECTIONS.items():
        rows = "".join(f"{_row(setting)}\n" for setting in settings)
        parts.append(f"## {title}\n\n| name | default | meaning | allowed |\n|---|---|---|---|\n{rows}")
        if title in NOTES:
            parts.append(NOTES[title])
    return "\n".join([*parts, VALUES])


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else setting.without
    unit = f" {setting.unit}" if setting.unit else ""
    examples = f". Example: `{setting.examples[0]}`" if setting.examples else ""
    return f"| `{setting.name}` | {default}{unit} | {setting.meaning} | {setting.allowed}{examples} |"


def env_example() -> str:
    """Return `.env.example`, in which every setting is commented out. Only ASCII, so that `.env` is quick to read."""
    parts = [EXAMPLE_HEADER]
    for title, settings in SECTIONS.items():
        parts.append(f"\n# ---- {title} ----\n")
        parts += [_example(setting) for setting in settings]
    return "".join(parts)


def _example(setting: Setting) -> str:
    unit = f" {setting.unit}" if setting.unit else ""
    texts = [
        setting.sentence,
        f"Default: {setting.default or setting.without}{unit}",
        f"Allowed: {plain(setting.allowed)}",
        setting.hint and f"Hint: {setting.hint}",
    ]
    comments = "".join(
        textwrap.fill(text, DOCUMENT_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"
        for text in texts
        if text
    )
    lines = "".join(f"#{setting.name}={example}\n" for example in setting.examples or ("",))
    return f"\n{comments}{lines}"


def documents() -> dict[Path, str]:
    """Return the text of each file that is generated from the table."""
    return {FOLDER / "docs" / "settings.md": settings_page(), FOLDER / ".env.example": env_example()}


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
