"""The web part: granian, a production WSGI server, and what each of its worker processes runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

import email_app
from settings import load_settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

THREADS = 16  # of each worker; more made no request faster
FINISH = 60  # seconds that requests in flight get once the server is told to stop


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM, then finish the requests in flight."""
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
        workers_kill_timeout=FINISH,
        log_level=LogLevels.error,
    ).serve()


def create_app() -> WSGIApplication:
    """The application, in a worker that ends when granian's main process is no more."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    return in_one_piece(email_app.create_app())


def in_one_piece(app: WSGIApplication) -> WSGIApplication:
    """`app`, with each body of known length as a list: granian hands on all else part by part, at twice the cost."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        lengths: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            lengths.extend(value for name, value in headers if name == "Content-Length")
            return start_response(status, headers, *failure)

        body = app(environ, start)
        if not lengths:
            return body
        try:
            return list(body)
        finally:
            if hasattr(body, "close"):
                body.close()

    return answer


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
