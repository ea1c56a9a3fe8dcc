"""The web server: granian, a production WSGI server, and the application in each of its workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress

from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

import email_app
from database import DBError
from settings import load_settings
from web.services import warm_up

THREADS = 16  # per worker; more did not make any request faster
STOP_TIMEOUT = 60  # seconds for requests in flight when the server stops


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM, then finish the requests in flight. A worker that dies is replaced, unless it dies early."""
    if hasattr(os, "register_at_fork"):  # on Windows, workers are not copies of this process
        os.register_at_fork(after_in_child=_may_be_stopped)
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
        workers_kill_timeout=STOP_TIMEOUT,
        respawn_failed_workers=True,
        log_level=LogLevels.error,
    ).serve()


def _may_be_stopped() -> None:
    """Let SIGTERM end a worker that is not serving yet. Otherwise granian makes it ignore the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def create_app() -> Flask:
    """Return the application of a worker. The worker exits when granian's main process dies."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    app = email_app.create_app()
    with suppress(DBError):  # each request reports the error
        warm_up(app)
    return app


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
