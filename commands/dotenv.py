"""`flask` reads every `.env` from this folder upward, with `$` expanded; the other programs read only this folder's.

So that all of them have the same settings, `unload_dotenv` removes from the environment what Flask has read.
"""

from __future__ import annotations

import os

MARK = "FLASK_RUN_FROM_CLI"  # what the `flask` command sets just before it reads the files


def unload_dotenv() -> None:
    """Remove every variable after the mark. The environment keeps the order in which variables were set.

    The mark is removed too. Otherwise a `flask` process started by this one would find it in its own environment.
    """
    names = list(os.environ)
    if MARK in names:
        for name in names[names.index(MARK) :]:
            if name == MARK or not name.startswith("FLASK_"):
                del os.environ[name]
