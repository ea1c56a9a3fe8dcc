"""The speed of the sender, compared with other programs: whole processes, in alternation, into one `smtp-sink`.

Ours is `python task.py` from its start to its exit: for one email to all recipients, it creates, claims, renders, sends
and records the deliveries with `synchronous=FULL`. bench/contenders/ describes the others. All send the same body of
1 KB. Ours adds the most headers, 300 octets. `times` is the rate of task.py with 32 connections, divided by the rate of
the other.

Needs Debian's packages postfix and postgresql. The packages in bench/requirements.txt are installed into a temporary
venv, unless `--python` names a Python that has them.

With --profile, only ours runs, under cProfile. For the parts in C:

    python bench/sender_speed.py --only ours-32 --rounds 1 --under 'perf record -g -o /tmp/perf.data'
    perf report -i /tmp/perf.data --no-children --sort dso,symbol
"""

from __future__ import annotations

import argparse
import pstats
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import Contender
from contenders.aiosmtplib_pool import AiosmtplibPool
from contenders.on_postgresql import OnPostgreSQL
from contenders.ours import Ours
from contenders.post_office import PostOffice
from contenders.smtp_source import SmtpSource
from contenders.smtplib_script import SmtplibScript
from support.measured import BENCH, Sink, cost, fresh_copy, paired_ratio, print_machine, smtp_sink

REFERENCE, OURS = SmtpSource(), Ours(32)
CONTENDERS: Sequence[Contender] = (
    REFERENCE,
    Ours(8),
    OURS,
    Ours(32, links=True),
    Ours(100),
    OnPostgreSQL(32),
    OnPostgreSQL(100),
    *(SmtplibScript(threads) for threads in (1, 4)),
    AiosmtplibPool(),
    PostOffice(),
)
PROFILE_LINES = 30


class Run(NamedTuple):
    rate: float  # messages a second
    cpu: float  # microseconds a message, in the sending process
    sink_cpu: float  # the same, in smtp-sink
    peak: float  # MiB


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as name, smtp_sink() as sink:
        folder = Path(name)
        if options.profile:
            return profile(options, folder, sink)
        chosen = [contender for contender in CONTENDERS if contender.key in (options.only or contender.key)]
        pairs = {}
        if options.against:
            pairs = {before: now for now in chosen if (before := of_checkout(now, options.against.resolve()))}
            chosen = [*pairs, *pairs.values()]
        give_packages(chosen, options.python, folder)
        print_machine(folder)
        measured = measure(chosen, options, folder, sink)
        print_table(measured, options)
        print_pairs(pairs, measured)
        print_machine(folder)
    return None


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [contender.key for contender in CONTENDERS]
    parser.add_argument("--only", nargs="+", choices=keys, metavar="NAME", help=f"of {', '.join(keys)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--slow-messages", type=int, default=5_000, help="for all but ours and smtp-source")
    parser.add_argument("--python", help="a Python with bench/requirements.txt, instead of a temporary venv")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, to compare ours with in each round")
    parser.add_argument("--under", default="", help="a command to run ours under, such as 'strace -fc'")
    parser.add_argument("--profile", action="store_true", help="ours with 32 connections under cProfile")
    return parser.parse_args()


def of_checkout(contender: Contender, checkout: Path) -> Contender | None:
    """Return the same contender at another commit, or None if it is not ours."""
    if isinstance(contender, Ours):
        return contender.of_checkout(checkout)
    return None


def give_packages(chosen: Sequence[Contender], python: str | None, folder: Path) -> None:
    """Create the venv if a contender needs one."""
    needing = [contender for contender in chosen if contender.needs_packages]
    if needing and not python:
        python = f"{folder}/venv/bin/python"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", BENCH / "requirements.txt"], check=True)
    for contender in needing:
        contender.python = python or sys.executable


def measure(
    chosen: Sequence[Contender], options: argparse.Namespace, folder: Path, sink: Sink
) -> Mapping[Contender, list[Run]]:
    """Prepare all contenders, then run each in every round."""
    for contender in chosen:
        prepare(contender, folder, messages_of(contender, options))
    measured: dict[Contender, list[Run]] = {contender: [] for contender in chosen}
    for _ in range(options.rounds):
        for contender in chosen:
            under = shlex.split(options.under) if isinstance(contender, Ours) else []
            measured[contender].append(run(contender, folder, sink, messages_of(contender, options), under))
    return measured


def messages_of(contender: Contender, options: argparse.Namespace) -> int:
    return int(options.slow_messages if contender.slow else options.messages)


def prepare(contender: Contender, folder: Path, messages: int) -> None:
    """Create what each run of this contender starts with, in a folder with its name."""
    (folder / contender.key).mkdir()
    contender.prepare(folder / contender.key, messages)


def run(contender: Contender, folder: Path, sink: Sink, messages: int, under: Sequence[str] = ()) -> Run:
    """Run one process. Return its figures, if everything was sent."""
    place = folder / "run"
    fresh_copy(folder / contender.key, place)
    before = sink.cpu()
    environment = contender.environment(place, sink.port)
    spent = cost([*under, *contender.command(place, sink.port, messages)], environment)
    sink_cpu = sink.cpu() - before
    contender.check(place, messages)
    return Run(messages / spent.seconds, spent.cpu * 1e6 / messages, sink_cpu * 1e6 / messages, spent.peak)


def print_table(measured: Mapping[Contender, Sequence[Run]], options: argparse.Namespace) -> None:
    print(
        f"\n{options.messages:,} messages of 1 KB ({options.slow_messages:,} for the slow ones); "
        f"medians of {options.rounds} rounds in turn, ratios within each round"
    )
    heads = f"{'messages/s':>11}{'ratio':>7}{'times':>7}{'CPU us':>8}{'sink us':>8}{'MiB':>6}"
    print(f"{'':36}{heads}   lowest to highest")
    ours = measured.get(OURS)
    for contender, runs in measured.items():
        rate, cpu, sink_cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        rates = [run.rate for run in runs]
        print(
            f"{contender.name:36}{rate:11,.0f}{ratio(runs, measured.get(REFERENCE)):>7}{ratio(ours, runs):>7}"
            f"{cpu:8.1f}{sink_cpu:8.1f}{peak:6.0f}   {min(rates):,.0f} to {max(rates):,.0f}"
        )


def print_pairs(pairs: Mapping[Contender, Contender], measured: Mapping[Contender, Sequence[Run]]) -> None:
    """Print how ours compares with another commit, in the same rounds."""
    for before, now in pairs.items():
        pair = measured[now], measured[before]
        rate = paired_ratio(*([run.rate for run in runs] for runs in pair))
        cpu = paired_ratio(*([run.cpu for run in runs] for runs in pair))
        print(f"{now.name} / before: rate {rate:.3f}, CPU {cpu:.3f}")


def ratio(these: Sequence[Run] | None, those: Sequence[Run] | None) -> str:
    """Return the ratio of the rates in each round."""
    if these is None or those is None:
        return "-"
    return f"{paired_ratio([run.rate for run in these], [run.rate for run in those]):.2f}"


def profile(options: argparse.Namespace, folder: Path, sink: Sink) -> None:
    """Run ours once under cProfile, which makes it slower, and print where the time went."""
    ours, file = OURS, folder / "profile"
    prepare(ours, folder, options.messages)
    place = folder / "run"
    fresh_copy(folder / ours.key, place)
    python, *script = ours.command(place, sink.port, options.messages)
    spent = cost([python, "-m", "cProfile", "-o", str(file), *script], ours.environment(place, sink.port))
    print(f"{options.messages:,} messages under cProfile: {spent.seconds:.1f} s, of which CPU {spent.cpu:.1f} s")
    pstats.Stats(str(file)).strip_dirs().sort_stats("tottime").print_stats(PROFILE_LINES)
    print("cProfile does not see into C. For that:" + (__doc__ or "").partition("in C:")[2])


if __name__ == "__main__":
    main()
