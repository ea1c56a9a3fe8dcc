"""The questions of `flask setup`: which server, which login, and which sender. Each returns a checked answer."""

from __future__ import annotations

import re

from commands.setup.providers import PROVIDERS, Server, provider_of
from commands.setup.terminal import InvalidAnswer, ask, ask_secret, choose, say
from settings.parse import (
    HOST,
    SMTP_PORTS,
    EmailURL,
    InvalidValueError,
    Mailbox,
    RefusedError,
    has_control,
    is_this_machine,
    mailbox,
    mailbox_text,
)

OTHER = "Another mail server"
ENCRYPTION = {
    "smtp+tls": "STARTTLS, usually port 587",
    "smtp+ssl": "TLS from the start, usually port 465",
    "smtp": "none, usually port 25: for a server on this machine or in your own network",
}
NONE = "-"  # the answer that means no value, where Enter keeps the present one
APP_PASSWORD = re.compile("([a-z]{4} ?){4}")  # of Google, which shows it with spaces that do not count


def ask_server(present: EmailURL) -> EmailURL:
    """Return the mail server of a provider, or any other one. The login is still missing."""
    known = provider_of(present.host)
    names = [provider.name for provider in PROVIDERS]
    default = names.index(known[0].name) if known else len(PROVIDERS) if present.host else None
    say("Which provider sends your mail?")
    chosen = choose("Provider", [*names, OTHER], default)
    say()
    if chosen == len(PROVIDERS):
        return ask_details(present if default == chosen else EmailURL("smtp+tls"))
    servers = PROVIDERS[chosen].servers
    server = servers[0]
    if len(servers) > 1:
        say(f"{PROVIDERS[chosen].name} has several servers. Which one is yours?")
        purposes = [each.purpose for each in servers]
        server = servers[choose("Server", purposes, servers.index(known[1]) if known and known[1] in servers else None)]
        say()
    if server.has(present.host):
        return EmailURL(present.scheme, _in_region(server, present.host), present.port)
    return EmailURL("smtp+tls", _in_region(server, ""), server.port)


def ask_details(present: EmailURL) -> EmailURL:
    """Return any mail server: host, port and encryption. The login is that of `present`."""
    host = ask("Host name of the mail server", _host, present.host)
    say("Encryption:")
    schemes = list(ENCRYPTION)
    scheme = schemes[choose("Encryption", list(ENCRYPTION.values()), schemes.index(present.scheme))]
    usual = SMTP_PORTS[present.scheme]  # any other port stays when the encryption changes
    port = ask("Port", _port, str(SMTP_PORTS[scheme] if present.port in (0, usual) else present.port))
    return present._replace(scheme=scheme, host=host, port=port)


def ask_login(server: EmailURL, present: EmailURL, sender: Mailbox) -> EmailURL:
    """Return the server with a user name and password. Enter keeps those of `present`, if it is the same server."""
    if server.scheme == "smtp" and not is_this_machine(server.host):
        say("Without encryption, a password could be read on the network, so this server is used without a login.")
        return server._replace(user=None, password=None)
    known = provider_of(server.host)
    about = known[1] if known else Server("", "If the server needs no login, press Enter.")
    say(about.hint)
    is_present = server.host == present.host
    kept = present.password or "" if is_present else ""  # never sent to another server
    if about.one_token:
        token = ask_secret(about.hidden_label, _required, kept)
        return server._replace(user=token, password=token)
    user = about.user or _ask_user(about, present.user or "" if is_present else "", sender, required=known is not None)
    if not user:
        return server._replace(user=None, password=None)
    password = ask_secret(about.hidden_label, _required, kept if user == present.user else "")
    if server.host == "smtp.gmail.com" and APP_PASSWORD.fullmatch(password):
        password = password.replace(" ", "")
    return server._replace(user=user, password=password)


def _ask_user(about: Server, kept: str, sender: Mailbox, *, required: bool) -> str:
    """Return the user name, or '' if the server needs no login."""
    if required:
        return ask(about.user_label, _required, kept or (sender.address if about.user_is_sender else ""))
    none = f" ({NONE} for no login)" if kept else ""
    user = ask(f"{about.user_label}{none}", _text, kept)
    return "" if user == NONE else user


def ask_sender(present: Mailbox | None) -> Mailbox:
    """Return the sender's address and name."""
    address = ask("Sender's address", _address, present.address if present else "")
    name = present.name if present else ""
    label = f"Sender's name ({NONE} for none)" if name else "Sender's name, such as Summer Club"
    return ask(label, lambda typed: _named("" if typed == NONE else typed, address), name)


def _in_region(server: Server, present: str) -> str:
    """Return the host name of a server, with the region that the person enters if the name contains one."""
    before, marker, after = server.host.partition("{region}")
    if not marker:
        return server.host
    region = present.removeprefix(before).removesuffix(after)
    return f"{before}{ask('Region, such as eu-west-1', _region, region)}{after}"


def _required(typed: str) -> str:
    if not typed:
        raise InvalidAnswer("This server needs a login. To stop, press Ctrl-C.")
    return _text(typed)


def _text(typed: str) -> str:
    if has_control(typed):
        raise InvalidAnswer("That contains a character that a login cannot have.")
    return typed


def _host(typed: str) -> str:
    host = typed.lower()
    if not re.fullmatch(HOST, host):
        raise InvalidAnswer(
            "Enter only the name, such as smtp.example.com. Write an international name in its ASCII form (xn--…)."
        )
    return host


def _port(typed: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", typed) or not 1 <= int(typed) <= 65535:
        raise InvalidAnswer("Enter a number from 1 to 65535.")
    return int(typed)


def _region(typed: str) -> str:
    if not re.fullmatch("[a-z]+(-[a-z]+)+-[0-9]+", typed):
        raise InvalidAnswer("Enter the code of the region, such as eu-west-1. The SES console shows it at the top.")
    return typed


def _address(typed: str) -> str:
    try:
        sender = mailbox(typed)
    except RefusedError:
        raise InvalidAnswer("Enter an address such as news@example.com, in ASCII.") from None
    if sender.name:
        raise InvalidAnswer("Enter only the address. The name is the next question.")
    if "@" not in typed or typed.endswith("@localhost"):
        raise InvalidAnswer("Mail servers reject this address. Enter one of yours, such as news@example.com.")
    return sender.address


def _named(name: str, address: str) -> Mailbox:
    try:
        return mailbox(mailbox_text(name, address))
    except InvalidValueError:
        raise InvalidAnswer('That name cannot be used. Remove line breaks and the characters "=?".') from None
