"""A sweep of several minutes under a real cron daemon: does more than one sender ever run?

    python bench/cron_pile_up.py [MINUTES]

Installs the cron job of a copy of this program (the user who runs this must have no crontab), with SENDERS=1,
SMTP_CONNECTIONS=4 and SMTP_MAX_RATE=10, and watches the table of senders and the connections at the server.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.installation import Installation
from tests.support.project_copy import copy_project, makecron
from tests.support.servers.smtp_server import ScriptedServer

RATE = 10
CONNECTIONS = 4


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    daemon = subprocess.Popen(["cron", "-f"])
    with tempfile.TemporaryDirectory() as folder, ScriptedServer() as server:
        installation = Installation(copy_project(Path(folder) / "project"))
        configure(installation.folder / ".env", server.port)
        installation.add_recipients(int(RATE * 60 * minutes))
        installation.save_email(1)
        try:
            makecron(installation.folder)
            good = watch(installation, server)
        finally:
            makecron(installation.folder, "--remove")
            daemon.terminate()
            daemon.wait()
    return 0 if good else 1


def configure(env: Path, port: int) -> None:
    """Write the settings to `.env`, because cron does not pass on the environment."""
    env.touch(mode=0o600)
    lines = (
        f"EMAIL_URL=smtp://127.0.0.1:{port}",
        f"SMTP_MAX_RATE={RATE}",
        f"SMTP_CONNECTIONS={CONNECTIONS}",
        "SENDERS=1",
    )
    env.write_text("\n".join(lines) + "\n")


def watch(installation: Installation, server: ScriptedServer) -> bool:
    """Watch until the email has finished. Return whether all limits were kept."""
    senders, fastest, began = 0, 0, 0.0
    counts: list[tuple[float, int]] = []
    with installation.database() as database:
        while installation.log() != ["1"]:
            row = database.connection.fetch_one("SELECT COUNT(*) FROM senders")
            senders = max(senders, row[0] if row else 0)
            counts.append((time.monotonic(), len(server.accepted)))
            while counts[-1][0] - counts[0][0] > 10:
                counts.pop(0)
            fastest = max(fastest, counts[-1][1] - counts[0][1])
            began = began or (time.monotonic() if server.accepted else 0.0)
            time.sleep(0.1)
    took = time.monotonic() - began
    print(
        f"{len(server.accepted):,} messages in {took:.0f} s under cron: at most {senders} sender and "
        f"{server.most_at_once} connections at once; at most {fastest / 10:.1f} messages a second over 10 s "
        f"(SMTP_MAX_RATE={RATE}); doubled {len(server.accepted) - len(set(server.recipients))}"
    )
    return senders <= 1 and server.most_at_once <= CONNECTIONS and fastest <= 10 * RATE + CONNECTIONS


if __name__ == "__main__":
    sys.exit(main())
