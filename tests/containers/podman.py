"""Podman on this machine, without systemd, with storage, networks and settings of its own in one folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
APT_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
BASE_IMAGES = {"python": "python:3.11-slim-bookworm", "postgres": "postgres:15", "redis": "redis:7"}
FOLDER = Path("/var/tmp/email-endpoint-containers")  # image layers need a real disk
ROOM_NEEDED = 6_000_000_000  # bytes

# What systemd would do for podman elsewhere: control groups, limits, logs.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class Failure(Exception):
    """The machine cannot run containers, or a check failed."""


class Podman:
    """Podman with storage, networks and settings of its own, which it removes when `stack` is closed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        driver = "overlay" if can_mount_overlay(folder) else "vfs"
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder, driver=driver))
        self.environ = environ_of(folder)
        print(f"{self('--version').strip()}, storage driver {driver}", flush=True)
        stack.callback(remove_containers, folder)

    def __call__(self, *arguments: str | Path, text: str = "") -> str:
        return run("podman", *arguments, environ=self.environ, text=text)

    def build(self, file: Path, tag: str, context: Path) -> None:
        """Build an image, with the network of this machine."""
        self("build", "--format=docker", "--layers=false", "--network=host", "-f", file, "-t", tag, context)

    def remove(self, name: str) -> None:
        """Remove a container and its volumes. Retries, because a container that is restarting cannot be removed."""
        command = ("rm", "-f", "-t", "60", "-v", name)
        wait_until(lambda: self.status(*command) == 0, 90, lambda: f"{name} cannot be removed")

    def status(self, *arguments: str) -> int:
        """Run a command that may fail; return its exit status."""
        return subprocess.run(["podman", *arguments], env=self.environ, capture_output=True).returncode


def environ_of(folder: Path) -> dict[str, str]:
    """Return an environment in which podman uses only this folder."""
    files = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
    return os.environ | {name: str(folder / file) for name, file in files.items()} | {"TMPDIR": str(folder)}


def remove_containers(folder: Path) -> None:
    """Stop and remove all containers and networks that use this folder."""
    # A container cannot be removed while it restarts.
    for command in (*[["rm", "-fa", "-t", "0"]] * 3, ["network", "prune", "-f"]):
        subprocess.run(["podman", *command], env=environ_of(folder), capture_output=True)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yield an empty folder, locked for this run. Leftovers of a killed run are removed first."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _empty(FOLDER)
        free = shutil.disk_usage(FOLDER).free
        if free < ROOM_NEEDED:
            raise Failure(f"{FOLDER.parent} has only {free / 1e9:.1f} GB left; {ROOM_NEEDED / 1e9:.0f} GB are needed")
        try:
            yield FOLDER
        finally:
            _empty(FOLDER)
            FOLDER.rmdir()


def _empty(folder: Path) -> None:
    if (folder / "storage.conf").exists():
        remove_containers(folder)
    _unmount_below(folder)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _unmount_below(folder: Path) -> None:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for place in sorted((line.split()[1] for line in lines), reverse=True):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False)


def can_mount_overlay(folder: Path) -> bool:
    """Return whether this machine can mount an overlay. Raises Failure if it cannot mount anything."""
    try:
        run("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "none", folder)
    except Failure as failure:
        raise Failure(
            f"this machine cannot run containers: no namespaces or mounts are allowed here\n{failure}"
        ) from None
    for name in ("lower", "upper", "work", "merged"):
        (folder / "overlay" / name).mkdir(parents=True)
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, "merged"]
    return subprocess.run(command, cwd=folder / "overlay", capture_output=True).returncode == 0


def build_base_images(podman: Podman, folder: Path) -> None:
    """Build a base image of Debian, and from it the images that deploy/ names."""
    archive, context = folder / "debian.tar", folder / "images"
    sources = next(path for path in APT_SOURCES if Path(path).exists())
    options = ("--variant=minbase", "--dpkgopt=force-unsafe-io", "--quiet")
    run("mmdebstrap", *options, "bookworm", archive, sources)
    podman("import", archive, "debian:bookworm-slim")
    archive.unlink()
    shutil.copytree(HERE / "images", context)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)
    for name, tag in BASE_IMAGES.items():
        podman.build(context / f"{name}.Dockerfile", tag, context)


def run(*command: str | Path, environ: dict[str, str] | None = None, text: str = "") -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(command, env=environ, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise Failure(f"exit status {done.returncode} of: {words}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def expect(condition: object, reason: str) -> None:
    """Raise Failure unless the condition holds."""
    if not condition:
        raise Failure(reason)


def wait_until(condition: Callable[[], object], seconds: float, reason: Callable[[], str]) -> None:
    """Raise Failure unless the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(reason())
        time.sleep(0.2)
