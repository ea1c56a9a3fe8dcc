"""The alerts in deploy/ and the example in docs/monitoring.md use only metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from email_app import create_app
from tests.support.installation import Installation

PROJECT = Path(__file__).resolve().parents[2]
ALERTS = PROJECT / "deploy" / "prometheus-alerts.yml"
GUIDE = (PROJECT / "docs" / "monitoring.md").read_text()
TOKEN = "a-token-of-the-tests"


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    app = create_app(Installation(tmp_path, API_TOKEN=TOKEN).settings)
    return app.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert set(group) == {"name", "rules"}
    return list(group["rules"])


def example() -> dict[str, Any]:
    """Return the part of a `prometheus.yml` in docs/monitoring.md."""
    return dict(yaml.safe_load(GUIDE.partition("```yaml\n")[2].partition("```")[0]))


def names(text: str) -> set[str]:
    """Return the names of the metrics in a text."""
    return set(re.findall(r"email_endpoint_[a-z_]+", text))


def test_every_alert_has_what_prometheus_asks_of_a_rule() -> None:
    assert len(rules()) == len({rule["alert"] for rule in rules()}) >= 3
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["expr"] and rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]


def test_every_metric_in_an_alert_is_in_the_answer(metrics: str) -> None:
    there = names(re.sub("^#.*$", "", metrics, flags=re.MULTILINE))
    for rule in rules():
        assert names(rule["expr"]) <= there, rule["alert"]
        assert names(rule["expr"]) or "up{" in rule["expr"]
        for bound in re.findall('le="([^"]+)"', rule["expr"]):
            assert f'email_endpoint_lateness_seconds_bucket{{le="{bound}"}}' in metrics


def test_the_guide_names_every_metric_and_no_other(metrics: str) -> None:
    families = set(re.findall(r"^# HELP (\S+) ", metrics, re.MULTILINE))
    assert names(GUIDE) == families


def test_the_example_reads_the_alerts_and_gives_them_their_job() -> None:
    (job,) = example()["scrape_configs"]
    assert job["authorization"]["credentials_file"] and job["scheme"] == "https"
    assert [rule["expr"] for rule in rules() if f'up{{job="{job["job_name"]}"}}' in rule["expr"]]
    assert example()["rule_files"] == [re.findall(r"/etc/\S+yml", ALERTS.read_text())[0]]
