"""/api/recipients: add, find, remove, reactivate, import and export."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import pytest

from intake.recipients_csv.format import unescape
from tests.support.web.api_client import Api, fields_of, is_problem

ODD = ["=1+1@example.com", "+tag@example.com", "-a@example.com", "'=a@example.com", '"=a,\\"b"@example.com']


def add(api: Api, *addresses: str) -> Any:
    return api.post("/recipients", {"addresses": addresses})


def listed(api: Api, query: str = "") -> list[str]:
    return [each["address"] for each in api.get(f"/recipients{query}")["recipients"]]


def unsubscribe(api: Api, *addresses: str) -> None:
    with api.installation.database() as database:
        for address in addresses:
            sql = "UPDATE recipients SET status = 'unsubscribed' WHERE address = :address"
            assert database.connection.execute(sql, address=address) == 1


def import_csv(api: Api, text: str | bytes) -> Any:
    body = text.encode() if isinstance(text, str) else text
    return api("POST", "/recipients/import", data=body, content_type="text/csv")


def test_addresses_are_added_once_whatever_their_case(api: Api) -> None:
    first = add(api, "Ada@Example.com", "grace@example.com", "ADA@example.com")
    assert (first["added"], first["known"]) == (2, 0)
    second = add(api, "ada@example.com", "linus@münchen.de")
    assert (second["added"], second["known"]) == (1, 1)
    assert [each["address"] for each in second["recipients"]] == ["Ada@example.com", "linus@xn--mnchen-3ya.de"]
    assert {each["status"] for each in second["recipients"]} == {"active"}


def test_one_bad_address_is_named_and_none_is_added(api: Api) -> None:
    answer = api(
        "POST", "/recipients", {"addresses": ["a@example.com", "b@", "a@b>\r\nRCPT TO:<c", 7, "", "\ud800@x.com"]}
    )
    assert fields_of(answer) == [f"addresses[{n}]" for n in range(1, 6)]
    bodies: list[object] = [{"addresses": []}, {"addresses": "a@example.com"}, {"addresses": None}, {}]
    for body in bodies:
        assert fields_of(api("POST", "/recipients", body)) == ["addresses"]
    many = [f"r{number}@example.com" for number in range(1001)]
    assert fields_of(api("POST", "/recipients", {"addresses": many})) == ["addresses"]
    assert listed(api) == []


def test_a_recipient_is_known_by_number_and_by_address(api: Api) -> None:
    (ada,) = add(api, "Ada@example.com")["recipients"]
    assert api.get(f"/recipients/{ada['recipient_id']}") == api.get("/recipients/ada@EXAMPLE.com") == ada
    for name in ("0", "99", "9223372036854775807", "bob@example.com"):
        assert is_problem(api("GET", f"/recipients/{name}"), 404, "recipient not found")
    for name in ("9223372036854775808", "9" * 5000, "@", "a@b@c", "%00@example.com", "a%0a@example.com"):
        assert api("GET", f"/recipients/{name}").status_code == 400
    for name in ("-1", "ada", "1%00", "１", "a%2fb"):
        assert is_problem(api("GET", f"/recipients/{name}"), 404)


def test_a_removed_recipient_is_gone_but_not_that_it_unsubscribed(api: Api) -> None:
    add(api, "a@example.com", "b@example.com")
    unsubscribe(api, "b@example.com")
    for name in ("a@example.com", "b@example.com"):
        removed = api("DELETE", f"/recipients/{name}")
        assert (removed.status_code, removed.data) == (204, b"") and "Content-Type" not in removed.headers
        assert is_problem(api("DELETE", f"/recipients/{name}"), 404)
    assert listed(api) == []
    again = add(api, "a@example.com", "b@example.com")["recipients"]
    assert [each["status"] for each in again] == ["active", "unsubscribed"]


def test_one_who_left_is_written_to_again_only_by_an_act_of_its_own(api: Api) -> None:
    add(api, "a@example.com")
    unsubscribe(api, "a@example.com")
    assert import_csv(api, "a@example.com\n").json == {"added": 0, "known": 1, "repeated": 0, "left_out": 0}
    assert api.get("/recipients/1")["status"] == "unsubscribed"
    for _ in range(2):
        assert api.post("/recipients/1/reactivate")["status"] == "active"
    assert is_problem(api("POST", "/recipients/2/reactivate"), 404)


def test_recipients_are_listed_in_pages_by_status_and_by_how_they_begin(api: Api) -> None:
    add(api, "Anna@example.com", "andrew@example.com", "bob@example.com", "a_b@example.com", "a%b@example.com")
    first = api.get("/recipients?limit=3")
    rest = api.get(first["next"].removeprefix("/api"))
    assert [each["recipient_id"] for each in first["recipients"] + rest["recipients"]] == [1, 2, 3, 4, 5]
    assert rest["next"] is None
    assert sorted(listed(api, "?address_begins=AN")) == ["Anna@example.com", "andrew@example.com"]
    assert listed(api, "?address_begins=an&limit=1") != listed(api, "?address_begins=an&limit=2")[1:]
    assert listed(api, "?address_begins=a_") == ["a_b@example.com"]
    assert listed(api, "?address_begins=a%25") == ["a%b@example.com"]
    assert listed(api, "?address_contains=OB%40ex") == ["bob@example.com"]
    assert sorted(listed(api, "?address_contains=n&address_begins=an")) == ["Anna@example.com", "andrew@example.com"]
    assert api("GET", "/recipients?address_contains=NN&format=csv").text.split()[1:] == ["Anna@example.com,active"]
    unsubscribe(api, "bob@example.com")
    assert listed(api, "?status=unsubscribed") == ["bob@example.com"]
    assert listed(api, "?status=active&address_begins=b") == []


def test_recipients_are_found_by_words_domain_and_list(api: Api) -> None:
    people = [
        {"address": "ada@example.com", "fields": {"first_name": "Ada", "last_name": "Lovelace"}},
        {"address": "grace@mail.example.org", "fields": {"name": "Grace Hopper", "city": "Straße"}},
        {"address": "bob@example.com", "fields": {}},
    ]
    api.post("/recipients", {"recipients": people})
    api("POST", "/lists", {"name": "Gala"})
    api.post("/lists/Gala/members", {"addresses": ["ada@example.com", "grace@mail.example.org"]})
    assert listed(api, "?search=LOVE") == ["ada@example.com"]
    assert listed(api, "?search=hopper+STRASSE") == ["grace@mail.example.org"]
    assert listed(api, "?search=ada+hopper") == []
    assert listed(api, "?domain=Example.COM") == listed(api, "?domain=@example.com")
    assert listed(api, "?domain=example.com") == ["ada@example.com", "bob@example.com"]
    assert listed(api, "?list=gala&search=a") == ["ada@example.com", "grace@mail.example.org"]
    assert listed(api, "?list=gala&domain=example.com&status=active") == ["ada@example.com"]
    assert listed(api, "?list=gala&status=rejected") == []
    first = api.get("/recipients?search=example&limit=2")
    assert listed(api, first["next"].removeprefix("/api/recipients")) == ["grace@mail.example.org"]
    (member,) = api.get("/lists/gala/members?search=lovelace")["members"]
    assert member["address"] == "ada@example.com"
    assert api("GET", "/recipients?list=gala&search=hopper&format=csv").text.count("\r\n") == 2
    assert is_problem(api("GET", "/recipients?list=other"), 404)


def test_an_invalid_search_is_refused(api: Api) -> None:
    queries = ("search=", "search=+", "search=%00", "search=" + "x" * 255, "domain=", "domain=@", "list=")
    for query in queries:
        assert fields_of(api("GET", f"/recipients?{query}")) == [query.partition("=")[0]]
    assert fields_of(api("GET", "/emails?search=%00")) == ["search"]


@pytest.mark.parametrize("text", ["%25_%25_" * 20_000, "'", "\\", "%F4%8F%BF%BF", "' OR 1=1 --", "%EF%BF%BF"])
def test_a_search_for_anything_is_a_search_for_that(api: Api, text: str) -> None:
    add(api, "a@example.com")
    assert listed(api, f"?address_begins={text}") == listed(api, f"?address_contains={text}") == []


def test_a_search_cannot_go_on_after_a_recipient_that_is_gone(api: Api) -> None:
    add(api, "a1@example.com", "a2@example.com", "a3@example.com")
    following = api.get("/recipients?address_begins=a&limit=1")["next"].removeprefix("/api")
    api("DELETE", "/recipients/a1@example.com")
    assert is_problem(api("GET", following), 404) and is_problem(api("GET", f"{following}&format=csv"), 404)


def test_a_search_that_no_database_can_hold_is_refused(api: Api) -> None:
    assert fields_of(api("GET", "/recipients?address_begins=a%00")) == ["address_begins"]
    assert fields_of(api("GET", "/recipients?address_contains=%00a")) == ["address_contains"]
    assert fields_of(api("GET", "/recipients?address_begins=&status=x")) == ["status", "address_begins"]


@pytest.mark.parametrize(
    "text", ["%_" * 50_000, "a" * 100_000, "'" * 100_000, "\\" * 100_000], ids=lambda text: text[:2]
)
def test_a_long_search_takes_no_time(api: Api, text: str) -> None:
    add(api, "a@example.com")
    began = time.process_time()
    for name in ("address_begins", "address_contains"):
        assert api("GET", "/recipients", query_string={name: text}).status_code in (200, 400)
    assert time.process_time() - began < 0.5


def test_a_file_is_taken_as_a_whole(api: Api) -> None:
    answer = import_csv(api, "name,recipient_email\r\nAda,ada@example.com\nB,b@example.com\rA,ADA@example.com\n")
    assert answer.json == {"added": 2, "known": 0, "repeated": 1, "left_out": 0}


def test_every_bad_line_of_a_file_is_named_and_nothing_is_stored(api: Api) -> None:
    answer = import_csv(api, "recipient_email\na@example.com\nnobody\nb@example.com,x\nc@\x1b[2J\n")
    assert fields_of(answer) == ["line 3", "line 4", "line 5"]
    assert "\x1b" not in answer.text and answer.json["bad_lines"] == 3 and listed(api) == []
    many = import_csv(api, "recipient_email\n" + "x\n" * 5000)
    assert len(fields_of(many)) == 1000 and many.json["bad_lines"] == 5000


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfea\0@\0",
        b"a@example.com\0",
        b"\xe9@example.com",
        b'"a@example.com',
        b'"' + b"x" * 1_500_000,
        b"a,b\n1,2",
    ],
)
def test_what_is_no_csv_of_addresses_is_refused(api: Api, body: bytes) -> None:
    assert len(fields_of(import_csv(api, body))) == 1 and listed(api) == []


def test_an_empty_file_adds_nobody(api: Api) -> None:
    assert import_csv(api, "").json == {"added": 0, "known": 0, "repeated": 0, "left_out": 0}


def test_what_is_given_out_as_csv_is_taken_in_as_the_same_rows(api: Api) -> None:
    add(api, *ODD, "gone@example.com")
    unsubscribe(api, "gone@example.com")
    answer = api("GET", "/recipients", headers={"Accept": "text/csv"})
    assert answer.content_type.startswith("text/csv") and "recipients.csv" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0")) for row in rows for cell in row)
    given = {unescape(address): status for address, status in rows[1:]}
    assert given == dict.fromkeys(ODD, "active") | {"gone@example.com": "unsubscribed"}
    for address in ODD:
        api("DELETE", f"/recipients/{address}")
    assert import_csv(api, answer.data).json == {"added": len(ODD), "known": 0, "repeated": 0, "left_out": 1}
    assert sorted(listed(api, "?status=active")) == sorted(ODD)


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml,*/*;q=0.8", "*/*", "text/csv"])
def test_csv_that_a_person_downloads_begins_with_a_byte_order_mark(api: Api, accept: str) -> None:
    add(api, "ä@example.com")
    answer = api("GET", "/recipients?format=csv", headers={"Accept": accept})
    assert answer.data.startswith(b"\xef\xbb\xbfrecipient_email,") == ("html" in accept)
    assert answer.content_length == len(answer.data)
    assert import_csv(api, answer.data).json == {"added": 0, "known": 1, "repeated": 0, "left_out": 0}


def test_a_first_line_for_excel_names_the_delimiter(api: Api) -> None:
    assert import_csv(api, "SEP=;\r\nrecipient_email;name\r\na@example.com;A,B\r\n").json["added"] == 1
    answer = import_csv(api, "sep=|\nrecipient_email|name\n")
    assert fields_of(answer) == ["line 1"]


def test_csv_holds_more_than_a_page(api: Api) -> None:
    api.installation.add_recipients(2500)
    answer = api("GET", "/recipients?format=csv&limit=1&address_begins=r")
    assert len(answer.text.splitlines()) == 2501
    assert api("HEAD", "/recipients?format=csv").status_code == 200
