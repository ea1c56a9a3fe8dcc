"""GET /healthz, /readyz and /metrics: for what keeps this process running, for people's alarms, and for Prometheus."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Flask, Response, current_app, jsonify
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from database import DatabaseUnavailable
from monitoring.metrics import writer
from monitoring.probe import Probe
from monitoring.readiness import Check, check_unavailable, checker, ready
from settings import Settings
from web.auth.access import may_see_all

blueprint = Blueprint("probes", __name__)


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its probes."""
    app.extensions["readiness"] = Probe(settings, checker(settings))
    app.extensions["metrics"] = Probe(settings, writer(settings))
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Response:
    """This process answers. The database is not asked: a restart of this process would not mend it."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Whether the service does its work: 200 or 503. A stranger learns no more than that."""
    checks = _checks()
    answer: dict[str, object] = {"status": "ready" if ready(checks) else "not ready"}
    if may_see_all():
        answer["checks"] = [check._asdict() for check in checks]
    return jsonify(answer), 200 if ready(checks) else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """All numbers, in Prometheus' text format."""
    probe = cast("Probe[bytes]", current_app.extensions["metrics"])
    return Response(probe.answer(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _checks() -> list[Check]:
    probe = cast("Probe[list[Check]]", current_app.extensions["readiness"])
    try:
        return probe.answer()
    except DatabaseUnavailable as error:
        return check_unavailable(error)
