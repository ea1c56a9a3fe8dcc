"""The environment in which tests start processes."""

from __future__ import annotations

import os

CLEAN_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name in ("PATH", "HOME", "LANG", "USER", "LOGNAME", "TMPDIR") or name.startswith(("PIP_", "SSL_"))
}
"""The environment of processes that tests start, without this shell's settings of the service."""
