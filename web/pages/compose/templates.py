"""/templates: texts that are saved under a name, for new emails."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from database import NoSuchTemplate, TemplateExists
from intake.email_fields import clean_header_text
from intake.errors import ValidationError
from intake.fields import invalid
from web.errors import error_answer
from web.form import read_page_form
from web.pages.compose.form import (
    LIST_FIELDS,
    TEXT_FIELDS,
    Form,
    Notice,
    Target,
)
from web.pages.compose.writing import form_page
from web.services import in_database

PAGE_SIZE = 100  # rows
MAX_NAME_LENGTH = 100  # characters
DELETED = "This template was deleted."
blueprint = Blueprint("templates", __name__)


@blueprint.get("/templates")
def show() -> Response:
    """Show a page of the templates, by name."""
    return _page()


@blueprint.post("/templates/<int:template_id>/rename")
def rename(template_id: int) -> AnyResponse:
    """Rename a template."""
    typed = read_page_form(request, ("name",)).get("name", "")
    if template_id >= 2**63:
        return error_answer(404, DELETED)
    try:
        name = clean_name(typed)
        in_database(lambda database: database.templates.rename(template_id, name))
    except NoSuchTemplate:
        flash(DELETED, "warning")
    except TemplateExists as error:
        return _page(f"{error}.", template_id, typed)
    except ValidationError as error:
        return _page(f"The name {error.message}.", template_id, typed)
    else:
        flash(f"Renamed to {name}.")
    return redirect("/templates", 303)


@blueprint.post("/templates/<int:template_id>/delete")
def delete(template_id: int) -> AnyResponse:
    """Delete a template. Safe to repeat."""
    if template_id < 2**63 and in_database(lambda database: database.templates.delete(template_id)):
        flash("Deleted the template.")
    else:
        flash(DELETED, "warning")
    return redirect("/templates", 303)


def save_template(form: Form, target: Target) -> AnyResponse:
    """Save the text of the form under a name, and show the form again."""
    fields = {name: value for name in (*TEXT_FIELDS, *LIST_FIELDS) if (value := form.get(name))}
    try:
        name = clean_name(form.get("template_name", ""))
        in_database(lambda database: database.templates.add(name, fields, datetime.now(UTC)))
    except ValidationError as error:
        raise invalid("template_name", error.message) from error
    except TemplateExists as error:
        raise invalid("template_name", "is used by another template") from error
    notice = Notice("", f"Saved as the template {name}. The email is not scheduled yet.", "/templates", "Templates")
    return form_page(target, {**form, "template_name": ""}, notice=notice)


def open_template(template_id: int) -> AnyResponse:
    """Show the form for a new email, filled in from a template."""
    template = in_database(lambda database: database.templates.get(template_id))
    if template is None:
        flash(DELETED, "warning")
        return redirect("/templates", 303)
    return form_page(Target(), template.fields)


def clean_name(text: str) -> str:
    """Return a name for a template. Raises ValidationError."""
    name = text.strip()
    if not name:
        raise ValidationError("name", "is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise ValidationError("name", f"is too long (limit: {MAX_NAME_LENGTH} characters)")
    return clean_header_text("name", name)


def _page(wrong: str = "", wrong_id: int = 0, typed: str = "") -> Response:
    after = request.args.get("after", "")
    templates = in_database(lambda database: database.templates.page(after, PAGE_SIZE + 1))
    more = len(templates) > PAGE_SIZE
    following = f"/templates?{urlencode({'after': templates[PAGE_SIZE - 1].name})}" if more else None
    page = render_template(
        "templates.html",
        templates=templates[:PAGE_SIZE],
        following=following,
        after=after,
        wrong=wrong,
        wrong_id=wrong_id,
        typed=typed,
        max_length=MAX_NAME_LENGTH,
    )
    return make_response(page, 400 if wrong else 200)
