"""`flask emails`: what goes out, who did not get it and why, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any

import click

import operations
from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import EMAIL_STATUSES, RETRYABLE_STATUSES, Database, EmailSummary, Standings, open_database
from intake.text import printable
from monitoring.delivery_health import problems
from operations import get_email, get_summary
from web.services import current_services, current_settings

PAGE_SIZE = 200
MAX_SUBJECT_LENGTH = 60  # characters, in the list


class EventId(click.ParamType[int]):
    """An integer of 64 bits, negative ones included."""

    name = "event_id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a usage error."""
        try:
            number = int(value)
        except ValueError:
            number = 2**63
        if not -(2**63) <= number < 2**63:
            self.fail(f"{value!r} is no integer of 64 bits", param, ctx)
        return number


# So that -5 is an event_id, not an option.
NEGATIVE: dict[str, Any] = {"ignore_unknown_options": True}
event_id_argument = click.argument("event_id", type=EventId())


@click.group()
def emails() -> None:
    """See what goes out, and cancel, retry or release it."""


@emails.command("list")
@click.option("--status", type=click.Choice(EMAIL_STATUSES), help="Only these.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="How many; 0: all.")
@json_option
@plain_errors
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """Show emails, those with the latest time first."""
    with _database() as database:
        for summary in islice(_summaries(database, status), limit or None):
            if as_json:
                echo_json(_as_json(summary))
            else:
                click.echo(_as_line(summary, current_settings().timezone))


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def show(event_id: int, as_json: bool) -> None:
    """Show one email: how far it has come, how late it was, and why deliveries failed."""
    with _database() as database:
        summary, email = get_summary(database, event_id), get_email(database, event_id)
        reasons = database.deliveries.reasons(event_id)
        waits = summary.status == "sending" or (summary.status == "scheduled" and summary.due_at <= datetime.now(UTC))
        found = problems(database, current_settings().scheduler) if waits else []
        may_retry = summary.status in ("sending", "sent") and (summary.failed or summary.unknown)
        standings = database.deliveries.standings(event_id) if may_retry else Standings({})
    pruned = email.content_digest is not None
    if as_json:
        listed = {"reasons": [reason._asdict() for reason in reasons], "problems": [each._asdict() for each in found]}
        echo_json({**_as_json(summary), "pruned": pruned, **listed})
        return
    for line in _in_full(summary, current_settings().timezone):
        click.echo(printable(line))
    if standings.counts:
        click.echo(_retryable(standings))
    for problem in found:
        click.echo(printable(f"problem: {problem.text} ({problem.remedy})"))
    for reason in reasons:
        click.echo(printable(f"  {reason.count:,} {reason.status}: {reason.reason}, such as {reason.example_address}"))
        click.echo(printable(f"      {reason.example_reply}"))
    if pruned:
        click.echo("its content and its deliveries were pruned")


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def cancel(event_id: int, as_json: bool) -> None:
    """Cancel an email, up to the last moment; says how many had gone already."""
    with _database() as database:
        cancelled = operations.cancel_email(database, current_services().wake_ups, event_id, datetime.now(UTC))
    if as_json:
        echo_json({"event_id": event_id, **cancelled._asdict()})
    else:
        gone = _in_mode("were sent", "were in the outbox")
        text = f"cancelled; {cancelled.sent:,} {gone} already, {cancelled.in_flight:,} are in flight"
        click.echo(f"{text}, {cancelled.cancelled:,} in line were cancelled")


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@click.option("--only", type=click.Choice(RETRYABLE_STATUSES), help="Without it: both.")
@json_option
@plain_errors
def retry(event_id: int, only: str | None, as_json: bool) -> None:
    """Put the failed and unknown deliveries of an email in line again."""
    statuses = (only,) if only else RETRYABLE_STATUSES
    wake_ups = current_services().wake_ups
    with _database() as database:
        count = operations.retry_deliveries(database, wake_ups, event_id, datetime.now(UTC), statuses)
        blocked = operations.blocked_deliveries(database, event_id, statuses)
    if as_json:
        echo_json({"event_id": event_id, "retried": count, **({"not_retried": blocked} if blocked else {})})
        return
    click.echo(f"{count:,} deliveries are in line again; the next sweep sends them")
    if blocked:
        click.echo(f"{sum(blocked.values()):,} cannot be retried: {operations.why_blocked(blocked)}")


@emails.command(context_settings=NEGATIVE)
@event_id_argument
@json_option
@plain_errors
def release(event_id: int, as_json: bool) -> None:
    """Let a held email go out. Look first whether it was sent already, if it is from a backup."""
    with _database() as database:
        status, _ = operations.release_email(database, current_services().wake_ups, event_id, datetime.now(UTC))
    if as_json:
        echo_json({"event_id": event_id, "status": status})
    else:
        click.echo(f"released: it is {status}")


def _database() -> Database:
    return open_database(current_settings())


def _summaries(database: Database, status: str | None) -> Iterator[EmailSummary]:
    after = None
    while page := database.emails.page(after, PAGE_SIZE, status, newest_first=True):
        yield from page
        after = page[-1].due_at, page[-1].event_id


def _as_line(summary: EmailSummary, zone: tzinfo) -> str:
    """Columns with tabs between them, as a script takes them apart."""
    columns = (str(summary.event_id), summary.status, _local(summary.due_at, zone), _counts(summary) or "-")
    return "\t".join((*columns, printable(summary.subject.replace("\t", " "), MAX_SUBJECT_LENGTH)))


def _in_full(summary: EmailSummary, zone: tzinfo) -> Iterator[str]:
    yield f"email {summary.event_id}: {summary.status}" + (
        f", because {summary.held_because}" if summary.held_because else ""
    )
    yield f"subject: {summary.subject}"
    yield f"due: {_local(summary.due_at, zone)}"
    yield f"posted: {_local(summary.created_at, zone)}"
    if summary.finished_at:
        yield f"finished: {_local(summary.finished_at, zone)}"
    if summary.lateness:
        first, last = summary.lateness
        accepted = _in_mode("accepted", "saved")
        yield f"lateness: the first was {accepted} {first} s after its time, the last {last} s"
    if summary.expected:
        yield f"deliveries: {_counts(summary)}"


def _counts(summary: EmailSummary) -> str:
    """`3 of 5 sent, 2 failed`; nothing before it began."""
    if not summary.expected:
        return ""
    others = ((summary.failed, "failed"), (summary.unknown, "unknown"), (summary.cancelled, "cancelled"))
    parts = [
        f"{summary.sent:,} of {summary.expected:,} {_in_mode('sent', 'in the outbox')}",
        *(f"{count:,} {name}" for count, name in others if count),
    ]
    return ", ".join(parts)


def _in_mode(with_server: str, with_outbox: str) -> str:
    """Return the first text, or the second while no mail server is set: then nothing is sent or accepted."""
    return with_outbox if current_settings().email_url.path else with_server


def _retryable(standings: Standings) -> str:
    """`2 can be retried (flask emails retry), 8 cannot: 8 recipients are rejected`."""
    text = f"{standings.retryable(*RETRYABLE_STATUSES):,} can be retried (flask emails retry)"
    blocked = standings.blocked(*RETRYABLE_STATUSES)
    return f"{text}, {sum(blocked.values()):,} cannot: {operations.why_blocked(blocked)}" if blocked else text


def _as_json(summary: EmailSummary) -> dict[str, object]:
    first, last = summary.lateness or (None, None)
    return {**summary._asdict(), "first_lateness": first, "last_lateness": last}


def _local(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).isoformat(sep=" ")
