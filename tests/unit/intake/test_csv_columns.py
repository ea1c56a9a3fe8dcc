"""Files as they come out of spreadsheets: which column has the addresses, and which become personal fields."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import Address
from intake.address import split_addresses
from intake.recipients_csv.columns import Wanted
from intake.recipients_csv.reader import AddressFile
from intake.recipients_csv.rows import UnknownColumn, form_of
from tests.support.properties import AT_ANY_SPEED


def opened(data: bytes | str, wanted: Wanted = Wanted(), lists: dict[str, int] | None = None) -> AddressFile:  # noqa: B008
    data = data.encode() if isinstance(data, str) else data
    return AddressFile(io.BytesIO(data), lenient=True, wanted=wanted, lists=lists)


def texts(data: bytes | str, wanted: Wanted = Wanted()) -> list[str]:  # noqa: B008
    file = opened(data, wanted)
    found = [address.text for address in file]
    assert file.invalid_lines == []
    return found


def reasons(data: bytes | str, wanted: Wanted = Wanted()) -> list[tuple[int, str]]:  # noqa: B008
    file = opened(data, wanted)
    list(file)
    return [(line.line, line.reason) for line in file.invalid_lines]


ALL = Wanted(automatic=lambda name: True)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "Email",
            "E-Mail-Adresse",
            "E-Mail geschäftlich",
            "Adresse électronique",
            "Adresse de messagerie",
            "Courriel",
        ),
        *("Correo electrónico", "Dirección de correo electrónico", "E-mel", "Alamat emel", "Alamat e-mel", "surel"),
        *(
            "电子邮件",
            "电子邮箱",
            "邮箱地址",
            "電子郵件",
            "電郵地址",
            "メールアドレス",
            "이메일 주소",
            "อีเมล",
            "ईमेल",
            "மின்னஞ்சல்",
        ),
        *("Indirizzo e-mail", "Endereço de e-mail", "E-mailadres", "E-postadress", "Sähköposti", "Adres e-mail"),
        *(
            "Электронная почта",
            "Эл. почта",
            "Ηλεκτρονικό ταχυδρομείο",
            "البريد الإلكتروني",
            "Email Address",
            "Your email",
        ),
        *("E-mail 1 - Value", "EMAIL ADDRESS:", "email*"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_the_column_is_known_by_its_name_in_common_languages(header: str, encoding: str) -> None:
    rows = f"Name;{header};Referred by\nAda;a@x.com;z@x.com\nBob;b@x.com;y@x.com\n"
    assert texts(rows.encode(encoding)) == ["a@x.com", "b@x.com"]


@pytest.mark.parametrize(
    "data",
    [
        "Ada,a@x.com\nBob,b@x.com\n",
        "Name;Contact\nAda;a@x.com\nBob;b@x.com\n",
        "Guest list of the gala\n\nPrinted;2026-11-30\nName;E-Mail;Table\nAda;a@x.com;4\nBob;b@x.com;\n",
        "Guest list\nName;Contact;Table\nAda;a@x.com;4\nBob;b@x.com;\n",
        "Guest list,,\nAda,a@x.com,4\nBob,b@x.com,7\n",
        "contact\na@x.com\nb@x.com\n",
        "1\tAda\tAda <a@x.com>\n2\tBob\tmailto:b@x.com\n",
        "Name,Address,Contact\nAda,1 High Street,a@x.com\nBob,2 Low Street,b@x.com\n",
        "Email,Email\n,a@x.com\n,b@x.com\n",
        "Name,Contact email,Contact\nAda,a@x.com,c@x.com\nBob,b@x.com,\n",
        "a@x.com; b@x.com\n",
        "a@x.com\nb@x.com\n\n",
        "a@x.com b@x.com",
        "Ada <a@x.com>, Bob <b@x.com>",
        "Name,Email\nAda,a@x.com / b@x.com\n",
        '"Name","Email"\n"Ada","a@x.com; b@x.com"\n',
    ],
)
def test_the_column_is_known_by_its_values(data: str) -> None:
    assert texts(data) == ["a@x.com", "b@x.com"]


@pytest.mark.parametrize(
    "data",
    [
        "a@x.com,b@x.com\nc@x.com,d@x.com\n",
        "Buyer,Guest\na@x.com,b@x.com\nc@x.com,d@x.com\n",
        "Email,E-mail\na@x.com,b@x.com\n",
        "Name,City\nAda,ada@Bonn\nBob,Ulm\n",
    ],
)
def test_nobody_guesses_when_two_columns_fit_or_none(data: str) -> None:
    file = opened(data)
    assert list(file) == [] and isinstance(file.unreadable, UnknownColumn)
    form = form_of(data.encode(), lenient=True)
    assert (form.address, form.columns, form.delimiter) == (-1, 2, ",")
    for wanted in (Wanted(1), Wanted("2"), *[Wanted(form.headers[1])] * bool(form.headers[1])):
        expected = [] if "City" in data else [line.split(",")[1] for line in data.split() if "@" in line]
        assert [address.text for address in opened(data, wanted)] == expected


def test_a_file_without_addresses_is_refused() -> None:
    ((line, reason),) = reasons("Name,City\nAda,Bonn\nBob,Ulm\n")
    assert line == 1 and reason.endswith("2 columns, but no header named recipient_email or email, and no addresses")
    assert reasons("Name\nAda\n")[0][1].startswith("the first line is neither an address nor a header")
    assert reasons(b"\x89PNG\r\n\x1a\n\0\0")[0][0] == 1


def test_a_column_that_is_named_must_exist() -> None:
    data = "Name;Contact\nAda;a@x.com\n"
    assert texts(data, Wanted("contact")) == texts(data, Wanted("2")) == ["a@x.com"]
    assert reasons(data, Wanted("E-Mail")) == [(1, "there is no column E-Mail; the columns are: Name, Contact")]
    assert "no column 3" in reasons(data, Wanted("3"))[0][1]
    assert "only 2 columns" in reasons(data, Wanted(7))[0][1]


def test_a_column_that_is_not_used_rejects_no_row() -> None:
    data = "email;note\na@x.com;Grüße\x81\0\nb@x.com;x;y;z\n".encode("latin-1")
    assert texts(data) == ["a@x.com", "b@x.com"]
    used = Wanted(fields=[("note", "")])
    assert reasons(data, used) == [
        (2, "the line contains a NUL character"),
        (3, "too many cells (4; the header has 2)"),
    ]


def test_headers_become_names_of_fields() -> None:
    header = "Email;First name;FIRST-NAME;Größe (cm);名字;ชื่อ;St. Patrick’s;;1st;Total €"
    form = form_of(f"{header}\n{'x;' * 9}x\na@x.com;\n".encode(), ALL, lenient=True)
    assert dict(form.fields) == {
        1: "first_name",
        2: "first_name_2",
        3: "größe_cm",
        4: "名字",
        5: "ชื่อ",
        6: "st_patricks",
        8: "1st",
        9: "total",
    }


def fields(data: bytes | str, wanted: Wanted = ALL) -> list[str]:
    file = opened(data, wanted)
    found = [address.fields for address in file]
    assert file.invalid_lines == []
    return found


def test_cells_become_fields() -> None:
    data = 'E-Mail;First name;Note\na@x.com; Ada ;"say ""hi"""\nb@x.com;;\nc@x.com\nd@x.com;Jürgen;\'=1+1\n'
    expected = ['{"first_name": "Ada", "note": "say \\"hi\\""}', "", "", '{"first_name": "Jürgen", "note": "=1+1"}']
    for encoding in ("utf-8", "cp1252", "utf-16"):
        assert fields(data.encode(encoding)) == expected
    file = opened(data, Wanted(fields=[("first NAME", "name"), (2, "")]))
    first, *_ = file
    assert first.fields == '{"name": "Ada", "note": "say \\"hi\\""}'
    assert file.field_names == {"name", "note"}
    assert [each.fields for each in opened("email,name\na@x.com;b@x.com,A\n", ALL)] == ['{"name": "A"}'] * 2


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("x" * 1001, "name is too long (limit: 1,000 characters)"),
        ('"Ada\nBcc: z@x.com"', "name contains a line break or control character"),
        ("Ada\u2028B", "name contains a line break or control character"),
        ("Ada\x07", "name contains a line break or control character"),
    ],
)
def test_values_that_no_message_can_hold_are_named_with_their_lines(cell: str, reason: str) -> None:
    data = f"email,name\nb@x.com,{'x' * 1000}\na@x.com,{cell},x\n".replace("name", "name,x", 1)
    assert reasons(data, ALL) == [(3, reason)]
    assert reasons(data) == []


def test_which_columns_become_fields_must_be_clear() -> None:
    data = "email,First name,first_name," + ",".join(f"c{number}" for number in range(40)) + "\na@x.com\n"
    assert "42 columns would become fields (limit: 32)" in reasons(data, ALL)[0][1]
    for chosen, reason in (
        ([("c1", "x"), ("c2", "x")], "two columns would become the field x"),
        ([("nothing", "")], "there is no column nothing"),
        ([("email", "")], "the column email cannot become a field"),
    ):
        assert reason in reasons(data, Wanted(fields=chosen))[0][1]
    assert opened(data, Wanted(fields=[("First name", "")])) is not None


def test_lists_are_named_in_a_column() -> None:
    data = "email,recipient_lists\na@x.com,Gala; STAFF\nb@x.com,\nc@x.com,Gaal\n"
    file = opened(data, lists={"Gala": 7, "Staff": 9})
    assert list(file) == [
        Address("a@x.com", "a@x.com", "", "[7,9]"),
        Address("b@x.com", "b@x.com"),
    ]
    assert [(line.line, line.reason) for line in file.invalid_lines] == [
        (4, 'there is no list "Gaal"; existing lists: Gala, Staff')
    ]
    assert file.unknown_lists == {"gaal": "Gaal"}


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_is_named_as_such(start: bytes) -> None:
    ((line, reason),) = reasons(start + b"\0" * 100)
    assert line == 1 and "workbook" in reason and "save it as CSV UTF-8" in reason


def test_a_cell_with_a_bad_address_among_others_is_one_invalid_line() -> None:
    assert reasons("email\na@x.com; b@\n")[0][0] == 2
    assert [line for line, _ in reasons("Name,Email\nAda,a@x.com\nBob,bob smith@x.com\n")] == [3]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("a@x.com, b@x.com;c@x.com d@x.com\ne@x.com", "a@x.com b@x.com c@x.com d@x.com e@x.com"),
        ("Ada <a@x.com>, b@x.com", "Ada <a@x.com>|b@x.com"),
        ('"Lovelace, Ada" <a@x.com>; Lovelace, Ada <a@x.com>', '"Lovelace, Ada" <a@x.com>|Ada <a@x.com>'),
        ("Ada <a@x.com> Bob <b@x.com>", "Ada <a@x.com>|Bob <b@x.com>"),
        ("Ada\tLovelace\ta@x.com", "a@x.com"),
        ('"a b"@x.com, c@x.com', '"a b"@x.com|c@x.com'),
        ("bob smith@x.com", "bob smith@x.com"),
        ("bob.example.com, Ada <a@x.com>", "bob.example.com|Ada <a@x.com>"),
        ("a@x.com / b@x.com & c@x.com", "a@x.com b@x.com c@x.com"),
    ],
)
def test_addresses_are_typed_in_any_way(typed: str, found: str) -> None:
    expected = found.split("|") if "|" in found or (" " in found and "@x.com " not in found) else found.split(" ")
    assert [entry for _, entry in split_addresses(typed)] == expected


PIECES = st.sampled_from(
    [
        *(b'"', b",", b";", b"\t", b"\r\n", b" ", b"<", b">", b"'", b"=1", b"\0", b"\xe9", b"\xff\xfe", b"sep=;\n"),
        *(b"email", b"a@x.com", b"mailto:", b"Name", b"recipient_lists", b"recipient_status"),
        *("電郵".encode(), "电邮".encode("utf-16")),
    ]
)


@AT_ANY_SPEED
@given(st.binary(max_size=200) | st.lists(PIECES, max_size=40).map(b"".join), st.integers(-1, 3))
def test_any_bytes_give_addresses_or_invalid_lines_in_order(data: bytes, column: int) -> None:
    wanted = ALL if column < 0 else ALL._replace(address=column)
    file = AddressFile(io.BytesIO(data), 100, lenient=True, wanted=wanted, lists={})
    for address in file:
        assert "@" in address.text
    lines = [line.line for line in file.invalid_lines]
    assert lines == sorted(lines)
    form = form_of(data, wanted, lenient=True)
    assert len(form.headers) == len(form.samples) == form.columns
