"""One part of the service as a process: `python -m serving.part web HOST PORT`, or `… sender`.

With SCHEDULER=rq-scheduler, `… worker` and `… scheduler` replace the sender.
"""

from __future__ import annotations

import runpy
import sys

from serving.lifeline import stop_when_input_ends
from settings import FOLDER
from settings.console import escape_unencodable


def main() -> None:
    """Run the part that the command line names until it is stopped."""
    escape_unencodable()
    stop_when_input_ends()
    part, *arguments = sys.argv[1:]
    # Each part imports only what it needs. The packages for Redis are optional.
    if part == "web":
        from serving.web_server import serve

        serve(arguments[0], int(arguments[1]))
    elif part in ("worker", "scheduler"):
        from serving import redis_parts

        {"worker": redis_parts.work, "scheduler": redis_parts.schedule}[part]()
    else:
        sys.argv = ["task.py", "--watch"]
        runpy.run_path(str(FOLDER / "task.py"), run_name="__main__")


if __name__ == "__main__":
    main()
