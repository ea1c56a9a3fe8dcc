"""A part of the service runs until its standard input is closed.

The supervisor holds the other end of the pipe, and closes it to stop the part. If the supervisor dies, even by
`kill -9`, the kernel closes it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

if sys.platform == "win32":
    STOP = signal.CTRL_BREAK_EVENT
else:
    STOP = signal.SIGTERM


def stop_when_input_ends() -> None:
    """Send this process a stop signal when its standard input is closed."""
    threading.Thread(target=_stop_when_input_ends, daemon=True).start()


def _stop_when_input_ends() -> None:
    while os.read(0, 512):
        pass
    os.kill(os.getpid(), STOP)
