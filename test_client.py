"""Sends sample requests, good and bad, to a running server and prints each answer beside what it should be.

The good ones are real emails of that server. They are due at the end of 2099, so that nobody gets them; they
stay in its database. With --send one more is due at once, and goes to every recipient at the next sweep.
Exits 1 if an answer is not what it should be, or if no server answers.
"""

from __future__ import annotations

import argparse
import http.client
import io
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

FORM = "application/x-www-form-urlencoded"
PLAIN = "text/plain; charset=utf-8"
NEVER = "2099-12-31 23:59:59"
PAST = "2000-01-01 00:00:00"
TOO_LARGE = 2_000_000_000  # bytes, announced and never sent
SHOWN = 70  # characters of a value


class Sample(NamedTuple):
    """A request, and its answer: the status, and a pattern that the whole body matches."""

    title: str
    fields: Mapping[str, str]
    status: int
    body: str
    headers: Mapping[str, str] = {}


class Answer(NamedTuple):
    """What came back."""

    status: int
    content_type: str
    body: str


class Server:
    """The server at `url`, and the token that it may ask for."""

    def __init__(self, url: SplitResult, token: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def post(self, sample: Sample) -> Answer:
        """Send one sample on a connection of its own."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=30)
        headers = {"Content-Type": FORM, **self._headers, **sample.headers}
        # Given its length by a header, http.client sends a body that is still to be read as it is: empty, here.
        body = io.BytesIO() if "Content-Length" in headers else urlencode(sample.fields).encode()
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/send-emails", body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "backslashreplace")
            return Answer(response.status, response.getheader("Content-Type", ""), text)
        finally:
            connection.close()


def samples(first_id: int, with_token: bool, send: bool) -> Iterator[Sample]:
    """All requests, in the order in which they have to be sent; their event_ids begin with `first_id`."""
    good = {"event_id": str(first_id), "email_subject": "A sample", "email_content": "Hello.", "timestamp": NEVER}
    other = good | {"event_id": str(first_id + 1)}
    yield Sample("an email", good, 200, "Successful")
    yield Sample("the same once more", good, 400, "Error: .*UNIQUE constraint.*identical.*")
    changed = good | {"email_content": "Good bye."}
    yield Sample("another with its event_id", changed, 400, "Error: .*UNIQUE constraint.*different.*")
    unicode = other | {
        "email_subject": "Größe 日本語 😀",
        "email_content": "a+b & c=d %41\n.\nlast line",
        "more": "ignored",
    }
    yield Sample("any characters, and a field too many", unicode, 200, "Successful")
    yield from refused(good | {"event_id": str(first_id + 2)})
    yield Sample("a body of 2 GB", {}, 413, "Error: .*", {"Content-Length": str(TOO_LARGE)})
    if with_token:
        yield Sample("a wrong token", good, 401, "Error: .*", {"Authorization": "Bearer wrong"})
    if send:
        now = good | {"event_id": str(first_id + 3), "email_content": "Sent at once.", "timestamp": PAST}
        yield Sample("an email whose time is past: it is sent by the next sweep", now, 200, "Successful")


def refused(good: Mapping[str, str]) -> Iterator[Sample]:
    """Requests with a fault in a field: none of them saves anything."""
    without = {name: value for name, value in good.items() if name not in ("event_id", "timestamp")}
    yield Sample("no event_id, no timestamp", without, 400, "Missing fields: event_id, timestamp")
    everything = "Missing fields: event_id, email_subject, email_content, timestamp"
    yield Sample("nothing at all", {}, 400, everything)
    for event_id in ("twelve", "1_000", "9223372036854775808"):
        yield Sample("an event_id that is none", {**good, "event_id": event_id}, 400, "Bad event_id")
    for timestamp in ("tomorrow", "2030-02-30 08:00:00", "2030-01-01T08:00:00Z"):
        yield Sample("a timestamp that is none", {**good, "timestamp": timestamp}, 400, "Bad timestamp")
    for subject in ("a\r\nBcc: someone@example.com", "=?utf-8?q?a=0ABcc:_someone@example.com?="):
        title = "a line break in the subject" if "\n" in subject else "a line break hidden in the subject"
        yield Sample(title, {**good, "email_subject": subject}, 400, "Error: .*email_subject.*")
    yield Sample("a NUL in the content", {**good, "email_content": "a\0b"}, 400, "Error: .*email_content.*")


def fault(sample: Sample, answer: Answer) -> str | None:
    """What is wrong with an answer."""
    if answer.status != sample.status:
        return f"the status should be {sample.status}"
    if not re.fullmatch(sample.body, answer.body):
        return f"the body should be {sample.body}"
    if answer.content_type.lower() != PLAIN:
        return f"the Content-Type should be {PLAIN}, not {answer.content_type}"
    return None


def show(number: int, sample: Sample, answer: Answer) -> bool:
    """Print a request and its answer; whether it is as it should be."""
    print(f"{number:2}  {sample.title}")
    for name, value in {**sample.headers, **sample.fields}.items():
        shown = repr(value)
        print(f"      {name:<15}{shown if len(shown) <= SHOWN else shown[:SHOWN] + '…'}")
    print(f"      → {answer.status}  {answer.body[:500]}")
    wrong = fault(sample, answer)
    print(f"      {'WRONG: ' + wrong if wrong else 'as it should be'}\n")
    return wrong is None


def main() -> int:
    """Send all samples; the exit code."""
    arguments = parse_arguments()
    first_id = time.time_ns() // 1000 * 10  # unique, unless two start in the same microsecond
    chosen = samples(first_id, bool(arguments.token), arguments.send)
    try:
        good = list(send_all(Server(arguments.url, arguments.token), chosen))
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        return fail(f"No server answers at {arguments.url.geturl()} ({reason}). Start one: ./start_flask.sh")
    except PermissionDeniedError as error:
        return fail(f"The server wants another token: --token-file FILE. It says: {error}")
    print(f"{sum(good)} of {len(good)} answers are as they should be.")
    return 0 if all(good) else 1


class PermissionDeniedError(Exception):
    """The server answers nothing without a right token."""


def send_all(server: Server, chosen: Iterator[Sample]) -> Iterator[bool]:
    """Send and show each sample; whether its answer is as it should be."""
    for number, sample in enumerate(chosen, 1):
        answer = server.post(sample)
        if answer.status == 401 and number == 1:
            raise PermissionDeniedError(answer.body)
        yield show(number, sample, answer)


def fail(reason: str) -> int:
    """Say why nothing more can be done; the exit code."""
    print(reason, file=sys.stderr)
    return 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:5000", type=server_url, help="default: %(default)s")
    parser.add_argument("--token", help="one of the server's API_TOKENs; others can see it in the list of processes")
    parser.add_argument("--token-file", type=token_in, dest="token", metavar="FILE", help="a file that holds it, or -")
    parser.add_argument("--send", action="store_true", help="also send an email at once, to every recipient")
    return parser.parse_args()


def token_in(name: str) -> str:
    """The token in a file, or on standard input."""
    try:
        return (sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")).strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error.strerror}") from None


def server_url(text: str) -> SplitResult:
    """The address of a server."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:  # port raises ValueError, too
        raise ValueError(text)
    return url


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character
    sys.exit(main())
