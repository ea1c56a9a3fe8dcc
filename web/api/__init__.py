"""The JSON API: emails, their deliveries, and recipients. `/openapi.json` describes it."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.api import bulk, deliveries, description, emails, recipients, recipients_csv, refused

blueprint = Blueprint("api", __name__, url_prefix="/api")
refused.register(blueprint)
for _module in (emails, bulk, deliveries, recipients, recipients_csv):
    blueprint.register_blueprint(_module.blueprint)


def register(app: Flask) -> None:
    """Give `app` the routes of the API."""
    app.url_map.converters["recipient"] = recipients.RecipientConverter
    app.register_blueprint(blueprint)
    app.register_blueprint(description.blueprint)
