"""Files with secrets and mail are accessible only to their owner, whatever the umask.

The tests of settings, cron and deploy/ check the other files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import FOLDER, SettingsError, load_settings
from tests.support.installation import PROJECT, Installation
from tests.support.other_user import as_user
from tests.support.servers.web_server import serve

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set the umask that most systems give a user."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_an_env_file_behind_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("SENDERS=2\n")
    (tmp_path / ".env").symlink_to(real)
    real.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_settings({}, tmp_path)
    real.chmod(0o600)
    assert load_settings({}, tmp_path).senders == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_env_file_of_another_user_is_an_error_and_one_that_cannot_be_read_too(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("SENDERS=2\n")
    env_file.chmod(0o600)
    os.chown(env_file, 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to another user"):
        load_settings({}, tmp_path)
    os.chown(env_file, 0, 0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    script = "import settings, pathlib, sys; settings.load_settings({}, pathlib.Path(sys.argv[1]))"
    as_nobody = as_user("nobody", [sys.executable, "-B", "-c", script, str(tmp_path)])
    done = subprocess.run(as_nobody, cwd=FOLDER, capture_output=True, text=True)
    assert "cannot be read (Permission denied)" in done.stderr


def test_what_git_would_take_has_no_secret_in_it() -> None:
    names = (".env", "email.db", "email.db-wal", "email.db-sender-1", "outbox/new/1", "tasklog.log.1")
    ignored = subprocess.run(["git", "check-ignore", *names], cwd=PROJECT, capture_output=True, text=True)
    assert ignored.stdout.split() == list(names)


@pytest.mark.usefixtures("open_umask")
def test_every_file_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.add_recipients(1)
    installation.save_email(1)
    with installation.database():  # as long as it is open, its -wal and -shm are there
        assert installation.task().returncode == 0
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert {"email.db", "email.db-wal", "email.db-writer", "tasklog.log"} <= {path.name for path in files}
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in files if path.stat().st_mode & 0o077} == {}


def test_no_secret_is_among_the_arguments_of_a_process(tmp_path: Path, free_port: int) -> None:
    password = "pass-word-of-the-tests"
    with serve(tmp_path, free_port, API_TOKEN=TOKEN, EMAIL_URL=f"smtp://user:{password}@127.0.0.1:9") as server:
        group = subprocess.run(
            ["ps", "-o", "args=", "-g", str(server.process.pid)], capture_output=True, text=True
        ).stdout
    assert "granian" in group
    assert TOKEN not in group and password not in group
