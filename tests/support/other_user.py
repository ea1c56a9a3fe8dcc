"""Run commands as another user, wherever the Python of these tests is installed."""

from __future__ import annotations

import sys
from pathlib import Path

# In a mount namespace of its own: an empty folder in place of one that only root may enter, with Python inside it.
_OPEN_THE_WAY = """
set -e
closed=$1 python=$2
shift 2
exec 3<"$python"
mount -t tmpfs -o mode=755 tmpfs "$closed"
mkdir -p "$python"
mount --no-canonicalize --bind /proc/self/fd/3 "$python"
exec 3<&-
exec "$@"
"""


def as_user(user: str, command: list[str]) -> list[str]:
    """Return the command line that runs `command` as this user; only root can run it."""
    switched = ["setpriv", f"--reuid={user}", "--clear-groups", *command]
    python = Path(sys.base_prefix).resolve()
    closed = next((folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001), None)
    if closed is None:
        return switched
    return ["unshare", "--mount", "sh", "-c", _OPEN_THE_WAY, "sh", str(closed), str(python), *switched]
