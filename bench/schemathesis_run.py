"""Valid and invalid requests generated from /openapi.json, alone and in sequence, against the whole service.

    python bench/schemathesis_run.py [SECONDS [OPTION ...]]

Meanwhile, the service sends to a server that refuses some recipients and cuts some connections. /openapi.json
must describe every response, and none may be an internal error. The options are those of `schemathesis run`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import schemathesis
from schemathesis.cli import schemathesis as command_line

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from wakeup_latency import service

from tests.support.installation import Installation
from tests.support.servers.smtp_server import Action, Close, ScriptedServer

CONFIGURATION = Path(__file__).resolve().with_suffix(".toml")
JSON_LINES = ["application/x-ndjson", "application/ndjson", "application/jsonl"]


def main() -> int:
    schemathesis.serializer.alias(JSON_LINES, "text/plain")
    seconds, *options = sys.argv[1:] or ["300"]
    with tempfile.TemporaryDirectory() as folder, ScriptedServer(on={"RCPT": some, "CONTENT": few}) as mail:
        installation = Installation(Path(folder), EMAIL_URL=f"smtp://127.0.0.1:{mail.port}", IN_DOUBT="hold")
        installation.add_recipients(30)
        installation.save_email(1)
        installation.save_email(2, due_in=10**6)
        with installation.database() as database:
            database.connection.execute("UPDATE emails SET status = 'held', held_because = 'a test' WHERE event_id = 2")
        with service(installation) as running, contextlib.chdir(folder):  # where it stores its examples
            command = ["--config-file", str(CONFIGURATION), "run", f"http://127.0.0.1:{running.port}/openapi.json"]
            return int(command_line.main([*command, "--max-time", seconds, *options], standalone_mode=False) or 0)


def some(line: bytes, nth: int) -> Action:
    """Refuse one recipient in five permanently, and one temporarily."""
    return {1: "550 5.7.1 Refused", 3: "451 4.7.1 Come back later"}.get(nth % 5)


def few(line: bytes, nth: int) -> Action:
    """Leave one message in ten in doubt."""
    return Close() if nth % 10 == 6 else None


if __name__ == "__main__":
    sys.exit(main())
