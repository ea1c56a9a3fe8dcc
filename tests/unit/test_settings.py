"""Settings: valid and invalid values of each, and error messages, which never show a secret."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from dotenv.parser import parse_stream
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from serving.address import AddressError, reserve
from settings import (
    ADDRESS,
    FOLDER,
    Settings,
    SettingsError,
    known_names,
    load_settings,
    plain_variables,
    protect_env_file,
)

TOKEN = "x9" * 10
HIDDEN = "hunter2"
SECRET = "hunter2-hunter2-hunter2"


def errors(tmp_path: Path, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, tmp_path)
    return caught.value.errors


def env_file(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = tmp_path / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_the_defaults_are_those_of_the_table(settings: Settings, tmp_path: Path) -> None:
    assert settings.database_path == tmp_path / "email.db"
    assert (settings.email_url.scheme, settings.email_url.path) == ("maildir", tmp_path / "outbox")
    assert settings.mail_from.header == "Email endpoint <no-reply@localhost>"
    assert (settings.mail_from.name, settings.mail_from.address) == ("Email endpoint", "no-reply@localhost")
    assert settings.timezone.key == "Asia/Singapore"
    assert settings.tasklog == tmp_path / "tasklog.log"
    assert settings.retry_for == 86400
    assert settings.max_body == 10_000_000
    rest = settings._replace(folder=Path())
    assert rest.api_tokens == ()
    assert (rest.mail_reply_to, rest.secret_key, rest.public_url) == (None, None, None)
    assert (rest.trusted_proxies, rest.scheduler, rest.redis_url) == (0, "cron", "redis://127.0.0.1:6379/0")
    assert (rest.smtp_connections, rest.smtp_messages_per_connection, rest.senders) == (4, 100, 1)
    assert (rest.smtp_max_rate, rest.smtp_max_per_day, rest.rate_limit, rest.keep_for) == (0, 0, 0, 0)
    assert (rest.in_doubt, rest.hold_if_late, rest.web_workers) == ("resend", 0, 1)
    assert rest.single_label_domains is False


def test_all_data_lies_in_the_folder_that_is_set(tmp_path: Path) -> None:
    for text, folder in (("/srv/data", Path("/srv/data")), ("data", tmp_path / "data")):
        settings = load_settings({"DATA_DIR": text, "EMAIL_URL": "maildir:mail"}, tmp_path)
        assert settings.data_dir == folder
        assert (settings.database_path, settings.tasklog) == (folder / "email.db", folder / "tasklog.log")
        assert settings.email_url.path == folder / "mail"
    elsewhere = load_settings({"DATA_DIR": "data", "TASKLOG": "/var/log/email.log"}, tmp_path)
    assert elsewhere.tasklog == Path("/var/log/email.log")


def test_without_a_folder_for_the_data_it_lies_beside_the_program(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path).data_dir == tmp_path


def test_an_empty_value_means_the_default_and_unknown_names_are_ignored(tmp_path: Path) -> None:
    assert load_settings({"TIMEZONE": "", "MAIL_FROM": " ", "COLOUR": "red"}, tmp_path).senders == 1


def test_settings_cannot_be_changed(settings: Settings) -> None:
    with pytest.raises(AttributeError):
        settings.senders = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("DATABASE_URL", "sqlite:////var/lib/e.db", "database_path", Path("/var/lib/e.db")),
        ("DATABASE_URL", "postgresql://u:p%40ss@h:5432/name", "database_path", None),
        ("TIMEZONE", "America/Argentina/Buenos_Aires", "timezone.key", "America/Argentina/Buenos_Aires"),
        ("API_TOKEN", f"{TOKEN}, {TOKEN}2", "api_tokens", (TOKEN, TOKEN + "2")),
        ("SECRET_KEY", TOKEN, "secret_key", TOKEN),
        ("PUBLIC_URL", "https://mail.example.com/app/", "public_url", "https://mail.example.com/app"),
        ("PUBLIC_URL", "http://[::1]:8080", "public_url", "http://[::1]:8080"),
        ("SERVICE_NAME", "Café Zürich", "service_name", "Café Zürich"),
        ("MAIL_FROM", "Summer Club <news@example.com>", "service_name", "Summer Club"),
        ("MAIL_FROM", "news@example.com", "service_name", "example.com"),
        ("SCHEDULER", "rq-scheduler", "scheduler", "rq-scheduler"),
        ("REDIS_URL", "rediss://:pw@h:6379/1", "redis_url", "rediss://:pw@h:6379/1"),
        ("REDIS_URL", "unix:///run/redis.sock?db=2", "redis_url", "unix:///run/redis.sock?db=2"),
        ("SMTP_MAX_RATE", "0.5", "smtp_max_rate", 0.5),
        *[
            ("SMTP_HELO_NAME", text, "smtp_helo_name", text)
            for text in ("mail.example.com", "relay", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPv6:::1]")
        ],
        ("SMTP_HELO_NAME", "mail.example.com.", "smtp_helo_name", "mail.example.com"),
        ("SMTP_HELO_NAME", "", "smtp_helo_name", None),
        ("RETRY_FOR", "45s", "retry_for", 45),
        ("RETRY_FOR", "30m", "retry_for", 1800),
        ("KEEP_FOR", "90d", "keep_for", 90 * 86400),
        ("HOLD_IF_LATE", "0", "hold_if_late", 0),
        ("IN_DOUBT", "hold", "in_doubt", "hold"),
        ("DEFAULT_AUDIENCE", "everyone", "default_audience", "everyone"),
        ("DEFAULT_AUDIENCE", "required", "default_audience", "required"),
        ("SINGLE_LABEL_DOMAINS", "yes", "single_label_domains", True),
        ("SINGLE_LABEL_DOMAINS", "no", "single_label_domains", False),
        ("MAX_BODY", "512kB", "max_body", 512_000),
        ("MAX_BODY", "2 MiB", "max_body", 2 * 1024**2),
        ("MAX_BODY", "4096", "max_body", 4096),
        ("TASKLOG", "/var/log/tasklog.log", "tasklog", Path("/var/log/tasklog.log")),
        ("MAIL_REPLY_TO", "Help <help@example.com>", "mail_reply_to.header", "Help <help@example.com>"),
    ],
)
def test_a_good_value_is_read(tmp_path: Path, name: str, text: str, attribute: str, value: Any) -> None:
    found: Any = load_settings({name: text}, tmp_path)
    for part in attribute.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("DATABASE_URL", text) for text in ("email.db", "sqlite:email.db", "sqlite://", "sqlite:///", "mysql://h/x")],
        *[("DATABASE_URL", text) for text in ("sqlite:///:memory:", "sqlite:///a/", "sqlite:///a?mode=ro")],
        *[("TIMEZONE", text) for text in ("UTC+8", "../etc/passwd", "/etc/passwd", "Asia", "Asia/", "asia//singapore")],
        *[
            ("TIMEZONE", text)
            for text in ("localtime", "right/UTC", "Asia/Singapore\0", "tzdata.zi", "leapseconds", "+08:00")
        ],
        *[("SMTP_CONNECTIONS", text) for text in ("0", "-1", "1001", "4.0", "1_0", "٤", "four", "1e3", "9" * 5000)],
        *[
            ("SMTP_HELO_NAME", text)
            for text in ("my_host.example.com", "-x.example", "10.0.0.5", "[10.0.0.256]", "a b")
        ],
        *[
            ("SMTP_HELO_NAME", text)
            for text in ("[::1]", "[IPv6:1::2::3]", "[IPv6:1:2]", "münchen.example", "a..b", "a" * 64)
        ],
        *[
            ("SMTP_HELO_NAME", text)
            for text in ("[IPv6:1:2:3:4:5:6:7:8:9]", "[IPv6:12345::]", "a\r\nQUIT", "x.y\0", ".")
        ],
        *[
            ("SMTP_HELO_NAME", text)
            for text in ("my_host.example.com", "-x.example", "10.0.0.5", "[10.0.0.256]", "a..b")
        ],
        *[("SMTP_HELO_NAME", text) for text in ("[::1]", "[IPv6:1::2::3]", "[IPv6:1:2]", "münchen.example", "a" * 64)],
        *[("SMTP_HELO_NAME", text) for text in ("[IPv6:1:2:3:4:5:6:7:8:9]", "[IPv6:12345::]", "a\r\nQUIT", "a b", ".")],
        *[("SMTP_MAX_RATE", text) for text in ("nan", "inf", "-1", "1e3", "1,5", ".5")],
        *[("RETRY_FOR", text) for text in ("24", "24 h", "1w", "-1h", "1.5h", "h", "99999999d", "٢h")],
        *[("MAX_BODY", text) for text in ("0", "10", "10XB", "2GB", "ten", "1.5MB")],
        *[("PUBLIC_URL", text) for text in ("mail.example.com", "https://u:p@h", "https://h/?a", "https://h\r\nX: y")],
        *[("PUBLIC_URL", text) for text in ("https://münchen.de", "ftp://h", "https://h/" + "a" * 500)],
        *[("SERVICE_NAME", text) for text in ("x" * 61, "a\nb", "a\x00b")],
        *[("MAIL_FROM", text) for text in ("no-reply", "a@b\r\nBcc: c@d", "=?utf-8?q?=0A?= <a@b>", "A <a@b> B")],
        *[("MAIL_FROM", text) for text in ("<>", "A <a b@c>", "a@b.", "a@-b", "a..b@c", "@c", "jörg@example.com")],
        *[("MAIL_FROM", text) for text in ("a" * 65 + "@b", "A\x85B <a@b>", "A\ud800 <a@b>", '"A <a@b>')],
        *[("MAIL_FROM", text) for text in ("a@[127.0.0.1]", "a@b, c@d", "A <a@b>, C <c@d>")],
        *[("SCHEDULER", text) for text in ("rq", "Cron")],
        *[("IN_DOUBT", text) for text in ("drop",)],
        *[("DEFAULT_AUDIENCE", text) for text in ("all", "Required", "yes", "none")],
        *[("SINGLE_LABEL_DOMAINS", text) for text in ("1", "true", "Yes", "localhost")],
        *[("TRUSTED_PROXIES", text) for text in ("yes", "101")],
        *[("REDIS_URL", text) for text in ("localhost", "http://h", "redis://:p/w@h", "redis://h:port", "redis://h/a")],
        *[(name, text) for name in ("TASKLOG", "DATA_DIR") for text in ("a\nb", "a\0")],
    ],
)
def test_a_bad_value_is_one_line_with_its_name_and_what_is_allowed(tmp_path: Path, name: str, text: str) -> None:
    (line,) = errors(tmp_path, **{name: text})
    assert line.startswith(name)
    assert "allowed: " in line
    assert line.isprintable()
    assert len(line) < 500


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("postgresql://u:p%40ss@h:5432/name", {"user": "u", "password": "p@ss", "host": "h", "port": "5432"}),
        ("postgres://u:a:b@h/name", {"user": "u", "password": "a:b", "host": "h"}),
        ("PostgreSQL://h/name", {"host": "h"}),
        ("postgresql://h1:1,h2,[::1]:3/name?target_session_attrs=primary", {"host": "h1,h2,::1", "port": "1,,3"}),
        ("postgresql://%2Frun%2Fpostgresql/name", {"host": "/run/postgresql"}),
        ("postgresql://u@/name?host=/run/postgresql&port=5433", {"host": "/run/postgresql", "port": "5433"}),
        ("postgresql:///?host=%2Fa%2Cb&dbname=name", {"host": "/a,b"}),
        ("postgresql://?service=mail&dbname=name", {"service": "mail"}),
        ("postgresql://h?dbname=name&user=a@b", {"user": "a@b", "host": "h"}),
        ("postgresql://h/name?sslmode=verify-full&sslrootcert=/etc/ssl/own.crt", {"sslrootcert": "/etc/ssl/own.crt"}),
        ("postgresql://h/name?options=-c%20search_path=mail", {"options": "-c search_path=mail"}),
        ("postgresql://h/name?options=-csearch_path%3dmail", {"options": "-csearch_path=mail"}),
        ("postgresql://h/name?keepalives=1&&keepalives_idle=7&", {"keepalives": "1", "keepalives_idle": "7"}),
        ("postgresql://h/name?ssl%6Dode=require", {"sslmode": "require"}),
        ("postgresql://h/name?ssl=true", {"sslmode": "require"}),
        ("postgresql://h/n%61me?password=a?b/c:d@e!$'()*+,;f", {"password": "a?b/c:d@e!$'()*+,;f"}),
        ("postgresql://u:p#s?s@h/name", {"password": "p#s?s"}),
        ("postgresql://[fe80::1%25eth0]/name", {"host": "fe80::1%eth0"}),
        ("postgresql://h:/name?", {"host": "h"}),
    ],
)
def test_a_postgresql_url_is_read_in_every_way_that_rfc_3986_allows(
    tmp_path: Path, text: str, parameters: dict[str, str]
) -> None:
    url = load_settings({"DATABASE_URL": text}, tmp_path).database_url
    found = conninfo_to_dict(url)
    assert found["dbname"] == "name"
    assert {name: found.get(name) for name in parameters} == parameters


def test_a_postgresql_url_may_have_each_parameter_of_libpq(tmp_path: Path) -> None:
    for option in pq.Conninfo.get_defaults():
        name = option.keyword.decode()
        url = load_settings({"DATABASE_URL": f"postgresql://h/name?{name}=a/b%20c"}, tmp_path).database_url
        assert conninfo_to_dict(url)[name] == "a/b c"


@pytest.mark.parametrize(
    "text",
    [
        *("postgresql:h/n", "postgresql:/h/n", "postgresql://u:p@ss@h/n", "postgresql://u:p:a/ss@h/n"),
        *(
            "postgresql://h:x/n",
            "postgresql://[::1/n",
            "postgresql://h/%zz",
            "postgresql://h/n?user=%",
            "postgresql://h/%00",
        ),
        *("postgresql://h/n?sslmode", "postgresql://h/n?=x", "postgresql://[fe80::1%eth0]/n"),
    ],
)
def test_a_postgresql_url_that_libpq_would_misread_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = errors(tmp_path, DATABASE_URL=text)
    assert "allowed: " in line and "ss" not in line.partition("allowed: ")[0]


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    lines = errors(tmp_path, SENDERS="0", TIMEZONE="Mars", DATABASE_URL="x", MAIL_FROM="x", EMAIL_URL="x")
    names = {line.partition("=")[0] for line in lines}
    assert names == {"SENDERS", "TIMEZONE", "DATABASE_URL", "MAIL_FROM", "EMAIL_URL"}
    assert "SENDERS='0': allowed: a whole number from 1 to 1000; for example SENDERS=4" in lines


@pytest.mark.parametrize(
    ("text", "host", "port", "user", "password"),
    [
        ("smtp://127.0.0.1", "127.0.0.1", 25, None, None),
        ("smtp://localhost:1025/", "localhost", 1025, None, None),
        ("smtp+tls://smtp.example.com", "smtp.example.com", 587, None, None),
        ("SMTP+SSL://user:pa%40s%2Fs%25@SMTP.Example.com", "smtp.example.com", 465, "user", "pa@s/s%"),
        ("smtp+tls://a%40b.c:p%C3%A4ss@[2001:db8::1]:2525", "2001:db8::1", 2525, "a@b.c", "päss"),
        ("smtp+tls://user:p@ss@h", "h", 587, "user", "p@ss"),
        ("smtp://u:p@localhost:25", "localhost", 25, "u", "p"),
    ],
)
def test_an_smtp_server_is_read(
    tmp_path: Path, text: str, host: str, port: int, user: str | None, password: str | None
) -> None:
    url = load_settings({"EMAIL_URL": text}, tmp_path).email_url
    assert url[:5] == (text.partition(":")[0].lower(), host, port, user, password)


@pytest.mark.parametrize(
    ("text", "path"), [("maildir:a%20b c", "a b c"), ("maildir:/abs/o", "/abs/o"), ("maildir:///abs/o", "/abs/o")]
)
def test_a_maildir_is_read(tmp_path: Path, text: str, path: str) -> None:
    assert load_settings({"EMAIL_URL": text}, tmp_path).email_url.path == tmp_path / path


@pytest.mark.parametrize(
    "text",
    [
        "smtp+tls://user@h",
        "smtp+tls://:hunter2@h",
        "smtp+tls://user:@h",
        "smtp://user:hunter2@mail.example.com",
        "smtp+tls://user:hunter2",
        "smtp+tls://user:hun/ter2hunter2@h",
        "smtp+tls://user:hunter2#x@h",
        "smtp+tls://user:hunter2?x@h",
        "smtp+tls://user:hunter2%zz@h",
        "smtp+tls://user:hunter2%ff@h",
        "smtp+tls://user:hunter2%0d%0aRSET@h",
        "smtp+tls://user:hunter2\r@h",
        "smtp+tls://user:hunter2 @h",
        "smtp+tls://user:hunter2@h:0",
        "smtp+tls://user:hunter2@h:99999",
        "smtp+tls://user:hunter2@[::1",
        "smtp+tls://user:hunter2@münchen.de",
        "smtps://user:hunter2@h",
        "user:hunter2@h",
        "maildir://rel",
        "maildir:",
        "smtp:h",
    ],
)
def test_a_bad_email_url_is_refused_and_its_password_is_not_shown(tmp_path: Path, text: str) -> None:
    (line,) = errors(tmp_path, EMAIL_URL=text)
    assert line.startswith("EMAIL_URL=")
    assert "hun" not in line
    assert line.isprintable()


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(HIDDEN)
    lines = errors(
        tmp_path,
        API_TOKEN=HIDDEN,
        SECRET_KEY=HIDDEN,
        DATABASE_URL=f"mysql://user:{HIDDEN}@h/x",
        REDIS_URL=f"redi://:{HIDDEN}@h",
        EMAIL_URL_FILE="secret",
    )
    assert len(lines) == 5
    assert HIDDEN not in "\n".join(lines)


@pytest.mark.parametrize("text", ["short", f"{TOKEN},", f",{TOKEN}", f"{TOKEN} {TOKEN}", f"{TOKEN}ä", f"{TOKEN}\x7f"])
def test_a_token_that_could_be_guessed_or_cannot_be_sent_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = errors(tmp_path, API_TOKEN=text)
    assert line.startswith("API_TOKEN (its value is not shown): allowed: ")


@pytest.mark.parametrize(
    ("text", "header", "name"),
    [
        ("a@b.example", "a@b.example", ""),
        ("<a@b.example>", "a@b.example", ""),
        ("Firm, Inc. <a@b.example>", '"Firm, Inc." <a@b.example>', "Firm, Inc."),
        (r'"The \"Firm\"" <a@b.example>', r'"The \"Firm\"" <a@b.example>', 'The "Firm"'),
        ('"A <b>" <a@b.example>', '"A <b>" <a@b.example>', "A <b>"),
        ("山田\u3000太郎 <a@b.example>", "山田\u3000太郎 <a@b.example>", "山田\u3000太郎"),
    ],
)
def test_the_sender_has_a_name_and_an_address(tmp_path: Path, text: str, header: str, name: str) -> None:
    settings = load_settings({"MAIL_FROM": text}, tmp_path)
    assert settings.mail_from == (header, name, "a@b.example")


@pytest.mark.parametrize("name", ["API_TOKEN", "DATABASE_URL", "EMAIL_URL", "REDIS_URL"])
def test_a_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    values = {"DATABASE_URL": "sqlite:///x.db", "EMAIL_URL": "maildir:box", "REDIS_URL": "redis://:p@h"}
    value = values.get(name, TOKEN)
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbf" + value.encode() + b"\r\n")
    settings = load_settings({name + "_FILE": "secret"}, tmp_path)
    assert settings._replace(sources=()) == load_settings({name: value}, tmp_path)._replace(sources=())
    assert (name, name + "_FILE") in [(each.name, each.source) for each in settings.sources]


@pytest.mark.parametrize(("contents", "reason"), [(None, "No such file"), (b"\n", "empty"), (b"\xff", "UTF-8")])
def test_a_secret_file_that_is_unusable_is_named(tmp_path: Path, contents: bytes | None, reason: str) -> None:
    if contents is not None:
        (tmp_path / "secret").write_bytes(contents)
    (line,) = errors(tmp_path, API_TOKEN_FILE="secret")
    assert line.startswith("API_TOKEN_FILE='secret': ")
    assert reason in line


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(TOKEN)
    assert "API_TOKEN is set too" in errors(tmp_path, API_TOKEN=TOKEN, API_TOKEN_FILE="secret")[0]


@pytest.mark.parametrize("name", sorted(known_names() - set(ADDRESS)))
@pytest.mark.parametrize("text", ['"{}"', "'{}'", '"{}" # a comment', '""', " '{}' "])
def test_quotation_marks_that_docker_keeps_are_noticed(tmp_path: Path, name: str, text: str) -> None:
    (line,) = errors(tmp_path, **{name: text.format(TOKEN)})
    assert line.startswith(name) and "quotation marks" in line and "docker run --env-file" in line
    assert TOKEN not in line or name not in ("API_TOKEN", "SECRET_KEY")


@pytest.mark.parametrize("name", ADDRESS)
def test_quotation_marks_around_the_address_to_listen_on_are_noticed(name: str) -> None:
    with pytest.raises(AddressError, match=f"{name}=.*docker run --env-file"):
        reserve({name: '"5000"'}, "./start_flask.sh")


def test_quotation_marks_in_a_secret_file_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f'"{TOKEN}"\n')
    (line,) = errors(tmp_path, API_TOKEN_FILE="secret")
    assert "quotation marks" in line and TOKEN not in line


def test_quotation_marks_inside_a_value_are_part_of_it(tmp_path: Path) -> None:
    values = {"SECRET_KEY": f"{TOKEN}\"{TOKEN}'", "MAIL_FROM": '"Firm, Inc." <a@b.example>'}
    settings = load_settings(values, tmp_path)
    assert settings.secret_key == values["SECRET_KEY"] and settings.mail_from.name == "Firm, Inc."
    env_file(tmp_path, f"SECRET_KEY='{TOKEN}'\n")
    assert load_settings({}, tmp_path).secret_key == TOKEN


def test_the_environment_stands_above_the_env_file(tmp_path: Path) -> None:
    env_file(tmp_path, "SENDERS=2\nRATE_LIMIT=7\n")
    settings = load_settings({"SENDERS": "3"}, tmp_path)
    assert (settings.senders, settings.rate_limit) == (3, 7)


PIECES = (
    "SENDERS",
    "=",
    "2",
    "Club <a@b.c>",
    " ",
    "'",
    '"',
    "#",
    "$",
    "{X}",
    "\\",
    "\n",
    "\r",
    "\t",
    "export ",
    "é",
    "\u2028",
)


@hypothesis.given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@hypothesis.example("MAIL_FROM=Club <club@example.com>\n# A comment = 1\n\nSMTP_CONNECTIONS=8\nSENDERS=")
def test_a_plain_env_file_is_read_as_dotenv_reads_it(text: str) -> None:
    plain = plain_variables(text)
    if plain is None:
        assert not re.fullmatch(r"([A-Z]+=[A-Za-z0-9]*(\n|$))*", text)
    else:
        assert plain == {binding.key: binding.value for binding in parse_stream(io.StringIO(text)) if binding.key}


def test_an_env_file_is_read_as_it_stands(tmp_path: Path) -> None:
    text = (
        "\ufeff# a comment\r\n\r\nexport SENDERS=2 # two\r\nMAIL_FROM='Firm # 1 <a@b>'\r\n"
        "EMAIL_URL=smtp+tls://u:a#${HOME}$x@h\r\n"
    )
    env_file(tmp_path, text.replace("#$", "%23$"))
    settings = load_settings({}, tmp_path)
    assert (settings.senders, settings.mail_from.name) == (2, "Firm # 1")
    assert settings.email_url.password == "a#${HOME}$x"


@pytest.mark.parametrize("text", ["SENDERS\n", "SENDERS='2\nRATE_LIMIT=1\n", "RATE_LIMIT=1\n= 3\n"])
def test_a_line_of_the_env_file_that_means_nothing_is_named(tmp_path: Path, text: str) -> None:
    (line,) = errors(tmp_path_with(tmp_path, text))
    assert " line " in line
    assert "NAME=value" in line


def tmp_path_with(tmp_path: Path, text: str) -> Path:
    env_file(tmp_path, text)
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o666])
def test_an_env_file_that_others_can_reach_is_an_error_with_the_remedy(tmp_path: Path, mode: int) -> None:
    env_file(tmp_path, "SENDERS=0\n", mode)
    first, second = errors(tmp_path)
    assert first.startswith(str(tmp_path / ".env"))
    assert first.endswith("chmod 600 .env")
    assert second.startswith("SENDERS='0'")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize(
    ("mode", "fixed"), [(0o644, 0o600), (0o666, 0o600), (0o604, 0o600), (0o755, 0o700), (0o440, 0o400)]
)
def test_a_start_protects_an_env_file_that_others_can_reach(tmp_path: Path, mode: int, fixed: int) -> None:
    env_file(tmp_path, "SENDERS=2\n", mode)
    done = protect_env_file(tmp_path / ".env") or ""
    assert f"(mode {mode:o}). Its mode is now {fixed:o}." in done
    assert (tmp_path / ".env").stat().st_mode & 0o777 == fixed
    assert load_settings({}, tmp_path).senders == 2 and protect_env_file(tmp_path / ".env") is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away")
def test_an_env_file_of_another_user_is_not_changed(tmp_path: Path) -> None:
    env_file(tmp_path, "SENDERS=2\n", 0o644)
    os.chown(tmp_path / ".env", 12345, -1)
    assert protect_env_file(tmp_path / ".env") is None and protect_env_file(tmp_path / "missing") is None
    assert "belongs to another user" in errors(tmp_path)[0]


def test_an_env_file_that_is_not_a_file_or_not_text_is_an_error(tmp_path: Path) -> None:
    env_file(tmp_path, b"MAIL_FROM=J\xf6rg <a@b>\n")
    assert "not UTF-8" in errors(tmp_path)[0]
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert "cannot be read" in errors(tmp_path)[0]


def test_reading_the_settings_loads_nothing_heavy() -> None:
    script = "import sys, settings, pathlib; settings.load_settings({}, pathlib.Path('/nowhere')); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER, capture_output=True, text=True, check=True)
    heavy = {"dotenv", "dataclasses", "email", "ssl", "logging", "argparse", "smtplib", "flask", "socket", "json"}
    heavy |= {"settings.catalogue"}
    assert not heavy & set(done.stdout.split())


def given(settings: Settings) -> dict[str, tuple[str, str]]:
    return {each.name: (each.text, each.source) for each in settings.sources}


def test_each_value_is_known_with_its_source(tmp_path: Path) -> None:
    env_file(tmp_path, f"SENDERS=2\nRATE_LIMIT=7\nRETRY_FOR=\nAPI_TOKEN_FILE=token\nSECRET_KEY={SECRET}\n")
    (tmp_path / "token").write_text(SECRET)
    found = given(load_settings({"SENDERS": "3", "KEEP_FOR": " 90d "}, tmp_path))
    assert found["SENDERS"] == ("3", "environment")
    assert found["KEEP_FOR"] == ("90d", "environment")
    assert found["RATE_LIMIT"] == ("7", ".env")
    assert found["RETRY_FOR"] == ("24h", "default")
    assert found["API_TOKEN"] == ("set, not shown", "API_TOKEN_FILE in .env")
    assert found["SECRET_KEY"] == ("set, not shown", ".env")
    assert set(found) == known_names() - {name for name in known_names() if name.endswith("_FILE")} - {"HOST", "PORT"}


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("EMAIL_URL", f"smtp+tls://{SECRET}:{SECRET}@mail.example.com:587", "smtp+tls://…@mail.example.com:587"),
        ("EMAIL_URL", f"smtp+tls://u:a@{SECRET}@h", "smtp+tls://…@h"),
        ("EMAIL_URL", "maildir:out box", "maildir:out box"),
        ("EMAIL_URL", "maildir:a@b?c", "maildir:a@b?c"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}@h/name?password={SECRET}@x", "postgresql://…@h/name?…"),
        ("DATABASE_URL", f"postgresql://h/name?password={SECRET}", "postgresql://h/name?…"),
        ("DATABASE_URL", f"postgresql://h?password={SECRET}@{SECRET}", "postgresql://…"),
        ("DATABASE_URL", f"postgresql://u:a?{SECRET}#b@h/name", "postgresql://…"),
        ("DATABASE_URL", "sqlite:////var/a@b.db", "sqlite:////var/a@b.db"),
        ("REDIS_URL", f"redis://:{SECRET}@h:6379/0", "redis://…@h:6379/0"),
        ("REDIS_URL", f"unix:///run/redis.sock?password={SECRET}", "unix:///run/redis.sock?…"),
        ("PUBLIC_URL", "https://mail.example.com/app", "https://mail.example.com/app"),
        ("API_TOKEN", SECRET, "set, not shown"),
    ],
)
def test_no_value_is_shown_with_a_secret_in_it(tmp_path: Path, name: str, text: str, shown: str) -> None:
    settings = load_settings({name: text}, tmp_path)
    assert given(settings)[name] == (shown, "environment")
    assert SECRET not in str(settings.sources) and SECRET not in settings.database_name
