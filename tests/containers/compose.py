"""deploy/compose.yaml as an operator runs it: podman-compose, and the `.env` beside it."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.containers.podman import HERE, PROJECT, Podman, expect, run, wait_until


class Compose:
    """podman-compose on deploy/compose.yaml, with a mail server beside it, and the `.env` that an operator writes."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self.podman = podman
        self.port = unused_port()
        self.token = secrets.token_hex(24)
        self._env_file = folder / "deploy.env"
        self._settings: dict[str, str] = {}
        self.set(
            POSTGRES_PASSWORD=secrets.token_hex(24),
            API_TOKEN=self.token,
            PUBLIC_URL="https://mail.example.com",
            EMAIL_URL="smtp://mail:2525",
            MAIL_FROM="Our club <news@example.com>",
            TIMEZONE="UTC",
            PORT=str(self.port),
            SINK=str(HERE / "smtp_sink.py"),
        )

    def set(self, **settings: str) -> None:
        """Change the settings of containers that are created from now on."""
        self._settings |= settings
        self._env_file.touch(mode=0o600)
        self._env_file.write_text("".join(f"{name}={value}\n" for name, value in self._settings.items()))

    def setting(self, name: str) -> str:
        """Return the value of a setting in that `.env`."""
        return self._settings[name]

    def __call__(self, *arguments: str) -> str:
        """Run podman-compose."""
        options: list[str | Path] = ["--profile", "queue", "--in-pod", "false", "--env-file", self._env_file]
        options += ["--podman-build-args=--format docker --layers=false --network=host"]
        options += ["--podman-run-args=--read-only-tmpfs=false"]  # as Docker does
        files: list[str | Path] = ["-f", PROJECT / "deploy" / "compose.yaml", "-f", HERE / "compose.yaml"]
        command = Path(sys.executable).with_name("podman-compose")
        return run(command, *options, *files, *arguments, environ=self.podman.environ)

    def start(self, *services: str) -> None:
        """Create the containers of these services, after the tables, and wait until each is healthy.

        Without systemd, podman does not run health checks.
        """
        if "database" in services:
            self("up", "-d", "--no-deps", "database")
            self.wait_until_healthy("database")
            self("up", "-d", "--no-deps", "tables")
            status = self.podman("wait", self.name("tables")).strip()
            expect(status == "0", f"flask init-db ended with {status}\n{self.logs('tables')}")
        others = [service for service in services if service != "database"]
        self("up", "-d", "--no-deps", "--force-recreate", *others)
        for service in others:
            if service != "mail":
                self.wait_until_healthy(service)

    def wait_until_healthy(self, service: str) -> None:
        """Wait until the health check of a service succeeds."""
        name = self.name(service)
        wait_until(
            lambda: not self.podman.status("healthcheck", "run", name),
            90,
            lambda: f"{service} is not healthy\n{self.logs(service)}",
        )

    def name(self, service: str) -> str:
        """The name of the container of a service."""
        return f"email-endpoint_{service}_1"

    def logs(self, service: str) -> str:
        """Return the output of a service."""
        command = ["podman", "logs", self.name(service)]
        done = subprocess.run(
            command, env=self.podman.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return f"-- {service}:\n{done.stdout[-3000:]}"

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in the container of a service."""
        return self.podman("exec", self.name(service), *command)

    def inspect(self, service: str) -> Any:
        """Return what `podman inspect` reports about the container of a service."""
        (found,) = json.loads(self.podman("inspect", self.name(service)))
        return found


def unused_port() -> int:
    """Return an unused port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
