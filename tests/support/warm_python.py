"""Run Python programs as separate processes, without the tenth of a second that each takes to start and import.

`start` forks the program from a server process that has already loaded this project's modules. Run as a program, this
module is that server. The forked process runs a script (or `-m` or `-c`) as `__main__`, in the given environment.

Do not use it for a program that patches a module before others import it, or to test how a program starts.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).resolve().parents[2]
LOADED = ("storage", "delivery", "sender", "commands", "web")  # not email_app: importing it reads the settings
TRACER = "TracerPid:\t"


def is_readable(line: socket.socket | int, timeout: float | None) -> bool:
    """Wait for something to read. Unlike select, poll takes any descriptor: a test session may have over a thousand."""
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


class ForkedProcess(subprocess.Popen[str]):
    """A process that `start` started. It offers what `Popen` does, except pipes."""

    _child_created = False  # this process is not its parent

    def __init__(self, command: Sequence[str], line: socket.socket, output: Sequence[IO[bytes]]) -> None:
        self.args = command
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._line = line
        self._output = output
        self._said = ["", ""]
        self.pid = int(line.recv(20))

    def __del__(self) -> None:
        self._close()

    def poll(self) -> int | None:
        if self.returncode is None and is_readable(self._line, 0):
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not is_readable(self._line, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._end()
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        stdout, stderr = self._said
        return stdout, stderr

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _end(self) -> None:
        self.returncode = int(self._line.recv(20))
        for number, file in enumerate(self._output):
            file.seek(0)
            self._said[number] = file.read().decode()
        self._close()

    def _close(self) -> None:
        self._line.close()
        for file in self._output:
            file.close()


def start(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: str = "/", traced: bool = False
) -> ForkedProcess:
    """Start `command`; its first word is the interpreter. With `traced`, it waits for a tracer first."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    output = [os.fdopen(os.memfd_create(name), "w+b") for name in ("stdout", "stderr")]
    request = json.dumps([list(command[1:]), dict(environment), cwd, traced]).encode()
    with far:
        socket.send_fds(_server(), [request], [*(file.fileno() for file in output), far.fileno()])
    return ForkedProcess(command, near, output)


@cache
def _server() -> socket.socket:
    """Start the server process, and return the socket to it. It exits when this process does."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "tests.support.warm_python"]  # as a script, it would find `web` in its folder
        server = subprocess.Popen(command, stdin=far.fileno(), stdout=subprocess.DEVNULL, env=environment, cwd="/")

    def end() -> None:
        near.close()
        server.wait()

    atexit.register(end)
    return near


class Ending:
    """Skip the last step of Python's exit, which frees all modules: it would copy the memory shared since the fork."""

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._end)  # registered first, so it runs last

    def _end(self) -> None:
        gc.collect()  # as Python's exit does; this closes databases
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


def main() -> None:
    """Load all modules and fork for each request. In the forked process, run the requested program."""
    for name in _modules(LOADED):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    command, traced = _serve(socket.socket(fileno=0))
    if traced:
        _wait_for_tracer()
    ending = Ending()
    try:
        _run(command)
    except SystemExit as exit:
        ending.code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise
    ending.code = 0


def _modules(packages: Iterable[str]) -> Iterable[str]:
    for package in packages:
        found = pkgutil.walk_packages([str(PROJECT / package)], f"{package}.")
        yield from (module.name for module in found if not module.name.endswith("__main__"))


def _serve(requests: socket.socket) -> tuple[list[str], bool]:
    """Fork for each request. Returns only in a forked process; exits when the request socket closes."""
    lines: dict[int, socket.socket] = {}
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([requests.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 1000)
            _report_ends(lines)
        if requests.fileno() in ready:
            request, descriptors, _, _ = socket.recv_fds(requests, 200_000, 3)
            if not request:
                os._exit(0)
            stdout, stderr, line = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (requests, *lines.values()):
                    each.detach()
                command, environment, cwd, traced = json.loads(request)
                _move_in(environment, cwd, stdout, stderr)
                return command, traced
            os.close(stdout)
            os.close(stderr)
            lines[pid] = socket.socket(fileno=line)
            lines[pid].send(b"%d" % pid)


def _report_ends(lines: dict[int, socket.socket]) -> None:
    while lines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with lines.pop(pid) as line, contextlib.suppress(OSError):  # no process waits for it any more
            line.send(b"%d" % os.waitstatus_to_exitcode(status))


def _move_in(environment: dict[str, str], cwd: str, stdout: int, stderr: int) -> None:
    """Set up streams, environment, folder and path as `Popen` would for a new process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, 1000)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))


def _wait_for_tracer() -> None:
    end = time.monotonic() + 20
    while f"{TRACER}0\n" in Path("/proc/self/status").read_text():
        if time.monotonic() > end:
            sys.exit("no tracer came")
        time.sleep(0.0005)
    time.sleep(0.005)  # so that the tracer can stop this process for the first time


def _run(command: list[str]) -> None:
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
