"""Log in to a mail server without sending mail, as `flask check` does."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from delivery.interface import SessionError
from delivery.smtp.login_check import LoginResult, try_login
from delivery.smtp.sender import SMTPServer
from monitoring.mail_server import certificate as certificate_findings
from monitoring.mail_server import remedy_for
from tests.support.ports import unused_port
from tests.support.servers.smtp_server import SILENCE, ScriptedServer, StartTLS, Wait

DAY = 24 * 60 * 60


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """Return a key and a self-signed certificate for localhost that expires in two days."""
    path, key = tmp_path / "localhost.pem", tmp_path / "localhost.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return str(path)


def refusal(server: ScriptedServer, seconds: float = 60.0, **how: str) -> str:
    with pytest.raises(SessionError) as refused:
        try_login(SMTPServer("127.0.0.1", server.port, **how), seconds)
    return refused.value.reason


def test_a_server_without_a_login_is_greeted_and_left_without_mail() -> None:
    with ScriptedServer() as server:
        welcome = try_login(SMTPServer("127.0.0.1", server.port))
        assert welcome == LoginResult("[127.0.0.1]:" + str(server.port))
        assert [line.split()[0] for line in server.script.lines] == [b"EHLO", b"QUIT"]
        assert server.accepted == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_login_is_tried_under_tls_and_the_certificates_end_is_reported(security: str, certificate: str) -> None:
    offers = ("STARTTLS",) if security == "starttls" else ("AUTH PLAIN",)
    server = ScriptedServer(
        certificate=certificate, tls_at_once=security == "tls", offers=offers, offers_in_tls=("AUTH PLAIN",)
    )
    with server:
        welcome = try_login(SMTPServer("127.0.0.1", server.port, security, "me", "secret", certificate))
        assert [line.split()[0] for line in server.script.lines][-2:] == [b"AUTH", b"QUIT"]
    assert welcome.tls == "TLSv1.3"
    assert welcome.certificate_expires_at is not None
    assert welcome.certificate_expires_at == pytest.approx(time.time() + 2 * DAY, abs=60)


def test_a_refused_login_is_reported_in_the_servers_words() -> None:
    with ScriptedServer(offers=("AUTH PLAIN",), on={"AUTH": lambda line, n: "535 5.7.8 no, not you"}) as server:
        reason = refusal(server, user="me", password="hunter2")
        assert reason.endswith(": 535 5.7.8 no, not you")
        assert "hunter2" not in reason
        assert server.script.counts["AUTH"] == 1


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    began = time.monotonic()
    with ScriptedServer(on={"CONNECT": lambda line, n: SILENCE}) as server:
        assert refusal(server, seconds=0.2).endswith("timed out at GREETING")
    assert time.monotonic() - began < 30


def test_a_server_that_answers_a_little_at_a_time_is_given_up_in_time() -> None:
    began = time.monotonic()
    with ScriptedServer(on={"EHLO": lambda line, n: b"250-x\r\n250-"}) as server:
        assert "timed out at EHLO" in refusal(server, seconds=2)
    assert time.monotonic() - began < 30


def test_tls_that_does_not_come_is_given_up_in_time(certificate: str) -> None:
    with ScriptedServer(
        certificate=certificate, offers=("STARTTLS",), on={"STARTTLS": lambda line, n: ("220 go", Wait(100))}
    ) as server:
        assert "timed out at TLS" in refusal(server, seconds=3, security="starttls")


def test_a_self_signed_certificate_is_named(certificate: str) -> None:
    on = {"STARTTLS": lambda line, n: ("220 go", StartTLS())}
    with ScriptedServer(certificate=certificate, offers=("STARTTLS",), on=on) as server:
        reason = refusal(server, security="starttls")
    assert "TLS: self-signed certificate" in reason
    assert remedy_for(reason).startswith("the server needs a valid certificate")


def test_a_port_on_which_nobody_listens_is_reported() -> None:
    with pytest.raises(SessionError, match=r"Connection refused$"):
        try_login(SMTPServer("127.0.0.1", unused_port()))


def test_a_host_name_that_does_not_exist_is_reported() -> None:
    with pytest.raises(SessionError, match=r"^no\.such\.host\.invalid: "):
        try_login(SMTPServer("no.such.host.invalid", 25))


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    for days, level in ((13, "warning"), (15, "ok"), (-1, "warning")):
        (finding,) = certificate_findings(LoginResult("here", "TLSv1.3", 1_000_000 + days * DAY), now=1_000_000)
        assert finding.level == level
    assert list(certificate_findings(LoginResult("here"), now=0)) == []
