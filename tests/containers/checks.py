"""Check what the docs promise about the image and the containers."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from tests.containers.compose import Compose
from tests.containers.podman import PROJECT, Failure, Podman, expect, run, wait_until

PARTS = ("database", "web", "watcher", "redis", "worker", "scheduler")
PROGRAM = "/srv/email-endpoint"
IN_MEMORY = {"proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2"}
FILES_OF_PODMAN = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"}  # only for root
RECIPIENT = "ada@example.com"


def post_and_wait(compose: Compose) -> None:
    """POST an email that is due in two seconds, as a program behind the proxy does, and wait for its message."""
    event_id = time.time_ns() // 1_000_000
    due = datetime.now(UTC) + timedelta(seconds=2)
    fields = {
        "event_id": event_id,
        "email_subject": f"Containers {event_id}",
        "email_content": "Sent by a container.",
        "timestamp": f"{due:%Y-%m-%d %H:%M:%S}",
    }
    headers = {
        "Authorization": f"Bearer {compose.token}",
        "Host": "mail.example.com",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "mail.example.com",
        "X-Forwarded-Proto": "https",
    }
    request = Request(f"http://127.0.0.1:{compose.port}/send-emails", urlencode(fields).encode(), headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
            body = answer.read().decode()
    except HTTPError as error:
        raise Failure(f"POST: {error.code} {error.read().decode()}") from error
    except URLError as error:
        raise Failure(f"POST: {error}") from error
    expect(body == "Successful", f"POST: {body}")
    arrived = re.compile(rf"^Subject: Containers {event_id}$.*^DELIVERED TO {RECIPIENT}$", re.MULTILINE | re.DOTALL)
    parts = ("web", "watcher", "worker", "scheduler", "mail")
    wait_until(
        lambda: arrived.search(compose.logs("mail")),
        60,
        lambda: "no message came\n" + "\n".join(map(compose.logs, parts)),
    )


def check_image(podman: Podman) -> None:
    """Check what the image contains, and what it does not contain."""
    command = ["run", "--rm", "--network=none", "email-endpoint", "python", "-c"]
    podman(*command, "import flask, granian, psycopg, redis, rq, rq_scheduler.scripts.rqscheduler")
    for module in ("freezegun", "pip", "setuptools", "pytest"):
        expect(podman.status(*command, f"import {module}") != 0, f"{module} is in the image")
    files = {*podman(*command, "import os; print(*os.listdir())").split()}
    expect("email_app.py" in files, f"the image has only {files}")
    expect(not files & {"tests", ".git", ".env", ".venv", "docs"}, f"the image has {files}")
    (image,) = json.loads(podman("image", "inspect", "email-endpoint"))
    expect(image["Config"]["User"] == "10001:10001", "the image runs as root")
    expect("serving.health_check" in json.dumps(image), "the image has no health check")


def check_image_alone(podman: Podman) -> None:
    """The image works as `docker run` starts it, on a read-only root file system, and sends into its volume."""
    name = "alone"
    podman("run", "-d", "--name", name, "--network=none", "--read-only", "--read-only-tmpfs=false", "email-endpoint")
    wait_until(lambda: podman.status("healthcheck", "run", name) == 0, 60, lambda: podman("logs", name))
    save = "; ".join(
        (
            "import urllib.parse, urllib.request",
            f"form = dict(event_id=1, email_subject='s', email_content='c', timestamp='{datetime.now(UTC):%F %T}')",
            "body = urllib.parse.urlencode(form).encode()",
            "print(urllib.request.urlopen('http://127.0.0.1:5000/send-emails', body).read().decode())",
        )
    )
    podman("exec", name, "flask", "init-db")
    podman("exec", name, "flask", "recipients", "add", RECIPIENT)
    expect("Successful" in podman("exec", "-e", "TIMEZONE=UTC", name, "python", "-c", save), "the POST is refused")
    podman("exec", "-e", "TIMEZONE=UTC", name, "python", "task.py")
    expect(podman("exec", name, "ls", "/data/outbox/new").split(), "there is no message in the Maildir")
    podman.remove(name)


def check_sbom() -> None:
    """The SBOM lists every pinned package of the service with its version."""
    listed = {
        f"{component['name'].lower().replace('_', '-')}=={component['version']}"
        for component in json.loads(run(PROJECT / "deploy" / "sbom.sh", sys.executable))["components"]
    }
    pinned = re.findall(r"^([a-z0-9.-]+==\S+) \\$", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
    expect(len(pinned) > 20 and {*pinned} <= listed, f"the list has no { ({*pinned} - listed) }")


def check_confinement(compose: Compose, part: str) -> None:
    """No process runs as root or has a capability, and only the data and memory are writable."""
    users = compose.podman("top", compose.name(part), "huser").split()[1:]
    expect(not {"root", "0"} & {*users}, f"{part} runs as root")
    status = compose.run_in(part, "cat", "/proc/self/status")
    expect("CapEff:\t0000000000000000" in status, f"{part} has capabilities\n{status}")
    expect("NoNewPrivs:\t1" in status, f"{part} may gain rights\n{status}")
    limits = compose.inspect(part)["HostConfig"]
    expect(limits["Memory"] and limits["PidsLimit"], f"{part} has no limits")
    check_mounts(compose, part)


def check_mounts(compose: Compose, part: str) -> None:
    """The root file system of a part is read-only, and its data can be written."""
    data = "/var/lib/postgresql/data" if part == "database" else "/data"
    mounts = [line.split()[1:4] for line in compose.run_in(part, "cat", "/proc/self/mounts").splitlines()]
    writable = {place for place, kind, options in mounts if "rw" in options.split(",") and kind not in IN_MEMORY}
    expect(writable - FILES_OF_PODMAN == {data}, f"{part} can write to {writable}")
    compose.run_in(part, "sh", "-c", f"echo x >{data}/probe && rm {data}/probe")
    program = ["exec", compose.name(part), "sh", "-c", f"echo x >>{PROGRAM}/task.py"]
    expect(compose.podman.status(*program) != 0, f"{part} can change the program")


def check_that_redis_needs_a_password(compose: Compose) -> None:
    """Without REDIS_PASSWORD, `docker compose up` with Redis names what is missing."""
    compose("up", "-d", "--no-deps", "redis")
    said = "set REDIS_PASSWORD in deploy/.env"
    wait_until(lambda: said in compose.logs("redis"), 30, lambda: f"Redis says nothing\n{compose.logs('redis')}")
    compose.podman.remove(compose.name("redis"))


def check_that_redis_asks_for_the_password(compose: Compose) -> None:
    """A client without the password is refused, and the process list does not show the password."""
    answer = compose.run_in("redis", "env", "-u", "REDISCLI_AUTH", "redis-cli", "ping")
    expect("NOAUTH" in answer, f"Redis answers without a password: {answer}")
    processes = compose.podman("top", compose.name("redis"), "args")
    expect("redis-server" in processes and compose.setting("REDIS_PASSWORD") not in processes, processes)


def check_that_a_hanging_part_is_unhealthy(compose: Compose) -> None:
    """A web server or scheduler whose processes are stopped becomes unhealthy."""
    for part in ("web", "scheduler"):
        name = compose.name(part)
        compose.run_in(part, "python", "-c", "import os, signal; os.kill(-1, signal.SIGSTOP)")
        is_unhealthy = partial(compose.podman.status, "healthcheck", "run", name)
        wait_until(is_unhealthy, 60, partial(str, f"{part} hangs and is healthy"))
        compose.run_in(part, "python", "-c", "import os, signal; os.kill(-1, signal.SIGCONT)")


def check_stop(compose: Compose) -> None:
    """Each part exits in time after SIGTERM."""
    for part in PARTS[::-1]:
        compose.podman("stop", "-t", "60", compose.name(part))
        code = compose.inspect(part)["State"]["ExitCode"]
        expect(code in (0, 143), f"{part} ended with {code}\n{compose.logs(part)}")
