"""The files in `deploy/` and `docs/deploy.md` are correct, checked with the real tools."""

from __future__ import annotations

import grp
import http.client
import importlib
import importlib.metadata
import inspect
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from email.parser import HeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import pytest

from email_app import create_app
from sender.task_log import TaskLog
from settings import FROM_FILES, load_settings
from tests.support.ports import unused_port
from tests.support.project_copy import copy_project, missing
from tests.support.servers.web_server import FORM, serve
from tests.support.service import wait_until
from web.middleware import REQUEST_ID

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
GUIDE = PROJECT / "docs" / "deploy.md"
FILES = [GUIDE, *(path for path in sorted(DEPLOY.rglob("*")) if path.is_file())]
PAGES = [PROJECT / "docs" / f"{name}.md" for name in ("redis", "monitoring", "upgrade")]  # parts of the same guide
UNITS = [path for path in sorted((DEPLOY / "systemd").glob("email-endpoint-*")) if path.is_file()]
FOLDER = "/srv/email-endpoint"
DATA = "/var/lib/email-endpoint"
SETTINGS = set(re.findall(r'read\("([A-Z_]+)"', (PROJECT / "settings/__init__.py").read_text()))
OTHERS = {"EDITOR", "HOME", "HOST", "PORT", "PYTHONUNBUFFERED"}
OTHERS |= {
    "NEW_DATABASE_URL",
    "PATH",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    "RQ_REDIS_URL",
}
OTHERS |= {"BASE_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "MEMORY_LIMIT", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"}
TOKEN = "a-token-of-the-tests"
EMAIL = {"event_id": 1, "email_subject": "s", "email_content": "c", "timestamp": "2099-01-01 00:00:00"}


def found(pattern: str) -> set[Any]:
    """Return the matches in all files, in which `[a, b]` and `"a", "b"` count as `a b`."""
    texts = [re.sub(r"""["'`\[\]]|,(?= )""", "", path.read_text()) for path in [*FILES, *PAGES]]
    return {match for text in texts for match in re.findall(pattern, text, re.MULTILINE)}


def program(name: str) -> str:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") or missing(f"there is no {name}")


def run(*command: str | Path) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_variable_that_is_named_exists() -> None:
    names = found(r"\b([A-Z][A-Z_]+)=") | found(r"\$\{?([A-Z][A-Z_]+)") | found(r"^ +([A-Z_]+): ")
    assert {"DATABASE_URL", "HOST", "API_TOKEN_FILE", "POSTGRES_DB", "SENDERS"} <= names
    assert names <= SETTINGS | {name + "_FILE" for name in FROM_FILES} | OTHERS


def test_every_option_of_the_sweep_exists() -> None:
    usage = run(sys.executable, PROJECT / "task.py", "--help")
    options = found(r"task\.py (--[a-z-]+)")
    assert options == {"--ahead", "--watch"}
    assert all(f"  {option} " in usage for option in options)


def test_every_flask_command_exists() -> None:
    commands = found(r"\bflask ([a-z][a-z-]+(?: [a-z]+)?)")
    assert {"init-db", "copy-database", "recipients add"} <= commands
    root: click.Command = create_app(load_settings({})).cli
    for words in map(str.split, commands):
        command = root
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]


def test_every_program_of_the_environment_is_installed_by_the_requirements() -> None:
    programs = found(r"\.venv/bin/(\w+)")
    scripts = {script.name for script in importlib.metadata.entry_points(group="console_scripts")}
    assert programs == {"python", "flask", "rq", "rqscheduler"}
    assert programs - {"python"} <= scripts


def test_what_is_given_to_python_directly_can_be_run() -> None:
    calls = found(r"python -c from ([\w.]+) import (\w+); \w+\((\S+) (\S+)\)")
    assert {call[2:] for call in calls} == {("${HOST}", "${PORT}"), ("0.0.0.0", "5000")}
    for module, function, host, _ in calls:
        inspect.signature(getattr(importlib.import_module(module), function)).bind(host, 5000)


def test_every_file_that_is_named_exists() -> None:
    names = found(r"\b(requirements(?:/[a-z]+)?\.txt)") | found(r"\b(deploy/[\w./*-]+[\w*])") | found(r"^!([a-z.]+)$")
    names |= found(r"(makecron\.sh)") | found(r"dockerfile: (\S+)") | found(r"COPY (requirements.txt)")
    assert len(names) > 12
    assert [name for name in names if not list(PROJECT.glob(name))] == ["deploy/.env"]
    by_name = {path.name for path in FILES} | {"pg_hba.conf"}
    assert set(re.findall(r"`([\w.-]+\.(?:conf|yaml)|Caddyfile|Dockerfile)`", GUIDE.read_text())) <= by_name


def test_the_guide_names_every_file_of_the_folder() -> None:
    parts = [path.name.removeprefix("email-endpoint").partition(".service")[0] for path in FILES[1:]]
    assert [part for part in parts if part not in GUIDE.read_text() and part != "Dockerfile.dockerignore"] == []


def test_an_image_holds_the_whole_program_and_nothing_else() -> None:
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert let_in == packages | {"*.py", ".flaskenv", "schema.sql", "requirements", "requirements.txt"}


def test_proxies_let_through_what_the_service_takes_and_little_more() -> None:
    limits = found(r"client_max_body_size (\w+);") | found(r"max_size (\w+)") | found(r"request_buffers (\w+)$")
    assert limits == {"10m", "10MiB"}
    assert 0 <= 10 * 1024**2 - load_settings({}).max_body < 1_000_000


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Return the units, as installed for a copy of the project."""
    project = copy_project(tmp_path / "project")
    folder = tmp_path / "units"
    shutil.copytree(DEPLOY / "systemd", folder)
    for name, drop_in in (("web", "web-secrets.conf"), ("watcher", "sender-secrets.conf")):
        (folder / f"email-endpoint-{name}.service.d").mkdir()
        (folder / drop_in).rename(folder / f"email-endpoint-{name}.service.d" / drop_in)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        text = re.sub(rf"{FOLDER}/\.venv/bin/(rq|rqscheduler)\b", f"{FOLDER}/.venv/bin/python", path.read_text())
        path.write_text(text.replace(FOLDER, str(project)))
    return [folder / unit.name for unit in UNITS]


def test_systemd_finds_no_fault_in_the_units(units: list[Path]) -> None:
    assert len(units) == 6
    assert run(program("systemd-analyze"), "verify", *units) == ""


def test_what_a_service_may_do_is_little(units: list[Path]) -> None:
    for unit in [unit for unit in units if unit.suffix == ".service"]:
        told = run(program("systemd-analyze"), "security", "--offline=true", "--threshold=15", unit)
        assert "Overall exposure level" in told


def test_a_service_can_write_to_the_folder_of_its_data_alone() -> None:
    assert found(r"^ProtectSystem=(.*)$") == {"strict"}
    assert found(r"^StateDirectory=(.*)$") == {Path(DATA).name}
    assert found(r"^(ReadWritePaths|(?:Runtime|Logs|Cache|Configuration)Directory)=") == set()


def test_a_stop_lasts_longer_than_what_is_in_flight() -> None:
    from serving.web_server import STOP_TIMEOUT

    (stop,) = found(r"^TimeoutStopSec=(\d+)$")
    assert int(stop) > max(STOP_TIMEOUT, 60)  # a sender has 60 s


class Nginx:
    """An nginx with our site on its own ports, in front of `upstream`."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.folder = folder
        self.port = unused_port()
        self.plain_port = unused_port()
        folder.mkdir()
        names = ("-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mail.example.com", *names)
        site = (DEPLOY / "nginx.conf").read_text()
        for old, new in (
            (r"listen \[::\].*", ""),
            (r"listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
            (r"listen 443", f"listen 127.0.0.1:{self.port}"),
            (r"/etc/letsencrypt/live/mail\.example\.com", str(folder)),
            (r"127\.0\.0\.1:5000", f"127.0.0.1:{upstream}"),
        ):
            site, count = re.subn(old, new, site)
            assert count, old
        (folder / "site.conf").write_text(site)
        (folder / "nginx.conf").write_text(self._main())

    def _main(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        return (
            f"{user} pid {self.folder}/pid; error_log {self.folder}/error.log; daemon off; worker_processes 1;\n"
            f"events {{}} http {{ access_log off; {paths} include {self.folder}/site.conf; }}\n"
        )

    @property
    def command(self) -> list[str | Path]:
        return [program("nginx"), "-e", "stderr", "-c", self.folder / "nginx.conf"]

    def connect(self) -> http.client.HTTPSConnection:
        certificates = ssl.create_default_context(cafile=self.folder / "fullchain.pem")
        certificates.check_hostname = False
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=certificates)

    def is_up(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Nginx]:
    proxy = Nginx(folder, upstream)
    assert "test is successful" in run(*proxy.command, "-t")
    with (folder / "stderr").open("wb") as stderr, subprocess.Popen(proxy.command, stderr=stderr) as process:
        try:
            assert wait_until(proxy.is_up), (folder / "stderr").read_text()
            yield proxy
        finally:
            process.terminate()


def test_a_post_comes_through_nginx_and_the_answer_is_that_of_a_service_behind_tls(tmp_path: Path) -> None:
    port = unused_port()
    now = "datetime.datetime.now(datetime.UTC)"
    run(sys.executable, "-c", f"import datetime, settings, database; database.db_init({_settings(tmp_path)}, {now})")
    service = serve(tmp_path, port, API_TOKEN=TOKEN, TRUSTED_PROXIES="1", PUBLIC_URL="https://mail.example.com")
    with service, nginx(tmp_path / "nginx", port) as proxy, closing(proxy.connect()) as connection:
        headers = {"Host": "mail.example.com", "Authorization": f"Bearer {TOKEN}", **FORM}
        connection.request("POST", "/send-emails", urlencode(EMAIL), headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"Successful")
        assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_through_nginx_a_client_is_known_by_its_own_address_whatever_it_says(tmp_path: Path) -> None:
    port = unused_port()
    service = serve(tmp_path, port, API_TOKEN=TOKEN, TRUSTED_PROXIES="1", PUBLIC_URL="https://mail.example.com")
    statuses = []
    with service as server, nginx(tmp_path / "nginx", port) as proxy, closing(proxy.connect()) as connection:
        for number in range(15):
            claims = {"X-Forwarded-For": f"203.0.113.{number}", "X-Forwarded-Host": "evil.example", "Via": "1.1 x"}
            headers = {"Host": "mail.example.com", "Authorization": f"Bearer wrong-{number}", "X-Real-IP": "1.2.3.4"}
            connection.request("GET", "/api/emails", headers=headers | claims | {"X-Forwarded-Proto": "http"})
            answer = connection.getresponse()
            assert "max-age" in answer.headers["Strict-Transport-Security"]
            answer.read()
            statuses.append(answer.status)
        clients = {line.split(" ")[2] for line in server.log.read_text().splitlines() if " GET " in line}
    assert statuses == [401] * 10 + [429] * 5
    assert clients == {"127.0.0.1"}


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Nginx]:
    """An nginx in front of a server that answers each request with its own headers."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = str(self.headers).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as upstream, ThreadPoolExecutor(1) as thread:
        thread.submit(upstream.serve_forever, 0.01)
        try:
            with nginx(tmp_path / "nginx", upstream.server_port) as proxy:
                yield proxy
        finally:
            upstream.shutdown()


def test_a_client_of_nginx_chooses_neither_the_host_nor_the_id_of_its_request(echo: Nginx) -> None:
    ids = set()
    for host in ("mail.example.com", "evil.example", "localhost"):
        with closing(echo.connect()) as connection:
            claims = {"Host": host, "X-Request-Id": "chosen-by-the-client", "X-Forwarded-Host": "evil.example"}
            connection.request("GET", "/", headers=claims)
            passed_on = HeaderParser().parsestr(connection.getresponse().read().decode())
        assert passed_on.get_all("Host") == passed_on.get_all("X-Forwarded-Host") == ["mail.example.com"]
        (request_id,) = passed_on.get_all("X-Request-Id", [])
        assert REQUEST_ID.fullmatch(request_id) and "chosen" not in request_id
        ids.add(request_id)
    assert len(ids) == 3


@pytest.mark.parametrize("host", ["mail.example.com", "evil.example"])
def test_nginx_redirects_plain_http_to_the_written_name_only(echo: Nginx, host: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", echo.plain_port, timeout=20)) as connection:
        connection.request("GET", "/emails/1?status=failed", headers={"Host": host})
        answer = connection.getresponse()
        assert answer.headers["Location"] == "https://mail.example.com/emails/1?status=failed"


def test_nginx_refuses_hundreds_of_logins_and_connections_of_one_client(echo: Nginx) -> None:
    with closing(echo.connect()) as connection:
        statuses = []
        for path in ("/login", "/login?next=/", "/") * 20:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            statuses.append((path, answer.status))
    logins = [status for path, status in statuses if path != "/"]
    assert logins[:20] == [200] * 20 and logins.count(429) > 10
    assert {status for path, status in statuses if path == "/"} == {200}
    with ExitStack() as stack:
        for _ in range(100):
            waiting = stack.enter_context(closing(echo.connect()))
            waiting.putrequest("POST", "/")
            waiting.putheader("Content-Length", "5")
            waiting.endheaders(b"x")
        assert wait_until(lambda: status_of(echo) == 429)


def status_of(proxy: Nginx) -> int:
    with closing(proxy.connect()) as connection:
        connection.request("GET", "/")
        return connection.getresponse().status


def test_the_caddyfile_has_the_same_guards_as_the_site_for_nginx() -> None:
    directives = {line.strip() for line in (DEPLOY / "Caddyfile").read_text().splitlines()}
    assert {
        "read_header 15s",
        "read_body 5m",
        "write 5m",
        "request_buffers 10MiB",
        "response_buffers 16MiB",
    } <= directives
    assert {"header_up Host mail.example.com", "header_up X-Request-Id {http.request.uuid}"} <= directives
    assert "redir https://mail.example.com{uri} permanent" in directives


def _settings(folder: Path) -> str:
    return f"settings.load_settings({{'DATABASE_URL': 'sqlite:///{folder}/email.db'}})"


def test_a_body_that_stalls_does_not_reach_the_service(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(1)
        with nginx(tmp_path / "nginx", upstream.getsockname()[1]) as proxy, closing(proxy.connect()) as client:
            client.putrequest("POST", "/send-emails")
            client.putheader("Content-Length", "10")
            client.putheader("X-Forwarded-For", "127.0.0.1")
            client.endheaders(b"event")
            with pytest.raises(TimeoutError):
                upstream.accept()
            client.send(b"_id=1")
            upstream.settimeout(20)
            passed_on, _ = upstream.accept()
            with passed_on:
                request = passed_on.recv(65_536)
    assert request.endswith(b"\r\n\r\nevent_id=1")
    assert request.count(b"X-Forwarded-For: ") == 1
    assert b"\r\nX-Forwarded-Proto: https\r\n" in request


def test_a_log_that_is_rotated_while_it_is_written_loses_no_line(tmp_path: Path) -> None:
    log, configuration = tmp_path / "tasklog.log", tmp_path / "logrotate"
    text = (DEPLOY / "logrotate").read_text().replace(f"{DATA}/tasklog.log", str(log))
    user = f"su {pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    configuration.write_text(text.replace("su email-endpoint email-endpoint", user).replace("rotate 52", "rotate 9999"))
    configuration.chmod(0o600)
    logrotate: list[str | Path] = [program("logrotate"), "--state", tmp_path / "state", configuration]
    assert "error" not in run(*logrotate, "--debug")
    enough = threading.Event()
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(_write_lines, log, enough)
        try:
            for _ in range(5):
                run(*logrotate, "--force")
        finally:
            enough.set()
    run(*logrotate, "--force")
    rotated = sorted(tmp_path.glob("tasklog.log.*"))
    lines = "".join(run("zcat", "--force", path) for path in rotated).split()
    assert sorted(map(int, lines)) == list(range(written.result()))


def _write_lines(log: Path, enough: threading.Event) -> int:
    """Write lines numbered from 0, and return how many."""
    number = 0
    while not enough.is_set():
        TaskLog(log).finished([number])
        number += 1
    return number


def test_the_sandbox_lets_senders_see_the_clock_that_leases_are_judged_by() -> None:
    assert "/proc/sys/" in (PROJECT / "storage" / "clock.py").read_text()
    assert found("^(ProcSubset=.*)$") == set()
