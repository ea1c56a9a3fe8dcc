"""The triggers that maintain the table `status_counts`. Its numbers are exact, however a status is changed.

SQLite counts each changed row, always in shard 0. PostgreSQL counts once per statement, in one of 64 shards, so that an
import of a million rows changes a total once, and writers rarely wait for each other.
"""

from __future__ import annotations

# The counted tables, and the status under which a row is counted.
COUNTED = {
    "emails": "{row}status",
    "recipients": (
        "CASE WHEN {row}removed_at IS NOT NULL THEN 'removed'"
        " WHEN {row}listed = 0 AND {row}status = 'active' THEN 'named' ELSE {row}status END"
    ),
}

SQLITE_ADD = """
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('{table}', {status}, 0, {change})
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;"""
SQLITE_TRIGGERS = """
CREATE TRIGGER {table}_inserted AFTER INSERT ON {table} BEGIN{new}
END;
CREATE TRIGGER {table}_deleted AFTER DELETE ON {table} BEGIN{old}
END;
CREATE TRIGGER {table}_updated AFTER UPDATE ON {table} WHEN {old_status} <> {new_status} BEGIN{old}{new}
END;
"""

POSTGRESQL_TRIGGER = """
CREATE FUNCTION count_{table}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT '{table}', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM ({changed}) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER {table}_{event} AFTER {event} ON {table} REFERENCING {transition_tables}
    FOR EACH STATEMENT EXECUTE FUNCTION count_{table}_{event}();
"""
# The transition tables of each event, and the number that each of their rows adds to a total.
TRANSITION_TABLES = {
    "INSERT": {"NEW TABLE AS new_rows": 1},
    "DELETE": {"OLD TABLE AS old_rows": -1},
    "UPDATE": {"OLD TABLE AS old_rows": -1, "NEW TABLE AS new_rows": 1},
}


def _sqlite(table: str, status: str) -> str:
    old, new = status.format(row="OLD."), status.format(row="NEW.")
    return SQLITE_TRIGGERS.format(
        table=table,
        old_status=old,
        new_status=new,
        old=SQLITE_ADD.format(table=table, status=old, change=-1),
        new=SQLITE_ADD.format(table=table, status=new, change=1),
    )


def _postgresql(table: str, status: str, event: str) -> str:
    transition_tables = TRANSITION_TABLES[event]
    changed = " UNION ALL ".join(
        f"SELECT {status.format(row='')} AS status, {change} AS change FROM {clause.split()[-1]}"  # noqa: S608 - names of our own
        for clause, change in transition_tables.items()
    )
    clauses = " ".join(transition_tables)
    return POSTGRESQL_TRIGGER.format(table=table, event=event, transition_tables=clauses, changed=changed)


SQLITE = "".join(_sqlite(table, status) for table, status in COUNTED.items())
POSTGRESQL = "".join(
    _postgresql(table, status, event) for table, status in COUNTED.items() for event in TRANSITION_TABLES
)
