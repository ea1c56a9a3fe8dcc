"""Log in with a token of API_TOKEN, which starts a session, and log out."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from web import compression
from web.auth import sessions
from web.auth.access import check_host, is_logged_in, is_token, limits, refuse_forged_form, require_loopback
from web.auth.browsers import refuse_other_sites, safe_path
from web.services import current_settings, in_database

MAX_FORM_BYTES = 10_000
blueprint = Blueprint("login", __name__)
compression.register(blueprint)


@blueprint.get("/login")
def show() -> AnyResponse:
    """Show the login form, or redirect people who do not need it."""
    page = safe_path(request.args.get("next"))
    if _needs_no_login():
        return redirect(page, 303)
    return _form(page)


@blueprint.post("/login")
def log_in() -> AnyResponse:
    """Start a session, or report that the token is wrong."""
    page = safe_path(request.args.get("next"))
    if _needs_no_login():
        return redirect(page, 303)
    address = request.remote_addr or ""
    limits().refuse_guessing(address)
    refuse_other_sites(request, current_settings().public_url)
    request.max_content_length = MAX_FORM_BYTES
    refuse_forged_form()
    token = request.form.get("token", "").strip()
    if not is_token(token.encode(errors="replace"), current_settings().api_tokens):
        limits().count_wrong_token(address)
        return _form(page, 401)
    sessions.begin(token)
    return redirect(page, 303)


@blueprint.post("/logout")
def log_out() -> AnyResponse:
    """End the session, and go to the login page."""
    sessions.end()
    return redirect("/login", 303)


@blueprint.post("/logout/everyone")
def log_everyone_out() -> AnyResponse:
    """End every session, including this one."""
    in_database(sessions.end_all)
    sessions.end()
    return redirect("/login", 303)


def _needs_no_login() -> bool:
    settings = current_settings()
    if not settings.api_tokens:
        require_loopback(request)
        return True
    check_host(request, settings.public_url)
    return is_logged_in(request)


def _form(page: str, status: int = 200) -> Response:
    return Response(render_template("login.html", next=page, wrong=status == 401), status)
