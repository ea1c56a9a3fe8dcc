"""A sweep in the test's own process, so that a test can inject faults between it and its database."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from database import Database, DBError, open_database
from sender.shutdown import StopRequest
from sender.sweeper import Sweeper
from sender.task_log import TaskLog
from tests.support.installation import Installation


def sweep_once(installation: Installation, wrap: Callable[[Any], Any] = lambda real: real) -> list[str]:
    """Run a sweep in this process, as `task.py` does, and return its errors. Its locks are released afterwards."""
    stderr = io.StringIO()
    tasklog = TaskLog(installation.settings.tasklog, stderr)
    with open_database(installation.settings) as database:
        connection: Any = database.connection
        connection._connection = wrap(connection._connection)
        try:
            Sweeper(installation.settings, database, tasklog, StopRequest()).sweep()
        except DBError as error:
            tasklog.error(str(error))
        except MemoryError as error:  # a real process would end here
            tasklog.error(repr(error))
        finally:
            die(database)
    return stderr.getvalue().splitlines()


def die(database: Database) -> None:
    """Release the file locks, as the kernel does when a process ends."""
    connection: Any = database.connection
    for descriptor in connection._locks._held.values():
        os.close(descriptor)
