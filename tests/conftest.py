"""Shared fixtures. Servers and processes are real. Every path is in the test's own folder."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from settings import Settings, load_settings
from tests.support import new_database
from tests.support.ports import unused_port
from tests.support.project_copy import copy_project
from tests.support.servers.postgresql_server import PostgreSQLServer, installed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from database import Database
    from tests.support.web.api_client import Api
    from tests.support.web.browser import Elsewhere


TESTS = Path(__file__).parent

# A shell starts background jobs with SIGINT ignored, and every process that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = (
    "tests.support.certificate",
    "tests.support.servers.cron_daemon",
    "tests.support.servers.postfix",
    "tests.support.servers.redis_server",
    "tests.support.servers.web_server",
    "tests.support.web.compiled_once",
)


def pytest_configure() -> None:
    """Put temporary files in memory if there is room, so that parallel tests do not wait for one disk.

    The worker processes of pytest-xdist inherit TMPDIR.
    """
    memory, needed = Path("/dev/shm"), 4_000_000_000
    if "TMPDIR" in os.environ or not memory.is_dir():
        return
    room = os.statvfs(memory)
    if room.f_bavail * room.f_frsize >= needed and not room.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder: `pytest -m storage` runs `tests/storage`."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of every later garbage collection."""
    gc.freeze()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The database setting. A test that uses this fixture runs once on each engine.

    On PostgreSQL, the database has its tables; `new_database.create` completes it in no time. For tests of how a
    database is created, there is `where_empty`.
    """
    yield from _database_setting(request, new_database.ready_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def where_empty(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The database setting, like `where`. On PostgreSQL, the database is empty."""
    yield from _database_setting(request, PostgreSQLServer.new_database)


def _database_setting(
    request: pytest.FixtureRequest, create: Callable[[PostgreSQLServer], str]
) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {}
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    url = create(server)
    yield {"DATABASE_URL": url}
    server.drop(url)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The default settings. SQLite, Maildir and tasklog are in the test's own folder."""
    return load_settings({}, tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    from database import open_database

    new_database.create(settings, datetime.now(UTC))
    with open_database(settings) as opened:
        yield opened


@pytest.fixture
def api(tmp_path: Path, where: dict[str, str]) -> Iterator[Api]:
    """The JSON API, on each engine."""
    from tests.support.web.api_client import Api

    made = Api(tmp_path, **where)
    yield made
    made.close()


@pytest.fixture
def second(settings: Settings, database: Database) -> Iterator[Database]:
    """A second connection, as another process would have."""
    from database import open_database

    with open_database(settings, wait=0.1) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # files that a test left open are closed later


@pytest.fixture
def free_port() -> int:
    return unused_port()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """One server for all tests. Each test creates its own databases on it."""
    if not installed():
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQLServer(Path(folder), unused_port())
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests. Each test opens its own tabs in it."""
    from tests.support.web.browser import started_chromium

    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    with started_chromium(program) as browser:
        yield browser


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """The requests that the browser makes to other hosts in this test."""
    from tests.support.web.browser import Elsewhere

    made = Elsewhere()
    yield made
    made.close()


@pytest.fixture
def project_copy(tmp_path: Path) -> Path:
    """A copy of the project like a fresh clone, without `.venv`, in a folder with a space in its name."""
    copy = copy_project(tmp_path / "a clone")
    (copy / ".venv").unlink()
    return copy


def _must_not_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skipped test into a failure if CI=true, where everything that tests need is installed."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _must_not_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _must_not_skip(report)
    return report
