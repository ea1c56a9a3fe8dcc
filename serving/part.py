"""One part of the service, in a process of its own: `python -m serving.part web HOST PORT`, or `… sender`.

With SCHEDULER=rq-scheduler `… worker` and `… scheduler` stand in the sender's place. A part lives as long as its
standard input stays open. The supervisor holds the other end: to close it is the order to stop, and when the
supervisor dies, were it by kill -9, the kernel closes it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

from settings import FOLDER

if sys.platform == "win32":
    STOP = signal.CTRL_BREAK_EVENT
else:
    STOP = signal.SIGTERM


def main() -> None:
    """Run the part that the command line names, until it is told to stop."""
    stop_when_input_ends()
    part, *arguments = sys.argv[1:]
    if part == "web":
        from serving.web_server import serve

        serve(arguments[0], int(arguments[1]))
    elif part in ("worker", "scheduler"):
        from serving import redis_parts

        {"worker": redis_parts.work, "scheduler": redis_parts.schedule}[part]()
    else:
        sys.argv = ["task.py", "--watch"]
        runpy.run_path(str(FOLDER / "task.py"), run_name="__main__")


def stop_when_input_ends() -> None:
    """Tell this process to stop, by a signal, once its standard input is closed."""
    threading.Thread(target=_stop_when_input_ends, daemon=True).start()


def _stop_when_input_ends() -> None:
    while os.read(0, 512):
        pass
    os.kill(os.getpid(), STOP)


if __name__ == "__main__":
    main()
