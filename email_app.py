"""Create the Flask application from its parts in `web/` and `commands/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from flask import Flask

import commands
from commands.dotenv import unload_dotenv
from schedulers.errors import QueueUnavailable
from settings import Settings, SettingsError, load_settings
from web import api, assets, downloads, errors, pages, probes, send_emails, services, unsubscribe
from web.auth import access, login

P = ParamSpec("P")
T = TypeVar("T")


class App(Flask):
    """Flask for plain functions. Checking each view and hook for a coroutine takes 1% of the time of a POST."""

    def ensure_sync(self, func: Callable[P, T]) -> Callable[P, T]:
        return func


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application with these settings, or those of the environment. Does not open the database."""
    settings = settings or _settings_of_environment()
    app = App(__name__, template_folder="web/templates", static_folder=None)  # `assets` serves web/static
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # otherwise a URL with two slashes is redirected
    _register_services(app, settings)
    access.register(app)
    errors.register(app)
    assets.register(app)
    downloads.register(app)
    app.register_blueprint(send_emails.blueprint)
    app.register_blueprint(login.blueprint)
    api.register(app)
    pages.register(app)
    app.register_blueprint(unsubscribe.blueprint)
    app.register_blueprint(probes.blueprint)
    commands.register(app)
    return app


def _settings_of_environment() -> Settings:
    unload_dotenv()
    try:
        return load_settings()
    except SettingsError as error:
        raise SystemExit(str(error)) from None  # one line per problem, without a traceback


def _register_services(app: Flask, settings: Settings) -> None:
    try:
        services.register(app, settings)
    except QueueUnavailable as error:  # packages are missing
        raise SystemExit(str(error)) from None
