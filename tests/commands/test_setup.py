"""`flask setup`: a whole run in a real terminal, and each thing that can go wrong."""

from __future__ import annotations

import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from commands.setup import command
from commands.setup.providers import PROVIDERS
from settings import load_settings
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.ports import unused_port
from tests.support.recipients_command import commands_of
from tests.support.servers.postfix import PASSWORD, SUBMISSION, USER, Postfix
from tests.support.servers.smtp_server import SILENCE, ScriptedServer
from tests.support.terminal import COLUMNS, Terminal

SETUP = (sys.executable, "-m", "flask", "setup")
OWN = "8"  # another mail server
STOPPED = "Stopped. Nothing was changed."
Run = Callable[..., Result]


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command in this process, with these answers as if they came from a terminal."""
    monkeypatch.setattr(command, "is_interactive", lambda: True)
    for name in command.NAMES:
        monkeypatch.delenv(name, raising=False)

    def run(*answers: str) -> Result:
        stdin = "".join(f"{answer}\n" for answer in answers).encode()
        return commands_of(load_settings({}, tmp_path), "setup")(stdin=stdin)

    return run


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(offers=("AUTH PLAIN",)) as started:
        yield started


def local(port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the answers for a server on this machine without encryption: provider, host, encryption and port."""
    return [OWN, host, "3", str(port)]


SENDER = ["news@example.com", "Summer Club"]
LOGIN = ["me", "hunter2"]


def text_of(result: Result) -> str:
    """Return the output with single spaces, because it is wrapped."""
    return " ".join(result.output.split())


def env(folder: Path) -> str:
    return (folder / ".env").read_text()


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_a_whole_run_in_a_terminal(project_copy: Path, postfix: Postfix) -> None:
    before = (
        "# ours\nTIMEZONE='Europe/Berlin' # Größe\n\nMAIL_FROM=Old <old@example.com>   # the sender\nexport COLOUR=red"
    )
    real = project_copy / "kept" / "settings.env"
    real.parent.mkdir()
    real.write_text(before)
    real.chmod(0o600)
    (project_copy / ".env").symlink_to(real)
    port = postfix.url(SUBMISSION).rpartition(":")[2]
    environment = CLEAN_ENVIRONMENT | {"SSL_CERT_FILE": str(postfix.certificate)}
    with Terminal(SETUP, project_copy, environment) as terminal:
        for question, answer in (
            ("Provider: ", OWN),
            ("Host name of the mail server: ", "localhost"),
            ("Encryption [1]: ", ""),
            ("Port [587]: ", port),
            ("Sender's address [old@example.com]: ", "news@example.com"),
            ("Sender's name (- for none) [Old]: ", 'Café "#1" 日本'),
            ("User name: ", USER),
            ("Password (not shown while you type): ", "wrong-password"),
        ):
            terminal.expect(question)
            terminal.enter(answer)
        assert "535 5.7.8" in terminal.expect("check the user name and password in EMAIL_URL")
        terminal.expect("Change [1]: ")
        terminal.enter("")
        terminal.expect(f"User name (- for no login) [{USER}]: ")
        terminal.enter("")
        terminal.expect("Password (not shown while you type) [keep]: ")
        terminal.enter(PASSWORD)
        assert f"ok: localhost:{port} accepted the login as {USER}" in terminal.expect(
            "Address for the test (- to skip) [news@example.com]: "
        )
        terminal.enter("Ada <ada@example.org>")
        terminal.expect("accepted the test")
        shown = terminal.expect("Write them? [Y/n]: ")
        assert f"EMAIL_URL=smtp+tls://…@localhost:{port}" in shown
        assert (project_copy / ".env").read_text() == before
        terminal.enter("y")
        assert "restart it" in terminal.expect("Then run flask check.")
        assert terminal.wait() == 0
        lines = terminal.lines()
    assert max(map(width, lines)) < COLUMNS
    assert not any(secret in "\n".join(lines) for secret in ("wrong-password", PASSWORD))
    assert (project_copy / ".env").is_symlink() and real.stat().st_mode & 0o777 == 0o600
    assert list(real.parent.iterdir()) == [real]
    settings = load_settings({}, project_copy)
    assert (settings.email_url.host, settings.email_url.user, settings.email_url.password) == (
        "localhost",
        USER,
        PASSWORD,
    )
    assert (settings.mail_from.name, settings.mail_from.address) == ('Café "#1" 日本', "news@example.com")
    changed = real.read_text().splitlines()
    assert changed[:3] + changed[4:5] == [before.splitlines()[number] for number in (0, 1, 2, 4)]
    assert changed[3].endswith("   # the sender") and changed[5].startswith("EMAIL_URL=") and len(changed) == 6
    (message,) = postfix.received()
    assert b"\nSubject: Test message" in message and b"ada@example.org" in message


def test_ctrl_c_leaves_everything_as_it_is_and_the_terminal_usable(project_copy: Path) -> None:
    with ScriptedServer(on={"CONNECT": lambda line, n: SILENCE}) as silent:
        for answers, last in (
            (["1", *SENDER, "me"], "Password (not shown while you type): "),
            ([*local(silent.port), *SENDER, ""], "a few seconds."),
        ):
            with Terminal(SETUP, project_copy, CLEAN_ENVIRONMENT) as terminal:
                terminal.expect("To stop, press Ctrl-C.")
                for answer in answers:
                    terminal.expect(": ")
                    terminal.enter(answer)
                terminal.expect(last)
                terminal.press("\x03")
                terminal.expect(STOPPED)
                assert terminal.shows_what_is_typed()
                assert terminal.wait() == 1
            assert not (project_copy / ".env").exists()


def test_ctrl_d_at_any_question_leaves_everything_as_it_is(
    answered: Run, server: ScriptedServer, tmp_path: Path
) -> None:
    answers = [*local(server.port), *SENDER, *LOGIN, "me@example.com"]
    (tmp_path / ".env").write_text("TIMEZONE=UTC\n")
    (tmp_path / ".env").chmod(0o600)
    for number in range(len(answers) + 1):
        result = answered(*answers[:number])
        assert (result.exit_code, env(tmp_path)) == (1, "TIMEZONE=UTC\n")
        assert result.stderr.strip() == STOPPED
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_without_a_terminal_it_says_what_to_do_instead(tmp_path: Path) -> None:
    result = commands_of(load_settings({}, tmp_path), "setup")(stdin=b"1\n")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: flask setup asks questions, so it needs a terminal. Without one, set EMAIL_URL and MAIL_FROM"
        " (docs/mail-server.md).\n"
    )


def test_a_first_run_writes_a_file_that_only_its_owner_can_read(
    answered: Run, server: ScriptedServer, tmp_path: Path
) -> None:
    result = answered(*local(server.port), *SENDER, *LOGIN, "-", "y")
    assert result.exit_code == 0, result.output
    assert env(tmp_path) == (
        f"EMAIL_URL=smtp://me:hunter2@127.0.0.1:{server.port}\nMAIL_FROM=Summer Club <news@example.com>\n"
    )
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert server.accepted == [] and "hunter2" not in result.output


def test_a_second_run_keeps_all_answers_with_enter(answered: Run, server: ScriptedServer, tmp_path: Path) -> None:
    answered(*local(server.port), *SENDER, *LOGIN, "-", "y")
    before = (tmp_path / ".env").stat()
    result = answered(*[""] * 8, "-")
    assert result.exit_code == 0, result.output
    assert "already has these settings" in text_of(result)
    assert (tmp_path / ".env").stat() == before
    for shown in ("[8]", "[127.0.0.1]", "[3]", f"[{server.port}]", "[news@example.com]", "[Summer Club]", "[me]"):
        assert shown in text_of(result)


def test_a_password_is_never_offered_to_another_server(answered: Run, server: ScriptedServer) -> None:
    answered(*local(server.port), *SENDER, *LOGIN, "-", "y")
    result = answered("", "localhost", "", "", "", "", "me", "")
    assert result.exit_code == 1 and "This server needs a login" in text_of(result)


def test_the_end_may_be_declined(answered: Run, server: ScriptedServer, tmp_path: Path) -> None:
    result = answered(*local(server.port), *SENDER, *LOGIN, "-", "n")
    assert result.exit_code == 0 and result.output.endswith("Nothing was changed.\n")
    assert not (tmp_path / ".env").exists()


def corrected(run: Run, wrong: list[str], change: str, *answers: str) -> Result:
    """Give wrong answers, press Enter at the suggested change, and give the right ones. Sends no test message."""
    result = run(*wrong, "", *answers, "-", "y")
    assert result.exit_code == 0, result.output
    assert f"Change [{change}]" in text_of(result)
    return result


def test_a_host_that_does_not_exist_is_corrected(answered: Run, server: ScriptedServer, tmp_path: Path) -> None:
    wrong = [*local(server.port, "no.such.host.invalid"), *SENDER]
    result = corrected(answered, wrong, "2", "127.0.0.1", "", "", *LOGIN)
    assert "error: no.such.host.invalid" in text_of(result) and "check host and port" in text_of(result)
    assert f"me:hunter2@127.0.0.1:{server.port}" in env(tmp_path)


def test_a_port_without_a_server_is_corrected(answered: Run, server: ScriptedServer, tmp_path: Path) -> None:
    result = corrected(answered, [*local(unused_port()), *SENDER, *LOGIN], "2", "", "", str(server.port))
    assert "Connection refused" in text_of(result)
    assert f"me:hunter2@127.0.0.1:{server.port}" in env(tmp_path)


def test_tls_that_the_server_does_not_speak_is_corrected(answered: Run, server: ScriptedServer, tmp_path: Path) -> None:
    wrong = [OWN, "127.0.0.1", "2", str(server.port), *SENDER, *LOGIN]
    result = corrected(answered, wrong, "2", "", "3", "")
    assert "this port does not start with TLS" in text_of(result) and "-> use smtp+tls://" in text_of(result)
    assert f"EMAIL_URL=smtp://me:hunter2@127.0.0.1:{server.port}" in env(tmp_path)


def test_a_certificate_that_is_not_trusted_is_explained(answered: Run, certificate: str) -> None:
    with ScriptedServer(certificate=certificate, offers=("STARTTLS",)) as server:
        result = answered(OWN, "localhost", "1", str(server.port), *SENDER, *LOGIN)
    assert result.exit_code == 1
    assert "self-signed certificate" in text_of(result) and "Change [2]" in text_of(result)


@pytest.mark.parametrize(
    ("verb", "reply", "change", "answers"),
    [
        ("MAIL", "550 5.7.1 Sender address rejected: not owned by user", "3", ["club@example.com", ""]),
        ("RCPT", "450 4.2.1 come later", "4", []),
    ],
)
def test_a_test_message_that_is_refused_is_sent_again(
    answered: Run, tmp_path: Path, verb: str, reply: str, change: str, answers: list[str]
) -> None:
    def first(line: bytes, n: int) -> str | None:
        return reply if n == 0 else None

    with ScriptedServer(offers=("AUTH PLAIN",), on={verb: first}) as server:
        result = answered(*local(server.port), *SENDER, *LOGIN, "ada@example.org", "", *answers, "", "y")
    assert result.exit_code == 0, result.output
    assert f"Change [{change}]" in text_of(result)
    assert server.recipients == ["ada@example.org"]
    assert f"<{answers[0] if answers else SENDER[0]}>" in env(tmp_path)


def test_a_person_can_go_on_although_the_server_is_down(answered: Run, tmp_path: Path) -> None:
    result = answered(*local(unused_port()), *SENDER, *LOGIN, "5", "y")
    assert result.exit_code == 0 and "me:hunter2@" in env(tmp_path)


def test_invalid_answers_are_asked_for_again(answered: Run, server: ScriptedServer) -> None:
    wrong_and_right = ["9", "m", "Another", "smtp://host", "127.0.0.1", "3", "0", str(server.port)]
    wrong_and_right += [
        "news",
        "Club <news@example.com>",
        "news@example.com",
        "a =?b",
        "Club",
        *LOGIN,
        "nobody",
        "-",
        "y",
    ]
    result = answered(*wrong_and_right)
    assert result.exit_code == 0, result.output
    for reason in ("from 1 to 8", "Enter only the name", "from 1 to 65535", "only the address", "The address is not"):
        assert reason in text_of(result)


def test_no_password_is_sent_over_a_network_without_encryption(answered: Run) -> None:
    result = answered(OWN, "192.0.2.1", "3", "25", *SENDER)
    assert "so this server is used without a login." in text_of(result) and "Password" not in text_of(result)


@pytest.mark.parametrize(("name", "value"), [("EMAIL_URL", "maildir:outbox"), ("MAIL_FROM", "")])
def test_the_environment_takes_precedence_so_it_asks_nothing(
    answered: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = answered()
    assert result.exit_code == 1 and f"{name} is set in the environment" in result.stderr


def test_a_mail_server_in_a_file_of_its_own_is_left_alone(answered: Run, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("smtp://localhost")
    (tmp_path / ".env").write_text("EMAIL_URL_FILE=url\n")
    (tmp_path / ".env").chmod(0o600)
    result = answered()
    assert result.exit_code == 1 and "EMAIL_URL is read from a file (EMAIL_URL_FILE in .env)" in result.stderr


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep this machine from resolving any name. Return the names that were asked for."""
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    ("answers", "url"),
    [
        (["1", *SENDER, "u", "p"], "smtp+tls://u:p@mail.smtp2go.com:587"),
        (["2", "2", *SENDER, "u@d.com", "p/"], "smtp+tls://u%40d.com:p%2F@smtp.eu.mailgun.org:587"),
        (["3", "1", *SENDER, "access", "secret"], "smtp+tls://access:secret@smtp-broadcasts.postmarkapp.com:587"),
        (["3", "2", *SENDER, "token"], "smtp+tls://token:token@smtp.postmarkapp.com:587"),
        (
            ["Amazon", "Ireland", "eu-west-1", *SENDER, "AKIA", "p"],
            "smtp+tls://AKIA:p@email-smtp.eu-west-1.amazonaws.com:587",
        ),
        (
            ["gmail", *SENDER, "", "abcd efgh ijkl mnop"],
            "smtp+tls://news%40example.com:abcdefghijklmnop@smtp.gmail.com:587",
        ),
        (["Micro", *SENDER, "", "p"], "smtp+tls://news%40example.com:p@smtp.office365.com:587"),
        (["7", "1", *SENDER, "token"], "smtp+tls://api:token@bulk.smtp.mailtrap.io:587"),
        (["7", "2", *SENDER, "token"], "smtp+tls://api:token@live.smtp.mailtrap.io:587"),
        (["7", "3", *SENDER, "u", "p"], "smtp+tls://u:p@sandbox.smtp.mailtrap.io:2525"),
    ],
)
def test_each_provider_has_its_server_and_login(
    answered: Run, unreachable: list[str], tmp_path: Path, answers: list[str], url: str
) -> None:
    result = answered(*answers, "5", "y")
    assert result.exit_code == 0, result.output
    assert env(tmp_path).splitlines()[0] == f"EMAIL_URL={url}"
    assert max(map(width, result.output.splitlines())) < COLUMNS
    assert set(unreachable) == {url.rpartition("@")[2].rpartition(":")[0]}
    again = answered(*[""] * (len(answers) - ("Ireland" in answers)), "5")
    assert "already has these settings" in text_of(again)


def test_the_guide_lists_every_server() -> None:
    guide = (Path(command.__file__).parents[2] / command.GUIDE).read_text(encoding="utf-8")
    for provider in PROVIDERS:
        for each in provider.servers:
            end = f"@{each.host.replace('{region}', 'eu-west-1')}:{each.port}` |"
            assert any(line.startswith(f"| {provider.name}") and line.endswith(end) for line in guide.splitlines()), end


def test_a_folder_that_cannot_be_written_is_reported_first(answered: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "gone" / ".env")
    result = answered()
    assert result.exit_code == 1 and f"cannot write to {tmp_path / 'gone'}" in result.stderr
