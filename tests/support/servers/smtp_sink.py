"""Debian's smtp-sink: a mail server that accepts or rejects every message, or drops every connection."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.faults.killer import wait_until
from tests.support.ports import is_listening, unused_port

SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_sink = pytest.mark.skipif(SINK is None, reason="smtp-sink is not installed")


@contextmanager
def sink(*options: str) -> Iterator[int]:
    """Run smtp-sink, and yield its port."""
    port = unused_port()
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([SINK or "", *as_user, *options, f"127.0.0.1:{port}", "200"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port))
        yield port
    finally:
        process.terminate()
        process.wait()
