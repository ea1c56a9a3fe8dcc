-- Version 1: the schema as it was before migrations. `flask init-db` never runs this file. It describes what a
-- database of version 1 must look like before it is upgraded.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE emails (
    event_id     BIGINT PRIMARY KEY,
    due_at       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    status       TEXT NOT NULL DEFAULT 'scheduled'
                 CHECK (status IN ('scheduled', 'sending', 'sent', 'held', 'cancelled')),
    held_because TEXT,
    logged       BIGINT NOT NULL DEFAULT 0 CHECK (logged IN (0, 1)),
    token        TEXT NOT NULL,
    content_digest TEXT,
    subject      TEXT NOT NULL,
    content      TEXT NOT NULL
);
CREATE INDEX emails_by_status ON emails (status, due_at, event_id);
CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending';
CREATE INDEX emails_unlogged ON emails (event_id) WHERE status = 'sent' AND logged = 0;
CREATE INDEX emails_cancelling ON emails (status, finished_at, event_id)
    WHERE status = 'cancelled' AND finished_at IS NULL;
CREATE INDEX emails_prunable ON emails (finished_at) WHERE finished_at IS NOT NULL AND content_digest IS NULL;

CREATE TABLE progress (
    event_id          BIGINT PRIMARY KEY,
    started_at        BIGINT NOT NULL,
    last_recipient_id BIGINT NOT NULL,
    recipients        BIGINT NOT NULL DEFAULT 0,
    cursor_id         BIGINT NOT NULL DEFAULT 0,
    deliveries        BIGINT NOT NULL DEFAULT 0,
    sent              BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    unknown           BIGINT NOT NULL DEFAULT 0,
    cancelled         BIGINT NOT NULL DEFAULT 0,
    first_sent_at     BIGINT,
    last_sent_at      BIGINT
);
CREATE INDEX progress_by_last_recipient ON progress (last_recipient_id);
CREATE INDEX progress_unfinished ON progress (event_id) WHERE cursor_id < last_recipient_id;
CREATE INDEX progress_with_failures ON progress (started_at, event_id) WHERE failed + unknown > 0;

CREATE TABLE recipients (
    recipient_id BIGINT PRIMARY KEY,
    address      TEXT NOT NULL,
    address_key  TEXT NOT NULL UNIQUE,
    status       TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unsubscribed', 'rejected')),
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    no_mailbox   BIGINT
);
CREATE INDEX recipients_inactive ON recipients (status, recipient_id) WHERE status <> 'active' AND removed_at IS NULL;
CREATE INDEX recipients_inactive_by_key ON recipients (status, address_key)
    WHERE status <> 'active' AND removed_at IS NULL;

CREATE TABLE imports (
    import_id    BIGINT PRIMARY KEY,
    file_name    TEXT NOT NULL,
    status       TEXT NOT NULL
                 CHECK (status IN ('reading', 'refused', 'ready', 'importing', 'done', 'undoing', 'undone')),
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    heartbeat_at BIGINT NOT NULL,
    fault        TEXT,
    size         BIGINT NOT NULL,
    position     BIGINT NOT NULL DEFAULT 0,
    lines        BIGINT NOT NULL DEFAULT 0,
    bad          BIGINT NOT NULL DEFAULT 0,
    left_out     BIGINT NOT NULL DEFAULT 0,
    repeated     BIGINT NOT NULL DEFAULT 0,
    added        BIGINT NOT NULL DEFAULT 0,
    known        BIGINT NOT NULL DEFAULT 0,
    unsubscribed BIGINT NOT NULL DEFAULT 0,
    rejected     BIGINT NOT NULL DEFAULT 0,
    before_id    BIGINT NOT NULL DEFAULT 0,
    last_id      BIGINT NOT NULL DEFAULT 0,
    removed      BIGINT NOT NULL DEFAULT 0,
    kept         BIGINT NOT NULL DEFAULT 0,
    preview      TEXT,
    bad_lines    TEXT
);

CREATE TABLE import_parts (
    import_id BIGINT NOT NULL,
    part      BIGINT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (import_id, part)
);

CREATE TABLE counts (
    noun   TEXT NOT NULL CHECK (noun IN ('emails', 'recipients')),
    status TEXT NOT NULL,
    part   BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (noun, status, part)
);

CREATE TABLE deliveries (
    event_id        BIGINT NOT NULL,
    recipient_id    BIGINT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'queued'
                    CHECK (status = 'sent' OR status = 'sending' OR status = 'claimed' OR status = 'queued'
                           OR status = 'failed' OR status = 'unknown' OR status = 'cancelled'),
    claimed_by      BIGINT,
    queued_at       BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    doubts          BIGINT NOT NULL DEFAULT 0,
    finished_at     BIGINT,
    address         TEXT NOT NULL,
    reply           TEXT,
    PRIMARY KEY (event_id, recipient_id)
);
CREATE INDEX deliveries_queued ON deliveries (event_id, next_attempt_at)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
CREATE INDEX deliveries_in_line ON deliveries (event_id, recipient_id)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
CREATE INDEX deliveries_claimed ON deliveries (claimed_by) WHERE claimed_by IS NOT NULL;

CREATE TABLE attempts (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    attempted_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('deferred', 'failed', 'in_doubt')),
    reply        TEXT NOT NULL
);
CREATE INDEX attempts_of_delivery ON attempts (event_id, recipient_id);

CREATE TABLE hours (
    hour      BIGINT PRIMARY KEY,
    sent      BIGINT NOT NULL DEFAULT 0,
    deferred  BIGINT NOT NULL DEFAULT 0,
    failed    BIGINT NOT NULL DEFAULT 0,
    in_doubt  BIGINT NOT NULL DEFAULT 0,
    late_1    BIGINT NOT NULL DEFAULT 0,
    late_5    BIGINT NOT NULL DEFAULT 0,
    late_15   BIGINT NOT NULL DEFAULT 0,
    late_60   BIGINT NOT NULL DEFAULT 0,
    late_300  BIGINT NOT NULL DEFAULT 0,
    late_900  BIGINT NOT NULL DEFAULT 0,
    late_3600 BIGINT NOT NULL DEFAULT 0,
    late_more BIGINT NOT NULL DEFAULT 0,
    lateness  BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE deferrals (
    code  TEXT PRIMARY KEY,
    times BIGINT NOT NULL
);

CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY,
    ends_at    BIGINT NOT NULL
);

CREATE TABLE senders (
    sender_id    BIGINT PRIMARY KEY,
    clock        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL,
    process_id   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
