"""Run commands as another user, even if this Python is in a folder that only root can enter."""

from __future__ import annotations

import sys
from pathlib import Path

# In its own mount namespace, mounts an empty folder over one that only root can enter, with Python inside it.
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
    """Return a command line that runs `command` as this user. Only root can run it."""
    switched = ["setpriv", f"--reuid={user}", "--clear-groups", *command]
    python = Path(sys.base_prefix).resolve()
    closed = next((folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001), None)
    if closed is None:
        return switched
    return ["unshare", "--mount", "sh", "-c", _OPEN_THE_WAY, "sh", str(closed), str(python), *switched]
