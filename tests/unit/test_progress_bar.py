from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from sender.progress_bar import ProgressBar
from tests.support.installation import PROJECT, Installation
from tests.support.servers.smtp_server import ScriptedServer


def test_a_terminal_sees_how_far_the_sweep_has_come(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add_recipients(3)
    installation.save_email(1)
    terminal, end = pty.openpty()
    command = [sys.executable, str(PROJECT / "task.py")]
    subprocess.run(command, env=installation.environment, stderr=end, check=True)
    os.close(end)
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert re.fullmatch(r"(\r[\w ]+ \(\d+/s\)\x1b\[K)+\r\n", shown)
    assert "\r3 saved (" in shown


def test_errors_stand_on_lines_of_their_own_at_a_terminal(tmp_path: Path) -> None:
    replies = [None, "550 5.1.1 no such user", "451 4.7.1 later"]
    refuses = {"RCPT": lambda _, nth: replies[nth % 3]}
    with ScriptedServer(on=refuses) as server:
        installation = Installation(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        installation.add_recipients(3)
        installation.save_email(1)
        terminal, end = pty.openpty()
        command = [sys.executable, str(PROJECT / "task.py")]
        subprocess.run(command, env=installation.environment, stderr=end)
        os.close(end)
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)
    lines = [visible(line) for line in shown.split("\r\n")]
    errors = [line for line in lines if "ERROR" in line]
    assert len(errors) >= 2 and all(line.startswith("ERROR ") for line in errors), lines
    assert not any("/s)" in line for line in errors)
    assert "1 sent" in lines[-2] and "1 failed" in lines[-2]


def visible(line: str) -> str:
    """Return what remains visible of a line in a terminal."""
    shown = ""
    for part in line.split("\r"):
        text = part.replace("\x1b[K", "")
        shown = text if text != part else text + shown[len(text) :]
    return shown


def test_nothing_is_shown_anywhere_else() -> None:
    stream = io.StringIO()
    progress_bar = ProgressBar(stream)
    progress_bar.count("sent")
    progress_bar.close()
    assert stream.getvalue() == ""
