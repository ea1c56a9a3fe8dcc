"""Import recipients in steps: upload a file, see a preview, watch the import, undo it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO

from flask import Blueprint, Response, current_app, flash, redirect, render_template, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from database import Import
from intake.recipients_csv import import_job
from intake.recipients_csv.format import BYTE_ORDER_MARK
from intake.text import printable
from monitoring.humanize import file_size
from web.declared_encoding import UTF_8, DeclaredEncodingError, declared_codec, decode_transfer
from web.errors import error_answer
from web.pages import etag
from web.services import current_settings, in_database

JOB_TIMEOUT = 1.5  # seconds to wait for a job, so that the page shows the result of a small file at once
MAX_NAME_LENGTH = 100
TRANSFER_ENCODED = ("quoted-printable", "base64")
NOT_THERE = "import not found (old ones are deleted)"
blueprint = Blueprint("imports", __name__)


@blueprint.get("/recipients/import")
def choose() -> AnyResponse:
    """Show the upload form and the most recent imports."""
    return Response(_form())


@blueprint.post("/recipients/import")
def upload() -> AnyResponse:
    """Store and read the file. If it is immediately rejected, show the form again with the reason."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return Response(_form("choose a file first"), 400)
    name = printable(file.filename, MAX_NAME_LENGTH).replace("\n", " ")
    if fault := _encoding_fault(file):
        return Response(_form(f"{name}: {fault}"), 400)
    import_id = in_database(lambda database: database.imports.create(name, _parts(file.stream), datetime.now(UTC)))
    _start(import_id, "read")
    import_ = _get(import_id)
    if import_ is not None and import_.status == "refused" and import_.invalid <= 1:
        in_database(lambda database: database.imports.discard(import_id))
        return Response(_form(f"{name}: {import_.error}"), 400)
    return redirect(f"/recipients/imports/{import_id}", 303)


@blueprint.get("/recipients/imports/<int:import_id>")
def show(import_id: int) -> AnyResponse:
    """Show the preview, the progress or the result of an import."""
    import_ = _get(import_id)
    if import_ is None:
        return error_answer(404, NOT_THERE)
    now = datetime.now(UTC)
    running, broken_off = import_.is_running(now), import_.is_broken_off(now)
    preview = json.loads(import_.preview or "{}")
    shown = {"import_": import_, "running": running, "broken_off": broken_off, "preview": preview}
    shown["max_listed"] = import_job.MAX_INVALID_LINES
    return etag.page("import.html", (import_._replace(heartbeat_at=import_.created_at), running), **shown)


@blueprint.get("/recipients/imports/<int:import_id>/bad-lines.csv")
def invalid_lines(import_id: int) -> AnyResponse:
    """Return the invalid lines and the reasons as CSV."""
    text = None if import_id >= 2**63 else in_database(lambda database: database.imports.invalid_lines(import_id))
    if text is None:
        return error_answer(404, NOT_THERE)
    response = Response(BYTE_ORDER_MARK + text.encode(), content_type="text/csv; charset=utf-8; header=present")
    response.headers["Content-Disposition"] = f'attachment; filename="bad-lines-{import_id}.csv"'
    return response


@blueprint.post("/recipients/imports/<int:import_id>/<any(read, import, undo):step>")
def begin(import_id: int, step: str) -> AnyResponse:
    """Start the next step, or repeat one that was interrupted. Safe to repeat."""
    now = datetime.now(UTC)
    if _get(import_id) is None:
        return error_answer(404, NOT_THERE)
    if in_database(lambda database: database.imports.begin(import_id, step, now)):
        _start(import_id, step)
    else:
        flash("Already in progress. See the status below.", "warning")
    return redirect(f"/recipients/imports/{import_id}", 303)


@blueprint.post("/recipients/imports/<int:import_id>/discard")
def discard(import_id: int) -> AnyResponse:
    """Delete a file that was not imported. Safe to repeat."""
    if import_id < 2**63 and in_database(lambda database: database.imports.discard(import_id)):
        flash("File discarded. Nothing was imported.")
        return redirect("/recipients/import", 303)
    if _get(import_id) is not None:
        flash("It is too late to discard this file. See the status below.", "warning")
        return redirect(f"/recipients/imports/{import_id}", 303)
    flash("This file was already discarded.", "warning")
    return redirect("/recipients/import", 303)


@blueprint.errorhandler(413)
def answer_too_large(_: RequestEntityTooLarge) -> AnyResponse:
    """Return 413 for a file larger than MAX_BODY, with the command that can import it."""
    return Response(_form("the file is too large to upload; run flask recipients import FILE on the server"), 413)


def _encoding_fault(file: FileStorage) -> str:
    """Return what is wrong with the encoding that the client declares. Browsers do not declare one."""
    try:
        codec = declared_codec(file.content_type or "")
        decode_transfer(b"", encodings := file.headers.getlist("Content-Transfer-Encoding"))
    except DeclaredEncodingError as error:
        return f"the file {error}"
    if codec not in (None, UTF_8, "ascii") or any(each.strip().lower() in TRANSFER_ENCODED for each in encodings):
        return "the browser declares an encoding other than UTF-8; save the file as UTF-8"
    return ""


def _form(error: str = "") -> str:
    recent = in_database(lambda database: database.imports.recent())
    return render_template("import_new.html", recent=recent, error=error, most=file_size(current_settings().max_body))


def _parts(stream: IO[bytes]) -> Iterator[bytes]:
    stream.seek(0)
    while part := stream.read(import_job.PART_BYTES):
        yield part


def _start(import_id: int, step: str) -> None:
    import_job.start(current_settings(), current_app.logger, import_id, step).join(JOB_TIMEOUT)


def _get(import_id: int) -> Import | None:
    return None if import_id >= 2**63 else in_database(lambda database: database.imports.get(import_id))
