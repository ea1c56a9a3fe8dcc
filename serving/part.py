"""One part of the service, in a process of its own: `python -m serving.part web HOST PORT`, or `… sender`.

With SCHEDULER=rq-scheduler, `… worker` and `… scheduler` replace the sender.
"""

from __future__ import annotations

import runpy
import sys

from serving.lifeline import stop_when_input_ends
from settings import FOLDER
from settings.console import escape_unencodable


def main() -> None:
    """Run the part that the command line names, until a request to stop."""
    escape_unencodable()
    stop_when_input_ends()
    part, *arguments = sys.argv[1:]
    # Each part imports only what it runs: a sender needs no web server, and the packages of Redis are optional.
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
