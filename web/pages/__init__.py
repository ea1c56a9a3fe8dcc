"""The pages for people: what goes out, who got it and why not. One module for each page; `shown` is how values read."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.pages import alarm, docs, email, health, imports, new_email, outbox, recipients, schedule, shown

# Every page is in it, so that its endpoints begin with "pages.".
blueprint = Blueprint("pages", __name__)
for _module in (docs, email, health, imports, new_email, outbox, recipients, schedule):
    blueprint.register_blueprint(_module.blueprint)


def register(app: Flask) -> None:
    """Give `app` the pages."""
    shown.register(app)
    alarm.register(app)
    health.register(app)
    outbox.register(app)
    app.register_blueprint(blueprint)
