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
    assert "\r3 sent (" in shown


def test_nothing_is_shown_anywhere_else() -> None:
    stream = io.StringIO()
    progress_bar = ProgressBar(stream)
    progress_bar.count("sent")
    progress_bar.close()
    assert stream.getvalue() == ""
