"""Measure the sender with a distant server, and the cost of TLS, in whole `python task.py` processes.

First, it uses 100 connections to a server that replies to each group of commands after 20 ms, as over a network with
that round trip (every reply except the TCP handshake is delayed). At most one message per round trip is possible on
each connection. Then it alternates between plain SMTP and STARTTLS, on 32 connections without delay. The certificate
(RSA 2048) is verified. The server is bench/support/delaying_sink.py in its own process. Its load is printed, because a
busy server hides the cost of TLS. Needs openssl.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders.ours import Ours, settings_for
from support.measured import BENCH, TASK, Cost, cost, fresh_copy, paired_ratio, print_machine, spread

BUSY = 0.9  # of its core: above this, the server is the bottleneck


class Run(NamedTuple):
    cost: Cost
    messages: int
    server_cpu: float  # seconds
    connections: int  # the most at once
    late: float  # average extra delay of the replies, in milliseconds

    @property
    def rate(self) -> float:
        return self.messages / self.cost.seconds

    @property
    def server_busy(self) -> float:
        return self.server_cpu / self.cost.seconds


def main() -> int:
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_machine(folder)
        far_away(folder, options)
        tls(folder, options)
        print_machine(folder)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-trip", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 100])
    parser.add_argument("--seconds", type=float, default=10, help="about this long for each number of connections")
    parser.add_argument("--messages", type=int, default=50_000, help="for plain and STARTTLS")
    return parser.parse_args()


def far_away(folder: Path, options: argparse.Namespace) -> None:
    print(
        f"\nRound trip {options.round_trip * 1000:.0f} ms: messages/s, median of {options.rounds} (lowest to highest)"
    )
    for connections in options.connections:
        most = connections / options.round_trip
        messages = int(most * options.seconds)
        template = prepared(folder / f"far-{connections}", messages)
        runs = [
            run(template, messages, connections, ["--delay", str(options.round_trip)]) for _ in range(options.rounds)
        ]
        rates = [run.rate for run in runs]
        late = statistics.median(one.late for one in runs)
        print(
            f"{connections:4} connections: {spread(rates)}; limit (one message per round trip on each): {most:,.0f}; "
            f"the server's replies were {late:.1f} ms late; it had {max(one.connections for one in runs)} connections",
            flush=True,
        )
        warn_if_busy(runs)


def tls(folder: Path, options: argparse.Namespace) -> None:
    """Measure plain and STARTTLS in alternation."""
    certificate = make_certificate(folder)
    template = prepared(folder / "near", options.messages)
    plain, encrypted = [], []
    for _ in range(options.rounds):
        plain.append(run(template, options.messages, 32, []))
        encrypted.append(run(template, options.messages, 32, ["--certificate", str(certificate)], certificate))
    print(f"\n{options.messages:,} messages, 32 connections, medians of {options.rounds} rounds in turn")
    show("plain", plain)
    show("STARTTLS", encrypted)
    rates = paired_ratio([one.rate for one in encrypted], [one.rate for one in plain])
    cpu = paired_ratio([one.cost.cpu for one in plain], [one.cost.cpu for one in encrypted])
    print(f"STARTTLS / plain: {rates:.2f}; by the sender's CPU alone {cpu:.2f}")


def show(name: str, runs: Sequence[Run]) -> None:
    cpu, server_cpu, peak = (
        statistics.median(column)
        for column in zip(*((one.cost.cpu, one.server_cpu, one.cost.peak) for one in runs), strict=True)
    )
    each = 1e6 / runs[0].messages
    print(
        f"{name:9} {spread([one.rate for one in runs])} messages/s; CPU {cpu * each:.1f} us a message, "
        f"the server's {server_cpu * each:.1f}; peak {peak:.0f} MiB"
    )
    warn_if_busy(runs)


def warn_if_busy(runs: Sequence[Run]) -> None:
    busy = statistics.median(one.server_busy for one in runs)
    if busy > BUSY:
        print(f"     the server was {busy:.0%} busy, so it limits the rate, not the sender")


def prepared(template: Path, messages: int) -> Path:
    """Return an installation with one due email."""
    template.mkdir()
    Ours(0).prepare(template, messages)
    return template


def run(
    template: Path, messages: int, connections: int, arguments: Sequence[str], certificate: Path | None = None
) -> Run:
    """Run one process against its own server, which must receive every message."""
    place = template.with_name("run")
    fresh_copy(template, place)
    command = [sys.executable, str(BENCH / "support" / "delaying_sink.py"), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        spent = cost(TASK, environment(place, port, connections, certificate))
        told, _ = server.communicate()
    taken, cpu, most, _, late = told.split()
    if int(taken) != messages:
        raise SystemExit(f"the server took {taken} of {messages} messages")
    return Run(spent, messages, float(cpu), int(most), float(late))


def environment(place: Path, port: int, connections: int, certificate: Path | None) -> Mapping[str, str]:
    if certificate is None:
        return settings_for(place, port, connections)
    trusted = {"SSL_CERT_FILE": str(certificate)}
    return trusted | settings_for(place, port, connections, scheme="smtp+tls")


def make_certificate(folder: Path) -> Path:
    """Create a file with a key and a self-signed certificate for 127.0.0.1."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    request += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, stderr=subprocess.DEVNULL)
    with certificate.open("a") as file:
        file.write(key.read_text())
    return certificate


if __name__ == "__main__":
    sys.exit(main())
