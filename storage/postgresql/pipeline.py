"""Run statements on the server as one transaction, while the client does something else.

In libpq's pipeline mode, everything sent up to one Sync is one transaction, without BEGIN and COMMIT, in one round trip
(PostgreSQL manual, section 55.2.4, "Pipelining"). psycopg's own pipeline waits for the results; this one does not.
"""

from __future__ import annotations

import selectors
from collections.abc import Sequence

import psycopg
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from storage.connection import Statement
from storage.postgresql.sql import all_or_error, arrays, as_texts, numbered

_GOOD = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Pipeline:
    """A connection in pipeline mode, and the statements that the server has prepared on it."""

    def __init__(self, connection: PGconn) -> None:
        self._connection = connection
        self._prepared: dict[str, bytes] = {}

    def submit(self, statements: Sequence[Statement]) -> PipelinedTransaction:
        """Send the statements. Nothing else may use the connection until `wait` returns. Raises psycopg.Error."""
        connection, prepared = self._connection, self._prepared
        known = len(prepared)
        connection.enter_pipeline_mode()
        try:
            for sql, values in map(_for_libpq, statements):
                if sql not in prepared:
                    prepared[sql] = b"email_endpoint_%d" % len(prepared)
                    connection.send_prepare(prepared[sql], sql.encode())
                connection.send_query_prepared(prepared[sql], values)
            connection.pipeline_sync()
            _flush(connection)
        except BaseException:
            connection.finish()  # the server may have received part of it
            raise
        return PipelinedTransaction(connection, all_known=len(prepared) == known)


class PipelinedTransaction:
    """A PendingTransaction whose statements have all been sent."""

    def __init__(self, connection: PGconn, *, all_known: bool) -> None:
        """Wait for the results on `connection`. `all_known` is true if every statement had been prepared before."""
        self.descriptor = connection.socket
        self._connection: PGconn | None = connection
        self._all_known = all_known
        self._good = True

    def wait(self) -> bool:
        """Wait until it has ended. Return whether it was certainly committed, and changed every row it was given."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                self._good = _all_good(connection)
                connection.exit_pipeline_mode()
            except psycopg.Error:
                self._good = False
            if not self._good and not (self._all_known and connection.status == ConnStatus.OK):
                connection.finish()  # which statements are prepared is unknown, since a rollback does not undo that
        return self._good


def _for_libpq(statement: Statement) -> tuple[str, list[bytes | None]]:
    sql, values = statement
    if isinstance(values, dict):
        sql, names = numbered(sql)
        return sql, as_texts(values, names)
    return all_or_error(sql), [*(array.encode() for array in arrays(values)), b"%d" % len(values)]


def _flush(connection: PGconn) -> None:
    while connection.flush():
        _wait(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        connection.consume_input()


def _all_good(connection: PGconn) -> bool:
    """Read all results up to that of the Sync. Return whether every statement succeeded."""
    good = True
    while True:
        while connection.is_busy():
            _wait(connection, selectors.EVENT_READ)
            connection.consume_input()
        result = connection.get_result()
        if result is None:  # the end of one statement's results
            if connection.status == ConnStatus.BAD:
                return False
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return good
        else:
            good = good and result.status in _GOOD


def _wait(connection: PGconn, events: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(connection.socket, events)
        selector.select()
