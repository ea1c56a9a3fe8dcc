"""Send valid and invalid sample requests to a running server, and compare each response with the expected one.

The valid requests save real emails on that server. They are due at the end of 2099, so they are not sent, but
they stay in its database. With --send, one more email is due immediately and goes to every recipient.
Exits with status 1 if a response is unexpected or the server does not respond.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
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
TOO_LARGE = 2_000_000_000  # bytes, announced but never sent
MAX_SHOWN = 70  # characters of a value


class Sample(NamedTuple):
    """A request and the expected response: the status, and a pattern that matches the whole body."""

    title: str
    fields: Mapping[str, str]
    status: int
    body: str
    headers: Mapping[str, str] = {}


class Answer(NamedTuple):
    status: int
    content_type: str
    body: str


class Server:
    """The server at `url`, and its access token if it requires one."""

    def __init__(self, url: SplitResult, token: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def post(self, sample: Sample) -> Answer:
        """Send a sample on a new connection. Raises NoAnswerError."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=30)
        headers = {"Content-Type": FORM, **self._headers, **sample.headers}
        # With a Content-Length header, http.client sends a file-like body unchanged, which is empty here.
        body = io.BytesIO() if "Content-Length" in headers else urlencode(sample.fields).encode()
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/send-emails", body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "backslashreplace")
            return Answer(response.status, response.getheader("Content-Type", ""), text)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(str(error) or type(error).__name__) from error
        finally:
            connection.close()


def samples(first_id: int, with_token: bool, send: bool) -> Iterator[Sample]:
    """Yield all requests in the order in which they must be sent. Their event_ids start at `first_id`."""
    good = {"event_id": str(first_id), "email_subject": "A sample", "email_content": "Hello.", "timestamp": NEVER}
    other = good | {"event_id": str(first_id + 1)}
    yield Sample("an email", good, 200, "Successful")
    yield Sample("the same email again", good, 400, "Error: .*UNIQUE constraint.*identical.*")
    changed = good | {"email_content": "Goodbye."}
    yield Sample("a different email with the same event_id", changed, 400, "Error: .*UNIQUE constraint.*different.*")
    unicode = other | {
        "email_subject": "Größe 日本語 😀",
        "email_content": "a+b & c=d %41\n.\nlast line",
        "more": "ignored",
    }
    yield Sample("unusual characters, and an unknown field", unicode, 200, "Successful")
    yield from refused(good | {"event_id": str(first_id + 2)})
    yield Sample("a body of 2 GB", {}, 413, "Error: .*", {"Content-Length": str(TOO_LARGE)})
    if with_token:
        yield Sample("a wrong token", good, 401, "Error: .*", {"Authorization": "Bearer wrong"})
    if send:
        now = good | {"event_id": str(first_id + 3), "email_content": "Sent immediately.", "timestamp": PAST}
        yield Sample("an email whose time has passed: it is sent immediately", now, 200, "Successful")


def refused(good: Mapping[str, str]) -> Iterator[Sample]:
    """Yield requests with an invalid field. None of them saves anything."""
    without = {name: value for name, value in good.items() if name not in ("event_id", "timestamp")}
    yield Sample("no event_id, no timestamp", without, 400, "Missing fields: event_id, timestamp")
    everything = "Missing fields: event_id, email_subject, email_content, timestamp"
    yield Sample("no fields", {}, 400, everything)
    for event_id in ("twelve", "1_000", "9223372036854775808"):
        yield Sample("an invalid event_id", {**good, "event_id": event_id}, 400, "Bad event_id")
    for timestamp in ("tomorrow", "2030-02-30 08:00:00", "2030-01-01T08:00:00Z"):
        yield Sample("an invalid timestamp", {**good, "timestamp": timestamp}, 400, "Bad timestamp")
    for subject in ("a\r\nBcc: someone@example.com", "=?utf-8?q?a=0ABcc:_someone@example.com?="):
        title = "a line break in the subject" if "\n" in subject else "a line break hidden in the subject"
        yield Sample(title, {**good, "email_subject": subject}, 400, "Error: .*email_subject.*")
    yield Sample("a NUL in the content", {**good, "email_content": "a\0b"}, 400, "Error: .*email_content.*")


def fault(sample: Sample, answer: Answer) -> str | None:
    """Return what is wrong with a response, or None."""
    if answer.status != sample.status:
        return f"the status should be {sample.status}"
    if not re.fullmatch(sample.body, answer.body):
        return f"the body should be {sample.body}"
    if answer.content_type.lower() != PLAIN:
        return f"the Content-Type should be {PLAIN}, not {answer.content_type}"
    return None


def show(number: int, sample: Sample, answer: Answer) -> bool:
    """Print a request and its response. Return whether the response is as expected."""
    print(f"{number:2}  {sample.title}")
    for name, value in {**sample.headers, **sample.fields}.items():
        shown = repr(value)
        print(f"      {name:<15}{shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '…'}")
    print(f"      → {answer.status}  {answer.body[:500]}")
    wrong = fault(sample, answer)
    print(f"      {'UNEXPECTED: ' + wrong if wrong else 'OK'}\n")
    return wrong is None


def main() -> int:
    """Send all samples. Return the exit code."""
    arguments = parse_arguments()
    first_id = time.time_ns() // 1000 * 10  # unique, unless two start in the same microsecond
    chosen = samples(first_id, bool(arguments.token), arguments.send)
    try:
        good = list(send_all(Server(arguments.url, arguments.token), chosen))
    except NoAnswerError as error:
        return fail(f"No response from {arguments.url.geturl()} ({error}). Start the server: ./start_flask.sh")
    except PermissionDeniedError as error:
        return fail(f"The server rejected the token. Use --token-file FILE. Response: {error}")
    print(f"{sum(good)} of {len(good)} responses were as expected.")
    return 0 if all(good) else 1


class NoAnswerError(Exception):
    """The server cannot be reached, or did not respond."""


class PermissionDeniedError(Exception):
    """The server requires a valid access token."""


def send_all(server: Server, chosen: Iterator[Sample]) -> Iterator[bool]:
    """Send and show each sample. Yield whether its response is as expected."""
    for number, sample in enumerate(chosen, 1):
        answer = server.post(sample)
        if answer.status == 401 and number == 1:
            raise PermissionDeniedError(answer.body)
        yield show(number, sample, answer)


def fail(reason: str) -> int:
    """Print the reason for stopping. Return the exit code."""
    print(reason, file=sys.stderr)
    return 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:5000", type=server_url, help="default: %(default)s")
    parser.add_argument("--token", help="an API_TOKEN of the server; visible in the process list")
    parser.add_argument(
        "--token-file",
        type=token_in,
        dest="token",
        metavar="FILE",
        help="a file that contains the token, or - for standard input",
    )
    parser.add_argument("--send", action="store_true", help="also send an email to every recipient, immediately")
    return parser.parse_args()


def token_in(name: str) -> str:
    """Return the token in a file, or on standard input."""
    try:
        return (sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")).strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error.strerror}") from None


def server_url(text: str) -> SplitResult:
    """Return the URL of a server. Raises ValueError."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:  # port may also raise ValueError
        raise ValueError(text)
    return url


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that cannot show a character
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
