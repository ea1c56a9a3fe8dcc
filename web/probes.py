"""GET /healthz, /readyz and /metrics: the liveness probe, the readiness probe, and metrics for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from database import DatabaseUnavailable
from monitoring.finding import Finding
from monitoring.readiness import is_ready, unavailable
from web.auth.access import may_see_all
from web.services import current_services

blueprint = Blueprint("probes", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Report that this process responds. Does not check the database, because a restart would not help."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Report whether the service works: 200 or 503. Only an authenticated client sees the checks."""
    findings = _findings()
    ready = is_ready(findings)
    answer: dict[str, object] = {"status": "ready" if ready else "not ready"}
    if may_see_all():
        answer["checks"] = [_as_check(finding) for finding in findings]
    return jsonify(answer), 200 if ready else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(current_services().metrics.answer(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _findings() -> list[Finding]:
    try:
        return current_services().readiness.answer()
    except DatabaseUnavailable as error:
        return unavailable(error)


def _as_check(finding: Finding) -> dict[str, object]:
    return {"name": finding.subject, "ok": finding.is_ok, "found": finding.text, "remedy": finding.remedy}
