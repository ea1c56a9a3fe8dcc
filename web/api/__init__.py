"""The JSON API: emails, their deliveries, recipients, and lists. `/openapi.json` describes it."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.api import (
    bulk,
    deliveries,
    emails,
    error_handlers,
    list_members,
    lists,
    openapi,
    previews,
    recipients,
    recipients_csv,
)

blueprint = Blueprint("api", __name__, url_prefix="/api")
error_handlers.register(blueprint)
for _module in (emails, previews, bulk, deliveries, recipients, recipients_csv, lists, list_members):
    blueprint.register_blueprint(_module.blueprint)


def register(app: Flask) -> None:
    """Add the routes of the API to `app`."""
    app.url_map.converters["recipient"] = recipients.RecipientConverter
    app.url_map.converters["list_name"] = lists.ListNameConverter
    app.register_blueprint(blueprint)
    app.register_blueprint(openapi.blueprint)
