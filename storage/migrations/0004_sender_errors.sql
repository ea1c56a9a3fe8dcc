-- Version 4: errors that stop senders, and the clocks of machines.

CREATE TABLE sender_errors (
    kind    TEXT PRIMARY KEY CHECK (kind IN ('mail_server', 'clock')),
    reason  TEXT NOT NULL,
    since   BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE TABLE host_clocks (
    boot_id        TEXT PRIMARY KEY,
    offset_seconds BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL
);
