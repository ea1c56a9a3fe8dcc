"""Code that the benchmarks of the sender share: measuring processes, `smtp-sink`, and a description of the machine."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

BENCH = Path(__file__).resolve().parent.parent
PROJECT = BENCH.parent
TASK = [sys.executable, str(PROJECT / "task.py")]
PATH = os.environ["PATH"] + ":/usr/sbin"  # smtp-sink and smtp-source
TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """The cost of one process, from its start to its exit."""

    seconds: float
    cpu: float  # seconds, user and system
    peak: float  # MiB of memory


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command, and return its cost. Raise SystemExit if it fails."""
    launch = [sys.executable, "-IS", str(BENCH / "support" / "launch.py"), *command]
    environment = {"PATH": PATH, "HOME": os.environ.get("HOME", "/"), **environment}
    told = subprocess.run(launch, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, cpu, peak, code = told.split()
    if code != "0":
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return Cost(float(seconds), float(cpu), int(peak) / 1024)


class Sink(NamedTuple):
    """A running `smtp-sink`."""

    port: int
    process_id: int

    def cpu(self) -> float:
        """Return the CPU seconds that a process has used so far."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """Start Postfix's smtp-sink, which accepts and counts everything (Debian's package postfix)."""
    if not shutil.which("smtp-sink", path=PATH):
        raise SystemExit("smtp-sink is missing: install Debian's package postfix")
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["smtp-sink", *user, "-c", "-m", "1000", f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={"PATH": PATH})
    try:
        wait_for(port)
        yield Sink(port, process.pid)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def fresh_copy(source: Path, target: Path) -> None:
    """Replace a folder with a copy of another, and sync it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    os.sync()


def print_machine(folder: Path) -> None:
    """Print what the figures depend on. If it differs before and after, something else was using the machine."""
    print(
        f"{os.cpu_count()} CPUs, {_processor()}; Linux {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {_sqlite()}; load {os.getloadavg()[0]:.1f}; 1,000,000 turns of a loop "
        f"{_loop() * 1000:.0f} ms; fdatasync {_sync(folder) * 1e6:.0f} us",
        flush=True,
    )


def _sqlite() -> str:
    """Return the SQLite version that the program uses, which is pysqlite3's if that is installed."""
    try:
        driver = import_module("pysqlite3.dbapi2")
    except ImportError:
        driver = import_module("sqlite3")
    return str(driver.sqlite_version)


def _loop() -> float:
    began = time.perf_counter()
    for _ in range(1_000_000):
        pass
    return time.perf_counter() - began


def _sync(folder: Path) -> float:
    """Return the median of 100 syncs, each after writing a page."""
    times = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(int(len(values) * percent / 100), len(values) - 1)] if values else float("nan")


def paired_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(this / that for this, that in zip(these, those, strict=True))


def spread(values: Sequence[float]) -> str:
    """Return `median (lowest to highest)`."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
