"""/api/recipients/ADDRESS: every accepted address can be reached in its percent-encoded form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from intake.address import stored_address
from settings import load_settings
from tests.support import new_database
from tests.support.servers.web_server import serve
from tests.support.web.api_client import Api

ADDRESSES = [
    *(
        "a/b@example.com",
        "/a@example.com",
        "a//b@example.com",
        "a/@example.com",
        "a/deliveries@example.com",
        "import/x@example.com",
    ),
    *(
        "a%2Fb@example.com",
        "a%@example.com",
        "50%25@example.com",
        "a?b@example.com",
        "?@example.com",
        "a#b@example.com",
    ),
    *("a&b=c+d@example.com", "'@example.com", "`{|}~^*!$@example.com", '"a b"@example.com', '"a@b"@example.com'),
    *(
        '"a/../b"@example.com',
        '"a@b/deliveries"@example.com',
        '"\\"\\\\"@example.com',
        '"a;b,c:<d>"@example.com',
        '"@"@example.com',
    ),
    *(
        "jörg@example.com",
        "用户@例え.jp",
        "😀@example.com",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "1@example.com",
        '".."@example.com',
    ),
    *("root@localhost", "a@home.arpa", "Ada@Example.com", '"?#/%2F"@example.com', "a/reactivate@example.com"),
]


@pytest.fixture
def where() -> dict[str, str]:
    """One engine is enough."""
    return {}


@pytest.mark.parametrize("safe", ["", "/@", "/@:!$&'()*+,;=~"])
def test_every_address_is_reached_by_its_path(api: Api, safe: str) -> None:
    added = api.post("/recipients", {"addresses": ADDRESSES})["recipients"]
    assert len(added) == len(ADDRESSES)
    for text, recipient in zip(ADDRESSES, added, strict=True):
        path = f"/recipients/{quote(text, safe=safe)}"
        assert api.get(path) == recipient, path
        assert api.get(f"{path}/deliveries")["deliveries"] == []
        assert api.post(f"{path}/reactivate") == recipient
        assert api("DELETE", path).status_code == 204
        assert api("GET", path).status_code == 404
        assert api("GET", f"{path}/deliveries").status_code == 404


def test_every_address_is_reached_over_http(tmp_path: Path, free_port: int) -> None:
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    with serve(tmp_path, free_port) as server:
        body = json.dumps({"addresses": ADDRESSES}).encode()
        answer = server.request("POST", "/api/recipients", body, {"Content-Type": "application/json"})
        assert answer.status == 200
        for text in ADDRESSES:
            path = f"/api/recipients/{quote(text, safe='')}"
            assert [server.request(method, path).status for method in ("GET", "DELETE", "GET")] == [200, 204, 404], text


@pytest.mark.parametrize("address", ["a?b@example.com", "a#b/c%2Fd@example.com", '"ä b"@example.com'])
def test_the_next_page_of_an_address_is_reached(api: Api, address: str) -> None:
    api.post("/recipients", {"addresses": [address]})
    emails = [{"event_id": n, "subject": "S", "content": "C", "due_at": "2020-01-01T00:00:00Z"} for n in range(3)]
    api.post("/emails", emails)
    api.sweep()
    first = api("GET", f"/recipients/{quote(address, safe='')}/deliveries?limit=2")
    following = first.json["next"] if first.json else ""
    assert following in first.headers["Link"] and following.isascii()
    assert len(api.get(following.removeprefix("/api"))["deliveries"]) == 1


def test_a_recipient_that_todays_rules_refuse_can_still_be_removed(api: Api) -> None:
    for text in ("ada\ufe0f@example.com", "root@mailhost"):
        with api.installation.database() as database:
            database.recipients.add([stored_address(text)], datetime.now(UTC))
        path = f"/recipients/{quote(text, safe='')}"
        assert api.get(path)["address"] == text
        assert api.post(f"{path}/reactivate")["status"] == "active"
        assert api("DELETE", path).status_code == 204
        assert api("GET", path).status_code in (400, 404)


def test_a_domain_without_a_dot_needs_the_setting(tmp_path: Path) -> None:
    for setting, status in (("no", 400), ("yes", 200)):
        (tmp_path / setting).mkdir()
        api = Api(tmp_path / setting, SINGLE_LABEL_DOMAINS=setting)
        try:
            assert api("POST", "/recipients", {"addresses": ["root@mailhost"]}).status_code == status
            imported = api("POST", "/recipients/import", data=b"cron@mailhost\n", content_type="text/csv")
            assert imported.status_code == status
        finally:
            api.close()
