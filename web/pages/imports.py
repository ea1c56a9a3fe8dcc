"""Import recipients in steps: upload a file, see a preview, watch the import, undo it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any

from flask import Blueprint, Response, current_app, flash, redirect, render_template, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from database import Import, ListExists, NoSuchList
from intake.errors import ValidationError
from intake.list_names import clean_list_name
from intake.personal_fields import MAX_FIELDS, clean_name
from intake.recipients_csv import import_job
from intake.recipients_csv.format import BYTE_ORDER_MARK
from intake.recipients_csv.import_options import Options, read_options
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
ADDRESSES = "@"  # in the form: this column has the addresses
MAX_LISTS = 1_000  # names of lists, and of fields, that the form offers
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
    options = json.loads(import_.options or "{}")
    shown |= {"joined": options.get("joined", {}), "chosen_list": options.get("list")}
    if import_.status == "ready":
        shown["lists"] = in_database(lambda database: database.lists.names(MAX_LISTS))
        shown["known_fields"] = in_database(lambda database: database.recipients.field_names(MAX_LISTS))
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
    """Start the next step, or repeat one that was interrupted. Safe to repeat.

    The form of a file that waits to be imported also says what its columns are, and which list everyone joins. If the
    columns have changed, the file is first read again, so that a person sees the result before it is imported.
    """
    now = datetime.now(UTC)
    import_ = _get(import_id)
    if import_ is None:
        return error_answer(404, NOT_THERE)
    if import_.status == "ready" and (step != "undo"):
        try:
            step = _choose(import_, step)
        except (ValidationError, NoSuchList, ListExists) as error:
            flash(f"Nothing was imported: {error}.", "error")
            return redirect(f"/recipients/imports/{import_id}", 303)
    if in_database(lambda database: database.imports.begin(import_id, step, now)):
        _start(import_id, step)
    else:
        flash("Already in progress. See the status below.", "warning")
    return redirect(f"/recipients/imports/{import_id}", 303)


@blueprint.post("/recipients/imports/<int:import_id>/lists")
def create_lists(import_id: int) -> AnyResponse:
    """Create the lists that the file names and that do not exist, and read the file again. Safe to repeat."""
    import_ = _get(import_id)
    if import_ is None:
        return error_answer(404, NOT_THERE)
    now = datetime.now(UTC)
    names = json.loads(import_.preview or "{}").get("unknown_lists", [])
    try:
        for name in [clean_list_name(name) for name in names]:
            with suppress(ListExists):
                in_database(lambda database, name=name: database.lists.add(name, now))  # type: ignore[misc]
    except ValidationError as error:
        flash(f"No list was created: {error}.", "error")
        return redirect(f"/recipients/imports/{import_id}", 303)
    if import_.status == "ready" and in_database(lambda database: database.imports.begin(import_id, "read", now)):
        _start(import_id, "read")
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


def _choose(import_: Import, step: str) -> str:
    """Save what the form says about the columns and the list. Return the step to begin: `read` if the columns changed.

    Raises ValidationError, NoSuchList or ListExists.
    """
    form = request.form
    preview = json.loads(import_.preview or "{}")
    read = read_options(import_.options)
    chosen = _columns(preview) if "columns" in form else read
    if chosen.address is None and step == "import" and not import_.valid:
        raise ValidationError("address", "choose the address column")
    if step == "import" or "columns" in form:
        list_name = _list(form.get("list", ""), form.get("new_list", "").strip())
        in_database(
            lambda database: database.imports.choose(
                import_.import_id, {**chosen.stored(), "list": list_name}, list_name
            )
        )
    columns = [[column, name] for column, name in chosen.fields or ()]
    if "columns" not in form or (chosen.address == preview.get("address") and columns == preview.get("fields")):
        return step
    if step == "import":
        flash("The columns have changed. Review the result, then import.")
    return "read"


def _columns(preview: Mapping[str, Any]) -> Options:
    """Return what the form says about each column: `@` for the addresses, or the name of a field."""
    address = None
    fields: dict[int, str] = {}
    for column in range(preview.get("columns", 0)):
        choice = request.form.get(f"column-{column}", "")
        if choice == ADDRESSES and address is not None:
            raise ValidationError("address", "only one column can have the addresses")
        if choice == ADDRESSES:
            address = column
        elif choice:
            fields[column] = clean_name(choice)
    if address is None:
        raise ValidationError("address", "choose the address column")
    if len({*fields.values()}) < len(fields):
        raise ValidationError("field", "two columns cannot become the same field")
    if len(fields) > MAX_FIELDS:
        raise ValidationError("field", f"at most {MAX_FIELDS} columns can become fields")
    return Options(address, tuple(fields.items()))


def _list(name: str, new: str) -> str | None:
    """Return the name of the list that everyone joins, which may be a new one."""
    if new:
        cleaned = clean_list_name(new)
        with suppress(ListExists):
            in_database(lambda database: database.lists.add(cleaned, datetime.now(UTC)))
        return cleaned
    return name or None


def _get(import_id: int) -> Import | None:
    return None if import_id >= 2**63 else in_database(lambda database: database.imports.get(import_id))
