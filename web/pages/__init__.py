"""The pages for people, one module or folder per page. `filters` formats values."""

from __future__ import annotations

from flask import Blueprint, Flask

from settings.version import __version__
from web import compression
from web.pages import (
    alert_banner,
    api_docs,
    compose,
    email,
    filters,
    health,
    imports,
    lists,
    outbox,
    recipients,
    schedule,
    selected_recipients,
    styleguide,
)
from web.pages.email.url import EventIdConverter
from web.pages.email.wording import delivery_words, in_mode
from web.services import services_of

# Contains every page, so that all endpoints begin with "pages.".
blueprint = Blueprint("pages", __name__)
for _module in (api_docs, compose, email, health, imports, lists, outbox, recipients, schedule, selected_recipients):
    blueprint.register_blueprint(_module.blueprint)
compression.register(blueprint)


def register(app: Flask) -> None:
    """Add the pages to `app`."""
    filters.register(app)
    alert_banner.register(app)
    app.jinja_env.globals.update(in_mode=in_mode, delivery_words=delivery_words)
    app.jinja_env.globals.update(service_name=services_of(app).settings.service_name, version=__version__)
    app.url_map.converters["event_id"] = EventIdConverter
    app.register_blueprint(blueprint)
    if app.debug:
        app.register_blueprint(styleguide.blueprint)
