"""Seconds until every place shows what is wrong: a password that the mail server refuses, and a clock that was set.

    python bench/problem_visibility.py [--against CHECKOUT] [--limit SECONDS]

Starts the whole service, as ./start_flask.sh does, in front of a real SMTP server with TLS.

1. The server refuses the password with 535. One email is due now. For each place: the seconds from the POST until it
   shows the problem. Then the service is restarted with the right password: the seconds from the restart until the
   place shows nothing wrong, and until the email has been sent. In tasklog.log, that is the line of the sent email.
2. While the service runs, the clock is set 250 days ahead. Emails due in 29, 200 and 300 days are waiting. For each
   place: the seconds from that step until it shows the problem, and how many messages were sent too early. Then the
   clock is set right, an email is POSTed, and the same is measured again.

With --against, the same is measured with another checkout, at the same time. A dash means that there is no such place.
A place that never showed the problem is clean at once. Needs gcc and openssl.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from html import unescape
from http.client import HTTPException
from math import isnan, nan
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.measured import BENCH, PROJECT, free_port, print_machine, wait_for

from tests.support.certificate import create_certificate
from tests.support.servers.smtp_server import ScriptedServer

UTC_8 = timezone(timedelta(hours=8))
RECIPIENTS = [f"r{number}@example.com" for number in range(3)]
RIGHT, WRONG = "right-password", "wrong-password"
POLL_SECONDS = 0.1
MAX_CLEAN_SECONDS = 75.0  # a sender that could not send tries again after 60
STEP_DAYS = 250
DAY = 24 * 60 * 60
EMAIL = 1  # event_id


class Service:
    """The whole service of one checkout, with its files in `folder`."""

    def __init__(self, checkout: Path, folder: Path, **environment: str) -> None:
        self._checkout = checkout
        self._port = free_port()
        self.tasklog = folder / "tasklog.log"
        self._output = folder / "output"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "DATABASE_URL": f"sqlite:///{folder}/email.db",
            "TASKLOG": str(self.tasklog),
            "PORT": str(self._port),
            "LOG_FORMAT": "off",
            **environment,
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the service, as ./start_flask.sh does."""
        command = [sys.executable, "-m", "serving"]
        with (
            self._output.open("ab") as output,
            subprocess.Popen(
                command, cwd=self._checkout, env=self.environment, stdout=output, stderr=output
            ) as process,
        ):
            wait_for(self._port)
            try:
                yield
            finally:
                process.terminate()

    def get(self, path: str) -> str:
        """Return the body of an answer, whatever its status; nothing while there is no answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            return error.read().decode()
        except (OSError, HTTPException):
            return ""

    def flask(self, *arguments: str) -> str:
        """Run a `flask` command and return what it printed."""
        command = [sys.executable, "-m", "flask", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self._checkout,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return process.communicate()[0]

    def post(self, event_id: int, due_in: float = 0.0) -> None:
        """Schedule an email, by the clock of this program."""
        due = datetime.now(UTC_8) + timedelta(seconds=due_in)
        fields = {"event_id": event_id, "email_subject": "s", "email_content": "c", "timestamp": f"{due:%F %T}"}
        with urlopen(f"http://127.0.0.1:{self._port}/send-emails", urlencode(fields).encode(), timeout=30) as answer:
            if answer.read() != b"Successful":
                raise SystemExit("a POST was refused")


class Problem(NamedTuple):
    """How places show a problem: words of its reason, and a metric."""

    words: str
    metric: str
    sent: str  # the line of tasklog.log that reports that mail is going out again


class Place(NamedTuple):
    """Where problems are shown. `look` returns whether this one is, and `is_clean` whether none is; None if missing."""

    name: str
    look: Callable[[], bool | None]
    is_clean: Callable[[], bool | None]


PASSWORD = Problem("535 5.7.8", 'sender_error_seconds{kind="mail_server"}', f"{EMAIL}")
CLOCK = Problem("it should say|clock (seems|has|is wrong)", 'sender_error_seconds{kind="clock"}', "6")


def places_of(service: Service, problem: Problem) -> list[Place]:
    """Return every place that shows problems with sending."""
    log = service.tasklog

    def shows(text: str) -> bool:
        return re.search(problem.words, text) is not None

    def page(path: str) -> Place:
        def look() -> str:
            return unescape(re.sub("<[^>]*>", " ", service.get(path)))

        return Place(path, lambda: shows(look()), lambda: bool(text := look()) and not shows(text))

    def command(*arguments: str) -> Place:
        look = partial(service.flask, *arguments)
        return Place(f"flask {' '.join(arguments)}", lambda: shows(look()), lambda: not shows(look()))

    def metric(is_wanted: Callable[[float], bool]) -> bool | None:
        answer = service.get("/metrics")
        found = re.search(rf"^email_endpoint_{re.escape(problem.metric)} (\S+)$", answer, re.MULTILINE)
        return is_wanted(float(found[1])) if found else None if answer else False

    return [
        *(page(path) for path in ("/", f"/emails/{EMAIL}", "/health", "/readyz")),
        Place("/metrics", lambda: metric(lambda value: value > 0), lambda: metric(lambda value: value == 0)),
        command("emails", "show", str(EMAIL)),
        command("check"),
        Place("tasklog.log", lambda: shows(read(log)), lambda: problem.sent in read(log).splitlines()),
    ]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def seconds_until(
    conditions: Mapping[str, Callable[[], bool | None]], began: float, limit: float
) -> dict[str, float | None]:
    """Poll every condition until it is true or `limit` is over.

    Return the seconds since `began`, or None for never. A condition that returns None is left out.
    """
    found: dict[str, float | None] = dict.fromkeys(conditions)

    def wait(name: str, condition: Callable[[], bool | None]) -> None:
        while time.monotonic() < began + limit:
            result = condition()
            if result is None:
                del found[name]
                return
            if result:
                found[name] = time.monotonic() - began
                return
            time.sleep(POLL_SECONDS)

    threads = [threading.Thread(target=wait, args=item) for item in conditions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Result(NamedTuple):
    """For each place, the seconds until it shows the problem, and until it is clean again."""

    shown: Mapping[str, float | None]
    clean: Mapping[str, float | None]
    sent: str


def until_shown(service: Service, problem: Problem, began: float, limit: float) -> Mapping[str, float | None]:
    return seconds_until({place.name: place.look for place in places_of(service, problem)}, began, limit)


def until_clean(
    service: Service, problem: Problem, is_sent: Callable[[], bool], began: float
) -> Mapping[str, float | None]:
    conditions = {place.name: place.is_clean for place in places_of(service, problem)}
    return seconds_until({**conditions, "the email is sent": is_sent}, began, MAX_CLEAN_SECONDS)


def wrong_password(checkout: Path, folder: Path, certificate: str, limit: float) -> Result:
    """Measure a password that the server refuses."""
    server = ScriptedServer(
        certificate=certificate,
        offers=("STARTTLS",),
        offers_in_tls=("AUTH PLAIN", "PIPELINING"),
        on={"AUTH": lambda line, nth: None if is_right(line) else "535 5.7.8 authentication failed"},
    )
    with server:
        url = f"smtp+tls://user:{{}}@localhost:{server.port}"
        service = Service(checkout, folder, EMAIL_URL=url.format(WRONG), SSL_CERT_FILE=certificate)
        prepare(service)
        with service.running():
            began = time.monotonic()
            service.post(EMAIL)
            shown = until_shown(service, PASSWORD, began, limit)
        service.environment["EMAIL_URL"] = url.format(RIGHT)
        began = time.monotonic()
        with service.running():
            clean = until_clean(service, PASSWORD, lambda: len(server.accepted) == len(RECIPIENTS), began)
        return Result(shown, clean, f"{len(server.accepted)} of {len(RECIPIENTS)} messages sent")


def is_right(line: bytes) -> bool:
    return base64.b64decode(line.split()[-1]).endswith(b"\0" + RIGHT.encode())


def prepare(service: Service) -> None:
    service.flask("init-db")
    service.flask("recipients", "add", *RECIPIENTS)


class WallClock:
    """The clock of all processes that run in `environment`."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "ahead"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}

    def set(self, ahead: int) -> None:
        """Set the clock ahead by so many seconds, also in processes that are running."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", ahead))


def wrong_clock(checkout: Path, folder: Path, library: Path, limit: float) -> Result:
    """Measure a clock that is set far ahead while the service runs, and set right afterwards."""
    clock = WallClock(folder, library)
    with ScriptedServer() as server:
        service = Service(checkout, folder, EMAIL_URL=f"smtp://127.0.0.1:{server.port}", **clock.environment)
        prepare(service)
        with service.running():
            for event_id, days in ((EMAIL, 29), (2, 200), (3, 300)):
                service.post(event_id, days * DAY)
            service.post(4)
            seconds_until({"sent": lambda: len(server.accepted) == len(RECIPIENTS)}, time.monotonic(), limit)
            began = time.monotonic()
            clock.set(STEP_DAYS * DAY)
            shown = until_shown(service, CLOCK, began, limit)
            before = len(server.accepted)
            early = before - len(RECIPIENTS)
            began = time.monotonic()
            clock.set(0)
            service.post(int(CLOCK.sent))
            clean = until_clean(service, CLOCK, lambda: len(server.accepted) > before, began)
    return Result(shown, clean, f"{early} messages sent too early")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a checkout of another commit")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds after which a place counts as silent")
    options = parser.parse_args()
    checkouts = [PROJECT, *([options.against.resolve()] if options.against else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_machine(folder)
        certificate, library = create_certificate(folder), compile_wall_clock(folder)
        password = partial(wrong_password, certificate=certificate, limit=options.limit)
        print_results("A password that is refused", checkouts, in_parallel(password, checkouts, folder / "password"))
        clock = partial(wrong_clock, library=library, limit=options.limit)
        title = f"A clock set {STEP_DAYS} days ahead"
        print_results(title, checkouts, in_parallel(clock, checkouts, folder / "clock"))
    return 0


def compile_wall_clock(folder: Path) -> Path:
    library = folder / "wall_clock.so"
    source = BENCH / "support" / "wall_clock.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def in_parallel(run: Callable[..., Result], checkouts: list[Path], folder: Path) -> list[Result]:
    """Measure all checkouts at the same time, each in a folder of its own."""
    folders = [folder / str(number) for number in range(len(checkouts))]
    for made in folders:
        made.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(run, checkouts, folders))


def print_results(title: str, checkouts: list[Path], results: list[Result]) -> None:
    print(f"\n{title}: seconds until a place shows it, and until it is clean again")
    print(f"{'':22}" + "".join(f"{str(checkout)[-24:]:>26}" for checkout in checkouts))
    for place in results[0].clean:  # this tree has every place
        cells = (f"{describe(result.shown, place):>15}{describe(result.clean, place):>11}" for result in results)
        print(f"{place:22}" + "".join(cells))
    print(f"{'':22}" + "".join(f"{result.sent:>26}" for result in results), flush=True)


def describe(seconds: Mapping[str, float | None], place: str) -> str:
    found = seconds.get(place, nan)
    return "never" if found is None else "-" if isnan(found) else f"{found:.1f}"


if __name__ == "__main__":
    sys.exit(main())
