-- Version 4: errors that stop senders, addresses of mail servers that do not answer, and the clocks of machines.

CREATE TABLE sender_errors (
    kind   TEXT PRIMARY KEY CHECK (kind IN ('mail_server', 'clock')),
    reason TEXT NOT NULL,
    since  BIGINT NOT NULL
);
CREATE TABLE unreachable_addresses (
    address          TEXT PRIMARY KEY,
    remembered_until BIGINT NOT NULL
);
CREATE TABLE host_clocks (
    boot_id        TEXT PRIMARY KEY,
    offset_seconds BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL
);
