"""A PostgreSQL server only for the tests, on a free port, with a new database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.ports import unused_port

USER = "postgres"  # PostgreSQL refuses to run as root
PASSWORD = "secret"
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "listen_addresses": "127.0.0.1"}


class PostgreSQLServer:
    """A server in `folder`; `settings` are its options. Does not sync by default: no test crashes the machine.

    Logging in with `scram-sha-256` takes a client 4 ms, with `md5` 1 ms.
    """

    def __init__(self, folder: Path, port: int, authentication: str = "md5", **settings: str) -> None:
        self.port = port
        self._data = folder / "data"
        self._settings = SETTINGS | {"port": f"{port}", "unix_socket_directories": f"{folder}"} | settings
        self._numbers = itertools.count(1)
        self._connection: psycopg.Connection | None = None
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        by_password = ("-A", authentication, "--pwfile", f"{password}")
        self._run("initdb", "-U", USER, *by_password, "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def allow(self, network: str) -> None:
        """Allow a network to log in with the password. Call it before `start`."""
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} scram-sha-256\n")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        log = self._data / "log"
        try:
            self._run("pg_ctl", "start", "-w", "-l", str(log), "-o", options)
        except subprocess.CalledProcessError as error:
            error.add_note(log.read_text() if log.exists() else "it wrote no log")
            raise

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server. `immediate` is like a crash."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._run("pg_ctl", "stop", "-m", mode)

    def restart(self) -> None:
        """Crash the server and start it again."""
        self.stop()
        self.start()

    def url(self, database: str = "postgres", *, port: int = 0, password: str = PASSWORD) -> str:
        """Return the DATABASE_URL of a database."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Create a database like `template`, which is empty by default, and return its URL."""
        name = f"test{next(self._numbers)}"
        # Copying files is twice as fast as writing them to the log, the default since PostgreSQL 15.
        strategy = " STRATEGY file_copy" if self.version >= 15 else ""
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, even while clients are connected to it."""
        self.run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def run(self, statement: str) -> None:
        """Run a statement as the superuser."""
        self._superuser().execute(statement.encode())

    @property
    def version(self) -> int:
        return self._superuser().info.server_version // 10_000

    def _superuser(self) -> psycopg.Connection:
        """Return a connection that stays open, because each log-in takes 10 ms."""
        if self._connection is None or self._connection.broken:
            self._connection = psycopg.connect(self.url(), autocommit=True)
        return self._connection

    def _run(self, program: str, *arguments: str) -> None:
        as_owner: Sequence[str] = ()
        if os.geteuid() == 0:
            as_owner = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
        command = [*as_owner, _program(program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/")


@contextmanager
def server_for_other_hosts() -> Iterator[PostgreSQLServer]:
    """Run a server that hosts on the networks of `network_namespace.SecondHost` can reach."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which the server's user cannot read
        server = PostgreSQLServer(Path(folder), unused_port(), "scram-sha-256", listen_addresses="*")
        server.allow("10.0.0.0/8")
        server.start()
        yield server
        server.stop()


def installed() -> bool:
    """Return whether PostgreSQL is installed."""
    return shutil.which(_program("initdb")) is not None


def _program(name: str) -> str:
    """Return the path of a server program. Debian does not put them on PATH."""
    debians = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debians[-1]) if debians else shutil.which(name) or name
