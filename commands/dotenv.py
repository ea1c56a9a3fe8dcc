"""`flask` reads every `.env` from this folder upward, with `$` expanded; the other programs read only this folder's.

To give all of them the same settings, what Flask has read is removed from the environment again.
"""

from __future__ import annotations

import os

MARK = "FLASK_RUN_FROM_CLI"  # what the `flask` command sets just before it reads the files


def unload_dotenv() -> None:
    """Remove every variable after the mark: the environment keeps the order in which it was filled.

    The mark is removed too. Otherwise a `flask` that this one starts would find it in the middle of its environment.
    """
    names = list(os.environ)
    if MARK in names:
        for name in names[names.index(MARK) :]:
            if name == MARK or not name.startswith("FLASK_"):
                del os.environ[name]
