"""`makecron.sh` as a user runs it: its output and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.project_copy import copy_project, makecron

if TYPE_CHECKING:
    from tests.support.servers.cron_daemon import Crontab

WITHOUT_OTHER_PROCESSES = ["unshare", "--fork", "--pid", "--mount-proc"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EMAIL_URL", raising=False)
    return copy_project(tmp_path / "project")


def dotenv(project: Path, text: str) -> None:
    (project / ".env").touch(mode=0o600)
    (project / ".env").write_text(text)


def test_it_installs_the_job_and_shows_the_line(own_crontab: Crontab, project: Path) -> None:
    done = makecron(project)
    line = f"* * * * * {project}/.venv/bin/python {project}/task.py --ahead 60"
    assert done.returncode == 0
    assert done.stdout.startswith(f"Installed the cron job; it runs every minute:\n  {line}\n")
    assert line in (own_crontab.read() or b"").decode().splitlines()


def test_a_second_run_changes_nothing(own_crontab: Crontab, project: Path) -> None:
    makecron(project)
    before = own_crontab.read()
    again = makecron(project)
    assert (again.returncode, own_crontab.read()) == (0, before)
    assert "already installed. Nothing was changed" in again.stdout


def test_a_run_in_another_folder_moves_the_job(own_crontab: Crontab, project: Path, tmp_path: Path) -> None:
    makecron(project)
    second = copy_project(tmp_path / "second")
    assert f"Moved the cron job from {project} " in makecron(second).stdout
    assert (own_crontab.read() or b"").count(b"task.py") == 1
    assert makecron(project, "--remove").stdout == f"Removed the cron job for {second}.\n"
    assert own_crontab.read() is None


def test_a_folder_that_was_moved_takes_its_job_along(own_crontab: Crontab, project: Path) -> None:
    makecron(project)
    moved = project.rename(project.with_name("moved here"))
    assert f"Moved the cron job from {project} " in makecron(moved).stdout
    assert rb"/moved\ here/task.py --ahead 60" in (own_crontab.read() or b"")


def test_remove_says_when_there_was_none(own_crontab: Crontab, project: Path) -> None:
    own_crontab.write(b"# mine\n")
    done = makecron(project, "--remove")
    assert (done.returncode, own_crontab.read()) == (0, b"# mine\n")
    assert "No email-endpoint cron job found" in done.stdout


@pytest.mark.usefixtures("own_crontab")
def test_it_says_that_mail_stays_here_until_a_mail_server_is_named(project: Path) -> None:
    assert f"Messages are only saved in {project}/outbox" in makecron(project).stdout
    assert "only saved in" in makecron(project, EMAIL_URL="smtp://localhost").stdout  # cron does not see this variable
    dotenv(project, "EMAIL_URL=smtp://localhost:25\n")
    assert "only saved in" not in makecron(project).stdout


def test_wrong_settings_are_told_and_nothing_is_installed(own_crontab: Crontab, project: Path) -> None:
    dotenv(project, "SENDERS=none\nTIMEZONE=Moon\n")
    done = makecron(project)
    assert (done.returncode, done.stdout, own_crontab.read()) == (1, "", None)
    assert sorted(line.split("=")[0] for line in done.stderr.splitlines()) == ["SENDERS", "TIMEZONE"]


def test_without_a_crontab_command_it_names_the_remedy(project: Path) -> None:
    without = subprocess.run(
        [sys.executable, "-m", "schedulers.cron.install"],
        cwd=project,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
    )
    assert (without.returncode, without.stdout, without.stderr.count("\n")) == (1, "", 1)
    assert "apt install cron" in without.stderr
    assert "./start_flask.sh" in without.stderr


def test_without_a_virtual_environment_it_names_the_remedy(project: Path) -> None:
    (project / ".venv").unlink()
    done = makecron(project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "./start_flask.sh" in done.stderr


def test_an_unknown_option_is_a_usage_error(project: Path) -> None:
    done = makecron(project, "--delete")
    assert done.returncode == 2
    assert "usage: makecron.sh" in done.stderr


@pytest.mark.usefixtures("own_crontab")
def test_a_link_to_the_current_release_stays_a_link(project: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(project)
    assert f" {tmp_path}/current/task.py " in makecron(tmp_path / "current").stdout


@pytest.mark.usefixtures("own_crontab")
def test_a_folder_name_that_is_no_text_is_shown_somehow(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / os.fsdecode(b"\xf6"))
    for locale in ("C", "C.UTF-8"):
        assert makecron(folder, LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").returncode == 0


@pytest.mark.usefixtures("own_crontab", "cron_daemon")
def test_it_warns_only_when_no_daemon_runs(project: Path) -> None:
    assert makecron(project).stderr == ""
    apart = subprocess.run([*WITHOUT_OTHER_PROCESSES, project / "makecron.sh"], capture_output=True, text=True)
    if apart.returncode != 0:
        pytest.skip(f"processes cannot be hidden here: {apart.stderr}")
    assert "no cron daemon seems to be running" in apart.stderr


def test_the_package_that_takes_the_same_module_name_does_no_harm(own_crontab: Crontab, project: Path) -> None:
    where = [str(project / ".venv/bin/python"), "-c", "import crontab; print(crontab.__file__)"]
    assert subprocess.check_output(where, text=True).endswith("/crontab/__init__.py\n")  # rq-scheduler's
    assert makecron(project).returncode == 0
    assert b"/task.py --ahead 60\n" in (own_crontab.read() or b"")


def test_beside_redis_the_job_is_a_safety_net_every_five_minutes(own_crontab: Crontab, project: Path) -> None:
    dotenv(project, "SCHEDULER=rq-scheduler\n")
    line = f"*/5 * * * * {project}/.venv/bin/python {project}/task.py"
    said = "Installed the safety net for wake-ups that Redis loses; it runs every five minutes:"
    assert makecron(project).stdout.startswith(f"{said}\n  {line}\n")
    assert line in (own_crontab.read() or b"").decode().splitlines()
    assert "Nothing was changed" in makecron(project).stdout
    dotenv(project, "")
    assert "Updated the cron job for this folder:\n  * * * * * " in makecron(project).stdout
