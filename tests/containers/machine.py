"""A container with systemd, in which the commands in docs/deploy.md install the service."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.containers.podman import HERE, PROJECT, Failure, Podman, expect, run, wait_until

NAME = "machine"
SERVICES = ("email-endpoint-web", "email-endpoint-watcher")
DATA = "/var/lib/email-endpoint"
PROGRAM = "/srv/email-endpoint"
POST = """\
import urllib.parse, urllib.request
form = urllib.parse.urlencode({form!r}).encode()
print(urllib.request.urlopen('http://127.0.0.1:5000/send-emails', form).read().decode())
"""


def install_commands() -> str:
    """Return the first block of commands in the section "One machine"."""
    section = (PROJECT / "docs" / "deploy.md").read_text().partition("\n## One machine\n")[2]
    match = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    if match is None or "systemctl enable --now" not in match[1]:
        raise Failure("docs/deploy.md does not begin with the commands that install the service")
    return match[1].replace("git clone URL-OF-THIS-PROJECT .", "cp -r /src/. .")


class Machine:
    """A container that runs systemd."""

    def __init__(self, podman: Podman) -> None:
        self._podman = podman

    def __call__(self, script: str) -> str:
        """Run a script as root."""
        as_user = f'as() {{ runuser -u email-endpoint -- env HOME={DATA} "$@"; }}\n'
        return self._podman("exec", "-i", "-w", "/", NAME, "bash", "-eu", text=as_user + script)

    def fails(self, script: str) -> bool:
        """Return whether a script fails."""
        return self._podman.status("exec", NAME, "bash", "-euc", script) != 0

    def journal(self) -> str:
        """Return the journal of the services."""
        return self("journalctl --no-pager -n 100; systemctl --no-pager status 'email-endpoint-*' || true")


@contextmanager
def running_machine(podman: Podman, folder: Path) -> Iterator[Machine]:
    """Build and start the machine, with every file of the project that git does not ignore."""
    context = folder / "machine"
    files = run("git", "-C", PROJECT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in (name for name in files if (PROJECT / name).is_file()):
        (context / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, context / "project" / name)
    shutil.copy(HERE / "images" / "edit-env.sh", context)
    podman.build(HERE / "images" / "systemd.Dockerfile", "machine", context)
    podman("run", "-d", "--name", NAME, "--privileged", "--systemd=always", "machine")
    try:
        machine = Machine(podman)
        wait_until(lambda: not machine.fails("systemctl is-system-running"), 60, lambda: podman("logs", NAME))
        yield machine
    finally:
        podman.remove(NAME)


def check_installation(machine: Machine) -> None:
    """The commands install a service that sends what is POSTed."""
    machine(install_commands())
    healthy = "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/healthz')"
    wait_until(lambda: not machine.fails(f'python -c "{healthy}"'), 60, machine.journal)
    machine(f"cd {PROGRAM}; as .venv/bin/flask recipients add ada@example.com")
    form = {"event_id": 1, "email_subject": "s", "email_content": "c", "timestamp": f"{datetime.now(UTC):%F %T}"}
    expect("Successful" in machine(f"python - <<'EOF'\n{POST.format(form=form)}EOF"), "the POST is refused")
    wait_until(lambda: not machine.fails(f"ls {DATA}/outbox/new/*"), 60, machine.journal)


def check_sandbox(machine: Machine) -> None:
    """In the sandbox of each unit, its user can write to the data, and not even root can write to the program."""
    for service in SERVICES:
        pid = machine(f"systemctl show -p MainPID --value {service}").strip()
        status = machine(f"cat /proc/{pid}/status")
        expect(re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and "NoNewPrivs:\t1" in status, status)
        expect(not re.search(r"^Uid:.*\b0\b", status, re.MULTILINE), f"{service} runs as root")
        inside = f"nsenter --target {pid} --mount --wd=/"
        as_user = f"{inside} -S $(id -u email-endpoint) -G $(id -g email-endpoint)"
        machine(f"{as_user} touch {DATA}/probe; rm {DATA}/probe")
        for place in ("task.py", ".env", ".venv/pyvenv.cfg", "sender"):
            expect(machine.fails(f"{inside} touch {PROGRAM}/{place}"), f"{service} can change {place}")
    expect(not machine(f"find {PROGRAM} -not -user root -not -name .env"), "the program does not belong to root")


def check_stop(machine: Machine) -> None:
    """The services stop on request."""
    machine("systemctl stop " + " ".join(SERVICES))
    for service in SERVICES:
        expect("Result=success" in machine(f"systemctl show -p Result {service}"), machine.journal())
