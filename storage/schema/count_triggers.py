"""The triggers that keep the table `counts`: whatever changes a status, and however, the numbers are exact.

SQLite counts row by row, in the one part 0. PostgreSQL counts once for each
statement, in one of 64 parts: an import of a million rows changes a count once, and writers hardly ever wait.
"""

from __future__ import annotations

# What each row of a table is counted as.
COUNTED = {
    "emails": "{row}status",
    "recipients": "CASE WHEN {row}removed_at IS NULL THEN {row}status ELSE 'removed' END",
}

SQLITE_ADD = """
    INSERT INTO counts (noun, status, part, number) VALUES ('{noun}', {status}, 0, {change})
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;"""
SQLITE_TRIGGERS = """
CREATE TRIGGER {noun}_inserted AFTER INSERT ON {noun} BEGIN{new}
END;
CREATE TRIGGER {noun}_deleted AFTER DELETE ON {noun} BEGIN{old}
END;
CREATE TRIGGER {noun}_updated AFTER UPDATE ON {noun} WHEN {old_status} <> {new_status} BEGIN{old}{new}
END;
"""

POSTGRESQL_TRIGGER = """
CREATE FUNCTION count_{noun}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT '{noun}', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM ({changed}) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER {noun}_{event} AFTER {event} ON {noun} REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION count_{noun}_{event}();
"""
REFERENCED = {
    "INSERT": ("NEW TABLE AS arrived",),
    "DELETE": ("OLD TABLE AS gone",),
    "UPDATE": ("OLD TABLE AS gone", "NEW TABLE AS arrived"),
}


def _sqlite(noun: str, status: str) -> str:
    old, new = status.format(row="OLD."), status.format(row="NEW.")
    return SQLITE_TRIGGERS.format(
        noun=noun,
        old_status=old,
        new_status=new,
        old=SQLITE_ADD.format(noun=noun, status=old, change=-1),
        new=SQLITE_ADD.format(noun=noun, status=new, change=1),
    )


def _postgresql(noun: str, status: str, event: str) -> str:
    tables = REFERENCED[event]
    changes = {"arrived": 1, "gone": -1}
    changed = " UNION ALL ".join(
        f"SELECT {status.format(row='')} AS status, {change} AS number FROM {table}"  # noqa: S608 - names of our own
        for table, change in changes.items()
        if any(table in clause for clause in tables)
    )
    return POSTGRESQL_TRIGGER.format(noun=noun, event=event, tables=" ".join(tables), changed=changed)


SQLITE = "".join(_sqlite(noun, status) for noun, status in COUNTED.items())
POSTGRESQL = "".join(_postgresql(noun, status, event) for noun, status in COUNTED.items() for event in REFERENCED)
