"""How fast the sender is, beside other ways to send: whole processes, in turn, into one `smtp-sink`.

    python bench/sender_speed.py [ROUNDS [MESSAGES]]

Ours is `python task.py` from its start to its exit: one email to MESSAGES recipients, 1 KB, deliveries made,
claimed, rendered, sent and recorded with `synchronous=FULL`. `smtp-source` is Postfix's own load generator, in C,
with 8 sessions, without a database and without a record of anything. Needs Debian's package postfix.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from installation import Installation

CONNECTIONS = (8, 32, 100)
SIZE = 1024
PATH = os.environ["PATH"] + ":/usr/sbin:/usr/lib/postfix/sbin"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    messages = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    with tempfile.TemporaryDirectory() as folder, smtp_sink() as port:
        template = prepared(Path(folder) / "template", messages)
        runs: dict[str, Callable[[], None]] = {
            "smtp-source -s 8": lambda: smtp_source(port, messages),
            **{f"ours, {n} connections": ours(template, port, n) for n in CONNECTIONS},
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                measured[name].append(timed(run, messages))
    print_table(measured, messages)


@contextmanager
def smtp_sink() -> Iterator[int]:
    """A server that takes everything, counting; the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    command = ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{port}", "1000"]
    sink = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={"PATH": PATH})
    try:
        time.sleep(0.5)
        yield port
    finally:
        sink.kill()
        sink.wait()


def prepared(folder: Path, messages: int) -> Installation:
    """An installation with one email that is due, to so many recipients."""
    folder.mkdir()
    template = Installation(folder)
    template.add_recipients(messages)
    template.save_email(1, content="x" * 70 + "\n" + ("y" * 70 + "\n") * (SIZE // 71 - 6))
    return template


def ours(template: Installation, port: int, connections: int) -> Callable[[], None]:
    """A run of `task.py` on a fresh copy of the template; copying is not timed."""

    def run() -> None:
        if subprocess.run([sys.executable, "task.py"], cwd=template_root(), env=environment).returncode:
            raise SystemExit("task.py failed")

    folder = template.folder.parent / f"run-{connections}"
    environment = template.environment | {
        "DATABASE_URL": f"sqlite:///{folder}/email.db",
        "TASKLOG": f"{folder}/tasklog.log",
        "EMAIL_URL": f"smtp://127.0.0.1:{port}",
        "SMTP_CONNECTIONS": str(connections),
        "SMTP_MESSAGES_PER_CONNECTION": "0",
    }

    def fresh_run() -> None:
        run()

    fresh_run.prepare = lambda: copy(template.folder, folder)  # type: ignore[attr-defined]
    return fresh_run


def template_root() -> Path:
    return Path(__file__).resolve().parent.parent


def copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    os.sync()


def smtp_source(port: int, messages: int) -> None:
    command = ["smtp-source", "-d", "-s", "8", "-l", str(SIZE), "-m", str(messages), f"127.0.0.1:{port}"]
    subprocess.run(command, check=True, env={"PATH": PATH})


def timed(run: Callable[[], None], messages: int) -> tuple[float, float]:
    """Messages a second, and microseconds of CPU for each in the sending process."""
    getattr(run, "prepare", lambda: None)()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return messages / took, cpu * 1e6 / messages


def print_table(measured: dict[str, list[tuple[float, float]]], messages: int) -> None:
    reference = [rate for rate, _ in next(iter(measured.values()))]
    print(f"{messages:,} messages of {SIZE} octets; medians of {len(reference)} rounds in turn")
    print(f"{'':24} {'messages/s':>10} {'ratio':>6} {'CPU us':>7}   lowest to highest")
    for name, runs in measured.items():
        rates = [rate for rate, _ in runs]
        ratio = statistics.median(rate / other for rate, other in zip(rates, reference, strict=True))
        cpu = statistics.median(cpu for _, cpu in runs)
        print(
            f"{name:24} {statistics.median(rates):10,.0f} {ratio:6.2f} {cpu:7.1f}   "
            f"{min(rates):,.0f} to {max(rates):,.0f}"
        )


if __name__ == "__main__":
    main()
