"""The web part: granian, a production WSGI server, and what each of its worker processes runs."""

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

THREADS = 16  # of each worker; more made no request faster
STOP_TIMEOUT = 60  # seconds for requests in flight once the server is told to stop


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM, then finish the requests in flight. A worker that dies is replaced, unless at once again."""
    if hasattr(os, "register_at_fork"):  # elsewhere a worker is no copy of this process
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
    """Let SIGTERM end a worker that does not serve yet. Without this, granian makes it ignore the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def create_app() -> Flask:
    """The application, in a worker that ends when granian's main process is no more."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    app = email_app.create_app()
    with suppress(DBError):  # each request says so itself
        warm_up(app)
    return app


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
