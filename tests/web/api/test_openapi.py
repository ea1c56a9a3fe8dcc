"""/openapi.json is valid, describes every route, and matches the responses to generated requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from email_app import create_app
from settings import Settings

PROJECT = Path(__file__).resolve().parents[3]
FILE = PROJECT / "web" / "api" / "openapi.json"
# Not described: the pages, their assets, and the links in messages.
FOR_PEOPLE = ("static", "login", "pages", "unsubscribe")
METHODS = {"GET", "PUT", "POST", "DELETE", "PATCH"}  # HEAD comes with GET
SECONDS = 20


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    return create_app(settings).test_client()


def described() -> Any:
    return json.loads(FILE.read_bytes())


def test_it_is_served_as_it_stands_in_its_file(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type, answer.data) == (200, "application/json", FILE.read_bytes())


def test_it_is_valid() -> None:
    validate(described())


def test_every_route_is_described_and_nothing_else_is(client: FlaskClient) -> None:
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in client.application.url_map.iter_rules()
        for method in METHODS & (rule.methods or set())
        if rule.endpoint.partition(".")[0] not in FOR_PEOPLE
    }
    paths = described()["paths"].items()
    assert {(method.upper(), path) for path, item in paths for method in item if method != "parameters"} == routes


def test_what_is_left_out_exists(client: FlaskClient) -> None:
    endpoints = {rule.endpoint.partition(".")[0] for rule in client.application.url_map.iter_rules()}
    assert endpoints >= set(FOR_PEOPLE)


def test_every_operation_tells_of_each_error_that_any_can_have() -> None:
    for path, item in described()["paths"].items():
        for method in METHODS & {name.upper() for name in item}:
            operation = item[method.lower()]
            assert {"400", "401", "403", "429", "500", "503"} <= operation["responses"].keys(), (method, path)
            if "requestBody" in operation:
                assert {"408", "413", "415"} <= operation["responses"].keys(), (method, path)


def test_no_request_made_up_from_it_has_an_answer_that_it_does_not_describe() -> None:
    """`bench/schemathesis_run.py` runs this for longer."""
    program = [sys.executable, "bench/schemathesis_run.py", str(SECONDS), "--warnings", "off"]
    run = subprocess.run(program, cwd=PROJECT, capture_output=True, encoding="utf-8", timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"(\d+) generated, \1 passed", run.stdout), run.stdout
