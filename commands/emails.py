"""`flask emails`: list and show emails, and cancel, retry or release them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any

import click

import operations
from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import (
    EMAIL_STATUSES,
    RETRYABLE_STATUSES,
    Audience,
    AudienceCount,
    Cancelled,
    Database,
    Email,
    EmailSummary,
    Standings,
    open_database,
)
from intake.email_options import AUDIENCE_WORDS
from intake.errors import ValidationError
from intake.search import clean_subject_search
from intake.text import printable
from monitoring.delivery_health import problems
from monitoring.humanize import pluralize
from operations import get_email, get_summary
from web.api.serializers import recipient_counts
from web.services import current_services, current_settings

PAGE_SIZE = 200
MAX_SHOWN_ADDRESSES = 5
MAX_SUBJECT_LENGTH = 60  # characters, in the list


class EventId(click.ParamType[int]):
    """A 64-bit integer, which may be negative."""

    name = "event_id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = 2**63
        if not -(2**63) <= number < 2**63:
            self.fail(f"{value!r} is not a 64-bit integer", param, ctx)
        return number


# So that -5 is an event_id, not an option.
NEGATIVE: dict[str, Any] = {"ignore_unknown_options": True}
event_id_argument = click.argument("event_id", type=EventId())


@click.group()
def emails() -> None:
    """List, show, cancel, retry and release emails."""


@emails.command("list")
@click.option("--search", metavar="TEXT", help="Show only emails whose subject contains each word.")
@click.option("--status", type=click.Choice(EMAIL_STATUSES), help="Show only emails with this status.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Maximum number to show; 0 for all."
)
@json_option
@plain_errors
def list_(search: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List emails, latest due time first."""
    try:
        words = clean_subject_search(search) if search is not None else ()
    except ValidationError as error:
        raise click.ClickException(f"--search: the text {error.message}") from None
    with _database() as database:
        for summary in islice(_summaries(database, words, status), limit or None):
            if as_json:
                echo_json(_as_json(summary))
            else:
                click.echo(_as_line(summary, current_settings().timezone))


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def show(event_id: int, as_json: bool) -> None:
    """Show an email's progress, delay and failures."""
    with _database() as database:
        summary, email = get_summary(database, event_id), get_email(database, event_id)
        reasons = database.deliveries.reasons(event_id)
        waits = summary.status == "sending" or (summary.status == "scheduled" and summary.due_at <= datetime.now(UTC))
        found = problems(database, current_settings().scheduler) if waits else []
        may_retry = summary.status in ("sending", "sent") and (summary.failed or summary.unknown)
        standings = database.deliveries.standings(event_id) if may_retry else Standings({})
        count = operations.count_recipients(database, summary)
    pruned = email.content_digest is not None
    if as_json:
        listed = {"reasons": [reason._asdict() for reason in reasons], "problems": [each._asdict() for each in found]}
        echo_json({**_as_json(summary), **_audience_as_json(email.audience, count), "pruned": pruned, **listed})
        return
    for line in (*_in_full(summary, current_settings().timezone), *_options(email, count)):
        click.echo(printable(line))
    if standings.counts:
        click.echo(_retryable(standings))
    for problem in found:
        click.echo(printable(f"problem: {problem.text} ({problem.remedy})"))
    for reason in reasons:
        click.echo(
            printable(f"  {reason.count:,} {reason.status}: {reason.reason}, for example {reason.example_address}")
        )
        click.echo(printable(f"      {reason.example_reply}"))
    if pruned:
        click.echo("content and deliveries: pruned")


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def cancel(event_id: int, as_json: bool) -> None:
    """Cancel an email that is not fully sent.

    Messages that were already sent, or are being sent right now, cannot be recalled.
    """
    with _database() as database:
        cancelled = operations.cancel_email(database, current_services().wake_ups, event_id, datetime.now(UTC))
    if as_json:
        echo_json({"event_id": event_id, **cancelled._asdict()})
    else:
        click.echo(_after_cancelling(cancelled))


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@click.option("--only", type=click.Choice(RETRYABLE_STATUSES), help="Retry only deliveries with this status.")
@json_option
@plain_errors
def retry(event_id: int, only: str | None, as_json: bool) -> None:
    """Retry failed and unknown deliveries.

    The message of an unknown delivery (unconfirmed on the pages) may have arrived. If so, its recipient gets it twice.
    """
    statuses = (only,) if only else RETRYABLE_STATUSES
    wake_ups = current_services().wake_ups
    with _database() as database:
        count = operations.retry_deliveries(database, wake_ups, event_id, datetime.now(UTC), statuses)
        blocked = operations.blocked_deliveries(database, event_id, statuses)
    if as_json:
        echo_json({"event_id": event_id, "retried": count, **({"not_retried": blocked} if blocked else {})})
        return
    found = pluralize(count, "delivery", "deliveries")
    click.echo(f"Retrying {found} on the next sweep." if count else "There are no deliveries to retry.")
    if blocked:
        click.echo(f"{sum(blocked.values()):,} cannot be retried: {operations.why_blocked(blocked)}.")


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def release(event_id: int, as_json: bool) -> None:
    """Release an email that is on hold.

    If it is from a restored backup, first check whether it was already sent.
    """
    with _database() as database:
        status, _ = operations.release_email(database, current_services().wake_ups, event_id, datetime.now(UTC))
    if as_json:
        echo_json({"event_id": event_id, "status": status})
    else:
        click.echo(f"Released. Status: {status}.")


def _after_cancelling(cancelled: Cancelled) -> str:
    """Say what was sent before the email was cancelled. `Cancelled` leaves out recipients without a delivery yet."""
    if not cancelled.sent and not cancelled.in_flight:
        return "Cancelled before it was sent to anyone."
    gone = _in_mode("sent", "saved in the outbox")
    text = f"Cancelled. {pluralize(cancelled.sent, 'message')} had already been {gone}"
    return f"{text}, and {cancelled.in_flight:,} may still arrive." if cancelled.in_flight else f"{text}."


def _database() -> Database:
    return open_database(current_settings())


def _summaries(database: Database, words: Sequence[str], status: str | None) -> Iterator[EmailSummary]:
    after: tuple[datetime, int] | None = None
    while words:
        found = database.emails.search(words, after, PAGE_SIZE, status, newest_first=True)
        yield from found.rows
        after = found.next_after
        if after is None:
            return
    while page := database.emails.page(after, PAGE_SIZE, status, newest_first=True):
        yield from page
        after = page[-1].due_at, page[-1].event_id


def _as_line(summary: EmailSummary, zone: tzinfo) -> str:
    """Return tab-separated columns, which scripts can split."""
    columns = (str(summary.event_id), summary.status, _local(summary.due_at, zone), _counts(summary) or "-")
    return "\t".join((*columns, printable(summary.subject.replace("\t", " "), MAX_SUBJECT_LENGTH)))


def _in_full(summary: EmailSummary, zone: tzinfo) -> Iterator[str]:
    yield f"email {summary.event_id}: {summary.status}" + (f" ({summary.held_because})" if summary.held_because else "")
    yield f"subject: {summary.subject}"
    yield f"due: {_local(summary.due_at, zone)}"
    yield f"submitted: {_local(summary.created_at, zone)}"
    if summary.finished_at:
        yield f"finished: {_local(summary.finished_at, zone)}"
    if summary.lateness:
        first, last = summary.lateness
        yield f"delay: {first} s (first delivery) to {last} s (last)"
    if summary.expected:
        yield f"deliveries: {_counts(summary)}"


def _options(email: Email, count: AudienceCount | None) -> Iterator[str]:
    """Yield who an email is for, and what differs from the settings."""
    yield f"for: {_audience(email.audience)}"
    if count is not None:
        inactive = ((count.unsubscribed, "unsubscribed"), (count.rejected, "rejected"))
        left_out = " and ".join(f"{number:,} {status}" for number, status in inactive if number)
        yield f"recipients now: {count.recipients:,}" + (f" ({left_out} left out)" if left_out else "")
    if email.recipients_max is not None:
        yield f"maximum recipients: {email.recipients_max:,} (held if there are more)"
    if email.from_name is not None:
        yield f"sender's name: {email.from_name}"
    if email.reply_to is not None:
        yield f"reply to: {email.reply_to}"
    if email.personal:
        yield "personal fields: filled in"


def _audience(audience: Audience) -> str:
    """Return text such as `gala, staff (except vip)`, `everyone (except staff)` or `ada@example.com and 3 more`."""
    if audience.to:
        shown = ", ".join(address.text for address in audience.to[:MAX_SHOWN_ADDRESSES])
        others = len(audience.to) - MAX_SHOWN_ADDRESSES
        return f"{shown} and {others:,} more" if others > 0 else shown
    lists = ", ".join(audience.lists) or "everyone"
    return f"{lists} (except {', '.join(audience.exclude_lists)})" if audience.exclude_lists else lists


def _counts(summary: EmailSummary) -> str:
    """Return text such as `3 of 5 sent, 2 failed`, or nothing if the email has not started."""
    if not summary.expected:
        return ""
    others = ((summary.failed, "failed"), (summary.unknown, "unknown"), (summary.cancelled, "cancelled"))
    parts = [
        f"{summary.sent:,} of {summary.expected:,} {_in_mode('sent', 'in the outbox')}",
        *(f"{count:,} {name}" for count, name in others if count),
    ]
    return ", ".join(parts)


def _in_mode(with_server: str, with_outbox: str) -> str:
    """Return the first text, or the second while no mail server is set, because then nothing is really sent."""
    return with_outbox if current_settings().email_url.path else with_server


def _retryable(standings: Standings) -> str:
    """Return text such as `2 can be retried (flask emails retry), 8 cannot: 8 recipients are rejected`."""
    text = f"{standings.retryable(*RETRYABLE_STATUSES):,} can be retried (flask emails retry)"
    blocked = standings.blocked(*RETRYABLE_STATUSES)
    return f"{text}, {sum(blocked.values()):,} cannot: {operations.why_blocked(blocked)}" if blocked else text


def _as_json(summary: EmailSummary) -> dict[str, object]:
    first, last = summary.lateness or (None, None)
    times = {"first_lateness": first, "last_lateness": last}
    return {**summary._asdict(), "audience": AUDIENCE_WORDS[summary.audience], **times}


def _audience_as_json(audience: Audience, count: AudienceCount | None) -> dict[str, object]:
    return {
        "lists": audience.lists,
        "exclude_lists": audience.exclude_lists,
        "to": [address.text for address in audience.to],
        "recipients": recipient_counts(count),
    }


def _local(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).isoformat(sep=" ")
