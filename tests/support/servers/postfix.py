"""Fixture: a real Postfix, only for the tests.

It delivers mail for every address to one Maildir, so that no mail can leave this machine. It is as strict as Postfix
can be. It neither reads nor changes a Postfix that is installed on this machine.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.ports import is_listening, unused_port
from tests.support.project_copy import missing

USER = "news@example.com"
PASSWORD = "ha%2Fse /?:@#1"  # with characters that have a meaning in a URL
SMTP, SUBMISSION, SMTPS, OLD, HASTY = "smtp", "smtp+tls", "smtp+ssl", "old", "hasty"
_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

_MAIN = """\
compatibility_level = 3.6
myhostname = mail.example.com
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes

# Everything goes into one Maildir.
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = static:all
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:mailbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
local_transport = virtual
default_transport = error:mail stays on this machine
swap_bangpath = no
allow_percent_hack = no
allow_untrusted_routing = yes

# Rejections, read again for each connection.
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/refused
header_checks = regexp:{folder}/refused_subjects
message_size_limit = 1000000

# As strict as possible.
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_forbid_unauth_pipelining = yes
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
smtpd_helo_required = yes
strict_rfc821_envelopes = yes
strict_smtputf8 = yes
strict_8bitmime_body = yes
strict_mime_encoding_domain = yes

smtpd_tls_cert_file = {folder}/certificate.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {folder}/sasl
smtpd_error_sleep_time = 0
"""
_SASL = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {folder}/sasldb\nmech_list: PLAIN LOGIN\n"

_LOGIN = "-o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject"
_PORTS = {
    SMTP: "",
    SUBMISSION: f"-o smtpd_tls_security_level=encrypt -o smtpd_sasl_mechanism_filter=plain {_LOGIN}",
    SMTPS: f"-o smtpd_tls_wrappermode=yes -o smtpd_sasl_mechanism_filter=login {_LOGIN}",
    OLD: "-o smtpd_discard_ehlo_keywords=pipelining,8bitmime,smtputf8,size,enhancedstatuscodes",
    HASTY: "-o smtpd_timeout=1s -o smtpd_client_connection_count_limit=2 -o smtpd_client_event_limit_exceptions=",
}
_SERVICES = """\
cleanup   unix       n - n - 0 cleanup
qmgr      unix       n - n 300 1 qmgr
tlsmgr    unix       - - n 1000? 1 tlsmgr
rewrite   unix       - - n - - trivial-rewrite
bounce    unix       - - n - 0 bounce
defer     unix       - - n - 0 bounce
trace     unix       - - n - 0 bounce
error     unix       - - n - - error
retry     unix       - - n - - error
virtual   unix       - n n - - virtual
anvil     unix       - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""
# Runs until its standard input is closed, so that it never outlives the tests.
_MASTER = '"$0" -c "$1" & read -r _; kill $!; wait'


class Postfix:
    """A mail server with several ports: `smtp`; `smtp+tls` and `smtp+ssl`, which require a login; `old` and `hasty`.

    `old` announces neither PIPELINING nor 8BITMIME, SMTPUTF8 or SIZE. `hasty` accepts two connections per client and
    hangs up after one second of silence. All reject a message of more than a megabyte, or with a subject that starts
    with SPAM.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "certificate.pem"
        self.mailbox = folder / "mailbox"
        self.log = folder / "postfix.log"
        self._queue = folder / "queue"
        self._ports = {name: unused_port() for name in _PORTS}
        self._configure()

    def url(self, port: str = SMTP, login: tuple[str, str] | None = (USER, PASSWORD), host: str = "localhost") -> str:
        """Return an EMAIL_URL for one of the ports, with a login if the port requires it."""
        scheme = SMTP if port in (OLD, HASTY) else port
        user = ":".join(quote(each, safe="") for each in login) + "@" if login and scheme != SMTP else ""
        return f"{scheme}://{user}{host}:{self._ports[port]}"

    def environment(self, port: str = SMTP) -> dict[str, str]:
        """Return the settings of an installation that sends to this port."""
        return {"EMAIL_URL": self.url(port), "SSL_CERT_FILE": str(self.certificate)}

    def refuse(self, replies: Mapping[str, str]) -> None:
        """Reject only these recipients or domains, each with its reply, from the next connection on."""
        refused = self.folder / "refused"
        refused.write_text("".join(f"{what} {reply}\n" for what, reply in replies.items()))
        os.utime(refused, (0, 0))  # Postfix waits before it reads a file that changed within the last second

    def refuse_nothing(self) -> None:
        """Accept all recipients from the next connection on."""
        self.refuse({})

    def received(self) -> list[bytes]:
        """Wait until every accepted message is in the Maildir, and return them."""
        deadline = time.monotonic() + 30
        while self._under_way():
            assert time.monotonic() < deadline, f"Postfix does not deliver, see {self.log}"
            time.sleep(0.02)
        return [file.read_bytes() for file in self._files()]

    def forget(self) -> None:
        """Reset: remove the received messages, the rejections and the log."""
        self.received()
        for file in self._files():
            file.unlink()
        self.refuse_nothing()
        self.log.write_text("")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the server."""
        (daemons,) = _run("postconf", "-c", self.folder, "-hx", "daemon_directory").splitlines()
        _run("postfix", "-c", self.folder, "check")  # creates the queue
        command = ["sh", "-c", _MASTER, f"{daemons}/master", str(self.folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
            self._wait_until_it_listens()
            yield

    def _configure(self) -> None:
        nobody = pwd.getpwnam("nobody")
        values = {"folder": self.folder, "uid": nobody.pw_uid, "gid": nobody.pw_gid}
        (self.folder / "main.cf").write_text(_MAIN.format_map(values))
        (self.folder / "master.cf").write_text(self._listeners() + _SERVICES)
        for name in ("queue", "data", "sasl", "mailbox", *(f"mailbox/{each}" for each in ("tmp", "new", "cur"))):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        for folder in (self.mailbox, *self.mailbox.iterdir()):
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        (self.folder / "sasl" / "smtpd.conf").write_text(_SASL.format_map(values))
        (self.folder / "refused_subjects").write_text("/^Subject: SPAM/ REJECT We take no spam\n")
        self.refuse_nothing()
        self._make_user()
        self._make_certificate()

    def _listeners(self) -> str:
        # One connection per process, so that the next process reads the current rejections.
        return "".join(
            f"127.0.0.1:{self._ports[name]} inet n - n - - smtpd -o max_use=1 {options}\n"
            for name, options in _PORTS.items()
        )

    def _make_user(self) -> None:
        name, _, domain = USER.partition("@")
        database = self.folder / "sasldb"
        _run("saslpasswd2", "-p", "-c", "-f", database, "-u", domain, name, stdin=PASSWORD)
        shutil.chown(database, "postfix")

    def _make_certificate(self) -> None:
        """Make a self-signed certificate for localhost."""
        keys = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
        _run("openssl", "req", "-x509", "-days", "2", *keys, *names, *usage, "-out", "certificate.pem", cwd=self.folder)

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + 30
        for port in self._ports.values():
            while not is_listening(port):
                assert time.monotonic() < deadline, f"Postfix does not listen: {self.log.read_text()}"
                time.sleep(0.02)

    def _under_way(self) -> bool:
        # In the order in which a message passes through them.
        return any(
            file.is_file() for queue in ("incoming", "active", "deferred") for file in (self._queue / queue).rglob("*")
        )

    def _files(self) -> list[Path]:
        return sorted((self.mailbox / "new").iterdir())


@pytest.fixture(scope="session")
def running_postfix() -> Iterator[Postfix]:
    """One server for all tests. Each test starts with the `postfix` fixture or `forget`."""
    if os.geteuid() != 0:
        missing("only root can start a Postfix")
    for command, package in {"postfix": "postfix", "saslpasswd2": "sasl2-bin", "openssl": "openssl"}.items():
        if shutil.which(command, path=_PATH) is None:
            missing(f"there is no {command} (apt install {package})")
    with tempfile.TemporaryDirectory(prefix="postfix-") as name:  # not tmp_path, which other users cannot read
        folder = Path(name)
        folder.chmod(0o755)
        postfix = Postfix(folder)
        with postfix.running():
            yield postfix


@pytest.fixture
def postfix(running_postfix: Postfix) -> Postfix:
    """A Postfix that has received nothing yet and refuses nothing."""
    running_postfix.forget()
    return running_postfix


def _run(command: str, *arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> str:
    line = [shutil.which(command, path=_PATH) or command, *arguments]
    done = subprocess.run(line, cwd=cwd, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
