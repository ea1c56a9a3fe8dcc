"""aiosmtplib: tasks that share the work, each with its own connection. No database.

python -m contenders.aiosmtplib_pool PORT MESSAGES CONNECTIONS
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from contenders import SENDER, Contender, address, letter


class AiosmtplibPool(Contender):
    """8 connections."""

    key = "aiosmtplib"
    name = "aiosmtplib, 8 connections"
    slow = True
    needs_packages = True

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        return [self.python, "-m", "contenders.aiosmtplib_pool", str(port), str(messages), "8"]


async def main() -> None:
    port, messages, connections = (int(argument) for argument in sys.argv[1:])
    numbers = iter(range(messages))
    await asyncio.gather(*(send(port, numbers) for _ in range(connections)))


async def send(port: int, numbers: Iterator[int]) -> None:
    import aiosmtplib  # type: ignore[import-not-found]

    connection = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="localhost")
    async with connection:
        for number in numbers:
            await connection.sendmail(SENDER, [address(number)], letter(number))


if __name__ == "__main__":
    asyncio.run(main())
