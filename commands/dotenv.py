"""`flask` reads every `.env` from this folder upward, with `$` expanded; the other programs read only this folder's.

So that all of them have the same settings, what Flask has read is taken out of the environment again.
"""

from __future__ import annotations

import os

MARK = "FLASK_RUN_FROM_CLI"  # what the `flask` command sets just before it reads the files


def forget_env_files() -> None:
    """Take out what stands behind the mark: the environment keeps the order in which it was filled.

    The mark goes too: else it would stand in the midst of the environment of a `flask` that this one starts.
    """
    names = list(os.environ)
    if MARK in names:
        for name in names[names.index(MARK) :]:
            if name == MARK or not name.startswith("FLASK_"):
                del os.environ[name]
