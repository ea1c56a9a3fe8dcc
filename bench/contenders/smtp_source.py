"""Postfix's load generator, in C: 8 sessions that stay open, no pipelining, no database, no record of anything."""

from __future__ import annotations

from pathlib import Path

from contenders import BODY, Contender


class SmtpSource(Contender):
    """`smtp-source -s 8`."""

    key = "smtp-source"
    name = "smtp-source -s 8"

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        body = str(len(BODY.replace("\n", "\r\n")))
        return ["smtp-source", "-d", "-s", "8", "-l", body, "-m", str(messages), f"127.0.0.1:{port}"]
