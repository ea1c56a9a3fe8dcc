"""The JSON API: emails, their deliveries, and recipients. `/openapi.json` describes it."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.api import bulk, deliveries, emails, error_handlers, openapi, recipients, recipients_csv

blueprint = Blueprint("api", __name__, url_prefix="/api")
error_handlers.register(blueprint)
for _module in (emails, bulk, deliveries, recipients, recipients_csv):
    blueprint.register_blueprint(_module.blueprint)


def register(app: Flask) -> None:
    """Add the routes of the API to `app`."""
    app.url_map.converters["recipient"] = recipients.RecipientConverter
    app.register_blueprint(blueprint)
    app.register_blueprint(openapi.blueprint)
