"""The JSON API: emails, their deliveries, and recipients. `/openapi.json` describes it."""

from __future__ import annotations

from flask import Flask

from web.api import bulk, deliveries, description, emails, recipients, recipients_csv, refused


def register(app: Flask) -> None:
    """Give `app` the routes of the API."""
    app.url_map.converters["recipient"] = recipients.RecipientConverter
    for module in (emails, bulk, deliveries, recipients, recipients_csv):
        refused.register(module.blueprint)
        app.register_blueprint(module.blueprint, url_prefix="/api")
    app.register_blueprint(description.blueprint)
