"""The web server: granian, a production WSGI server, and the application in each of its workers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress

from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

import email_app
from database import DBError
from serving.heartbeats import Heartbeats
from settings import load_settings
from web.body_limits import THREADS
from web.services import services_of, warm_up

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MAX_CONNECTIONS = 2_048  # per worker; the least active connections are closed before this number is reached
HEADER_TIMEOUT = 15_000  # milliseconds to receive the headers of a request, or until the next request on a connection
MAX_HEADERS = 65_536  # bytes
STOP_TIMEOUT = 60  # seconds for requests in flight when the server stops


_heartbeats: Heartbeats | None = None


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM, then finish the requests in flight. A worker that dies is replaced, unless it dies early."""
    if hasattr(os, "register_at_fork"):  # on Windows, workers are not copies of this process
        os.register_at_fork(before=_block_stop, after_in_parent=_unblock_stop, after_in_child=_may_be_stopped)
    _allow_descriptors(2 * MAX_CONNECTIONS)
    if sys.platform == "linux":
        global _heartbeats
        _heartbeats = Heartbeats()
        _heartbeats.watch()
    Granian(
        "serving.web_server:create_app",
        factory=True,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        address=host,
        port=port,
        workers=load_settings().web_workers,
        blocking_threads=THREADS,
        backlog=MAX_CONNECTIONS,
        backpressure=MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT, max_buffer_size=MAX_HEADERS),
        workers_kill_timeout=STOP_TIMEOUT,
        respawn_failed_workers=True,
        log_level=LogLevels.error,
    ).serve()


def _allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files, which is often 1,024. Each connection needs one."""
    if resource is not None:
        with suppress(OSError, ValueError):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            if soft < count:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def _block_stop() -> None:
    """Keep SIGTERM pending during a fork. A worker that is stopped right after it would lose the signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock_stop() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _may_be_stopped() -> None:
    """Let SIGTERM end a worker that is not serving yet. Otherwise granian makes it ignore the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock_stop()


def create_app() -> Flask:
    """Return the application of a worker. The worker exits when granian's main process dies."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    app = email_app.create_app()
    with suppress(DBError):  # each request reports the error
        warm_up(app)
    gc.freeze()  # otherwise each full collection walks through all imported modules, and requests wait
    if _heartbeats is not None:
        active = services_of(app).body_limits.active
        _heartbeats.beat(lambda: list(active), THREADS)
    return app


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
