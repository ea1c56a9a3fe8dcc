"""Try out the answers of `flask setup` on the real mail server, until they work or the person continues without.

First the login, as `flask check` tests it, then a message to an address of the person's choice. If the server refuses
something, only the answer that caused it is asked for again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from commands.setup.questions import NONE, ask_details, ask_login, ask_sender
from commands.setup.terminal import InvalidAnswer, ask, choose, say
from delivery.errors import MessageError
from intake.address import clean_typed_address
from intake.errors import ValidationError
from monitoring.finding import Finding, error
from monitoring.mail_server import check_mail_server, remedy_for
from sender.single_send import plain_message, send_single
from settings import Settings
from settings.parse import EmailURL, Mailbox, is_this_machine

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
SUBJECT = "Test message"
CONTENT = "This is a test. The service can now send mail through your mail server.\n"
# What happened to the test message, by the `result` of a SingleSend.
FAILURES = {
    "deferred": "the mail server deferred the test",
    "in_doubt": "the test may or may not have arrived",
    "failed": "the mail server rejected the test",
    "refused": "the test could not be sent",
    "unanswered": "the test was not sent",
}
CORRECTIONS = (
    "user name and password",
    "server, port and encryption",
    "sender",
    "nothing: test again",
    "nothing: continue without a successful test",
)
LOGIN, SERVER, SENDER, AGAIN, GO_ON = range(len(CORRECTIONS))
# The first pattern that occurs in a remedy says which answer was probably wrong.
CAUSES = ((r"user name|login", LOGIN), (r"MAIL_FROM|SPF", SENDER), (r"EMAIL_URL", SERVER))


class Answers(NamedTuple):
    server: EmailURL
    sender: Mailbox

    def applied_to(self, settings: Settings) -> Settings:
        """Return the settings as they will be."""
        return settings._replace(email_url=self.server, mail_from=self.sender)


def working(settings: Settings, answers: Answers) -> Answers:
    """Return the answers, corrected until the mail server accepts them or the person continues without a test."""
    recipient = ""
    while True:
        problem = _login_problem(answers.applied_to(settings))
        if problem is None:
            say()
            recipient = _ask_recipient(settings, recipient or answers.sender.address)
            problem = _sending_problem(answers.applied_to(settings), recipient) if recipient else None
        if problem is None:
            return answers
        say("What do you want to change?")
        correction = choose("Change", CORRECTIONS, _likely_cause(problem))
        if correction == GO_ON:
            return answers
        say()
        answers = _corrected(answers, correction)


def _login_problem(settings: Settings) -> Finding | None:
    """Log in to the mail server, show what it says, and return what is wrong."""
    say()
    say(f"Testing {settings.email_url.host}:{settings.email_url.port}. This takes a few seconds.")
    findings = list(check_mail_server(settings))
    for finding in findings:
        _show(finding)
    return next((finding for finding in findings if finding.level == "error"), None)


def _ask_recipient(settings: Settings, default: str) -> str:
    """Return the address for the test message, or '' for none."""

    def check(typed: str) -> str:
        if typed == NONE:
            return ""
        try:
            return clean_typed_address(typed, single_label=settings.single_label_domains).text
        except ValidationError as invalid:
            raise InvalidAnswer(f"The address {invalid.message.rstrip('.')}.") from None

    return ask(f"Address for the test ({NONE} to skip)", check, default)


def _sending_problem(settings: Settings, recipient: str) -> Finding | None:
    """Send a test message, show what the server says, and return what is wrong."""
    try:
        send = send_single(settings, plain_message(settings, SUBJECT, CONTENT), recipient)
    except MessageError as invalid:
        problem = error("test", str(invalid), "change MAIL_FROM")
    else:
        if send.result == "sent":
            _show(Finding("ok", "test", "the mail server accepted the test; check that it has arrived", ""))
            return None
        text = f"{FAILURES[send.result]}: {send.reply}"
        problem = error("test", text, remedy_for(text))
    _show(problem)
    return problem


def _show(finding: Finding) -> None:
    say(f"{finding.level}: {finding.text}", colour=COLOURS[finding.level])
    if finding.remedy:
        say(f"-> {finding.remedy}", indent="  ")


def _likely_cause(problem: Finding) -> int:
    return next((cause for pattern, cause in CAUSES if re.search(pattern, problem.remedy)), AGAIN)


def _corrected(answers: Answers, correction: int) -> Answers:
    """Ask for one answer again."""
    server, sender = answers
    if correction == SENDER:
        return answers._replace(sender=ask_sender(sender))
    if correction == LOGIN:
        return answers._replace(server=ask_login(server, server, sender))
    if correction == SERVER:
        changed = ask_details(server)
        if changed.user is None or (changed.scheme == "smtp" and not is_this_machine(changed.host)):
            changed = ask_login(changed, server, sender)
        return answers._replace(server=changed)
    return answers
