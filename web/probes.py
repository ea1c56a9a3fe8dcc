"""GET /healthz, /readyz and /metrics: for what keeps this process running, for people's alarms, and for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from database import DatabaseUnavailable
from monitoring.readiness import Check, check_unavailable, ready
from web.auth.access import may_see_all
from web.services import current_services

blueprint = Blueprint("probes", __name__)


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
    return Response(current_services().metrics.answer(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _checks() -> list[Check]:
    try:
        return current_services().readiness.answer()
    except DatabaseUnavailable as error:
        return check_unavailable(error)
