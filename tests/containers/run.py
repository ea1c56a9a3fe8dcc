"""Builds the image and runs deploy/compose.yaml for real, with Debian's podman: `./run_tests.sh --containers`.

No image is downloaded. The base images are built here from Debian's packages, under the names that deploy/ uses
(tests/containers/images). Images, volumes, networks and settings are all in one folder. Nothing is left
behind, and the machine's own podman is not touched.

Needs root on a machine that allows mounts, network namespaces and packet filters. Any failure ends the program with
exit status 1 and the reason.
"""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.containers import checks
from tests.containers.checks import PARTS, RECIPIENT
from tests.containers.compose import Compose
from tests.containers.machine import check_installation, check_sandbox, check_stop, running_machine
from tests.containers.podman import Failure, Podman, build_base_images, expect, own_folder

STEPS: list[str] = []  # that were started


def main() -> int:
    """Run everything; return the exit code."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up, too
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(own_folder())
            podman = Podman(folder, stack)
            with step("build the base images from Debian's packages"):
                build_base_images(podman, folder)
            check(Compose(podman, folder))
            check_units(podman, folder)
            with step("deploy/sbom.sh lists the packages"):
                checks.check_sbom()
    except Failure as failure:
        print(f"\nFAILED: {failure}", flush=True)
        return 1
    print(f"\nThe containers work ({time.monotonic() - began:.0f} s).\n{len(STEPS)} passed, 0 failed", flush=True)
    return 0


def check(compose: Compose) -> None:
    """Check what the docs promise about the containers, in the order in which an operator uses them."""
    with step("build the image"):
        compose("build", "web")
        checks.check_image(compose.podman)
    with step("run the image alone: SQLite, a Maildir, no setting"):
        checks.check_image_alone(compose.podman)
    with step("start the service"):
        compose.start("database", "web", "watcher", "mail")
    with step("an email that is POSTed reaches the mail server"):
        compose.run_in("web", "flask", "recipients", "add", RECIPIENT)
        checks.post_and_wait(compose)
    with step("without a password, Redis does not start"):
        checks.check_that_redis_needs_a_password(compose)
    with step("add Redis, and stop the watcher"):
        compose.set(SCHEDULER="rq-scheduler", REDIS_PASSWORD=secrets.token_hex(24))
        compose("stop", "watcher")
        compose.start("redis", "web", "worker", "scheduler")
    with step("an email that is POSTed reaches the mail server through Redis"):
        checks.post_and_wait(compose)
        checks.check_that_redis_asks_for_the_password(compose)
    with step("start the watcher again"):
        compose.start("watcher")
    for part in PARTS:
        with step(f"{part}: healthy, not root, nothing writable but its data"):
            compose.wait_until_healthy(part)
            checks.check_confinement(compose, part)
    with step("a part that hangs is unhealthy"):
        checks.check_that_a_hanging_part_is_unhealthy(compose)
    with step("stop everything; nothing had to be killed"):
        checks.check_stop(compose)
    with step("start again: the data is still there"):
        compose.start("database", "web")
        expect(RECIPIENT in compose.run_in("web", "flask", "recipients", "list"), "the recipient is gone")


def check_units(podman: Podman, folder: Path) -> None:
    """Check what the docs promise about the systemd units."""
    with ExitStack() as stack:
        with step("start a machine with systemd"):
            machine = stack.enter_context(running_machine(podman, folder))
        with step("install the service as docs/deploy.md says; it sends an email"):
            check_installation(machine)
        with step("the services can write only to their data, and stop on request"):
            check_sandbox(machine)
            check_stop(machine)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a step and how long it took."""
    print(f"== {title}", flush=True)
    STEPS.append(title)
    began = time.monotonic()
    yield
    print(f"   {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
