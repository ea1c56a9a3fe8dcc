"""Files of recipients in the style of the programs that organisers export them from, with invented people.

    python tests/support/samples/make_exports.py FOLDER

Encodings, quoting and columns are those that the programs document. Excel's "CSV UTF-8" has a byte order mark and,
where the decimal separator is a comma, semicolons. Its "CSV" is in Windows-1252, and its "Unicode Text" in UTF-16 with
tabs.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple


class Person(NamedTuple):
    first_name: str
    last_name: str
    address: str
    company: str
    city: str


PEOPLE = (
    Person("Ada", "Tan", "ada.tan@example.com", "Tan & Partners, Pte Ltd", "Singapore"),
    Person("Jürgen", "Müßig", "juergen@example.org", "Müßig; Söhne", "Köln"),
    Person("Zoë", "O’Neil", "zoe.oneil@example.net", '"The" Bakery', "Cork"),
    Person("Lucía", "Ortega", "lucia@example.com", "", "Málaga"),
)
ADDRESSES = [person.address for person in PEOPLE]


class Export(NamedTuple):
    """A file, and the names of the fields that its columns of first and last names become."""

    name: str
    content: bytes
    first_name: str = "first_name"
    last_name: str = "last_name"


def exports() -> list[Export]:
    """Return all files."""
    german = _csv(_sheet("E-Mail", "Vorname", "Nachname"), ";").encode("utf-8-sig")
    spanish = _csv(_sheet("Correo electrónico", "Nombre", "Apellidos"), ",", end="\n").encode()
    return [
        Export("excel-utf-8.csv", german, "vorname", "nachname"),
        Export("excel-windows-1252.csv", _csv(_sheet("E-Mail-Adresse"), ";").encode("cp1252")),
        Export("excel-unicode-text.txt", _csv(_sheet("Email"), "\t").encode("utf-16")),
        Export("excel-titles.csv", _with_titles()),
        Export("libreoffice.csv", spanish, "nombre", "apellidos"),
        Export("google-sheets.csv", _csv(_form(), ",").encode()),
        Export("mailchimp.csv", _csv(_mailchimp(), ",", end="\n", quoted=True).encode()),
        Export("eventbrite.csv", _csv(_eventbrite(), ",").encode("utf-8-sig")),
        Export("pretix.csv", _csv(_pretix(), ";", quoted=True).encode(), "given_name", "family_name"),
    ]


Rows = Sequence[Sequence[str]]


def _csv(rows: Rows, delimiter: str, *, end: str = "\r\n", quoted: bool = False) -> str:
    text = io.StringIO(newline="")
    writer = partial(csv.writer, text, delimiter=delimiter, lineterminator=end)
    (writer(quoting=csv.QUOTE_ALL) if quoted else writer()).writerows(rows)
    return text.getvalue()


def _sheet(address: str, first_name: str = "First name", last_name: str = "Last name") -> Rows:
    rows = [(each.first_name, each.last_name, each.company, each.address, each.city) for each in PEOPLE]
    return [(first_name, last_name, "Company", address, "City"), *rows]


def _with_titles() -> bytes:
    """A sheet with titles above the table, empty columns, a total below another column, and trailing delimiters."""
    rows = [(each.first_name, each.last_name, "", each.address, "", "") for each in PEOPLE]
    titles = [("Guest list, Winter Gala", "", "", "", "", ""), ("as of 30 November 2026", *[""] * 5), ("",) * 6]
    return _csv([*titles, ("First name", "Last name", "", "Contact", "", ""), *rows, ("",) * 6], ";").encode("cp1252")


def _form() -> Rows:
    """The answers of a Google form, whose address column is named after the question."""
    header = ("Timestamp", "Email Address", "First name", "Last name", "Will you come?", "Anything we should know?")
    rows = [("30/11/2026 09:15:02", each.address, each.first_name, each.last_name, "Yes", "") for each in PEOPLE]
    notes = ("30/11/2026 09:15:02", PEOPLE[0].address, "Ada", "Tan", "Yes", 'Vegetarian\nand "no" nuts')
    return [header, notes, *rows[1:]]


MAILCHIMP = """
Email Address,First Name,Last Name,Address,Phone Number,Birthday,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,
CONFIRM_IP,LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES,TAGS
"""
EVENTBRITE = """
Order #,Order Date,Buyer First Name,Buyer Last Name,Buyer Email,First Name,Last Name,Email,Quantity,Price Tier,
Ticket Type,Attendee #,Group,Order Type,Currency,Total Paid,Fees Paid,Eventbrite Fees,Eventbrite Payment Processing,
Attendee Status
"""
PRETIX = """
Event slug,Order code,Order total,Status,Email,Phone number,Order date,Order time,Company,Name,Given name,Family name,
Address,ZIP code,City,Country,State,Custom address field,VAT ID,Date of last payment,Fees,Order locale
"""


def _columns(names: str) -> list[str]:
    return names.replace("\n", "").split(",")


def _mailchimp() -> Rows:
    opted_in = ("2", "2026-05-01 10:00:00", "", "2026-05-01 10:00:00", "192.0.2.7", "1.2897", "103.8501", "8", "8")
    more = (*opted_in, "Asia/Singapore", "SG", "", "2026-06-01 08:00:00", "123456", "a1b2c3", "", '"VIP","Gala 2026"')
    rows = [
        (each.address, each.first_name, each.last_name, f"1 High St  {each.city}", "", "", *more) for each in PEOPLE
    ]
    return [_columns(MAILCHIMP), *rows]


def _eventbrite() -> Rows:
    order = ("1122334455", "2026-11-01 09:00:00+08:00", "Bea", "Buyer", "bea@example.com")
    ticket = ("1", "", "General Admission", "2345", "", "Eventbrite Completed", "SGD", "50.00", "0.00", "3.10", "1.25")
    rows = [(*order, each.first_name, each.last_name, each.address, *ticket, "Attending") for each in PEOPLE]
    return [_columns(EVENTBRITE), *rows]


def _pretix() -> Rows:
    return [_columns(PRETIX), *map(_pretix_row, PEOPLE)]


def _pretix_row(person: Person) -> Sequence[str]:
    name = f"{person.first_name} {person.last_name}"
    order = ("gala26", "A1B2C", "50.00", "paid", person.address, "+6591234567", "2026-11-01", "09:00:00")
    where = ("1 High St", "0123", person.city, "SG", "", "", "", "2026-11-01", "0.00", "en")
    return (*order, person.company, name, person.first_name, person.last_name, *where)


def main() -> None:
    folder = Path(sys.argv[1])
    for export in exports():
        (folder / export.name).write_bytes(export.content)


if __name__ == "__main__":
    main()
