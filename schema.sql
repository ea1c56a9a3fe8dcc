-- The tables of email-endpoint: one text for SQLite and PostgreSQL.
--
-- Times are seconds since 1970 UTC. Whole numbers are BIGINT and texts are TEXT on both; what goes in was
-- validated before, since SQLite would take 'soon' in a BIGINT. Identifiers come from `counters`, so that they
-- appear in the order in which their rows were committed.

-- What holds for the installation as a whole: schema_version and schema_digest (storage/schema/guard.py), secret_key,
-- installation; boot is the start of the machine after which its disk was looked at.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The last recipient_id, import_id and sender_id given out, when a sweep last looked (last_sweep_at), how many sweeps had
-- work and for how long in all (sweeps, sweep_milliseconds). Until a sweep has seen to it: that this was restored
-- (backup_made_at), that commits were lost (lost_commits).
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- An email as it was POSTed. The content stands last: who reads only the rest never touches its pages.
CREATE TABLE emails (
    event_id     BIGINT PRIMARY KEY,
    due_at       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    status       TEXT NOT NULL DEFAULT 'scheduled'
                 CHECK (status IN ('scheduled', 'sending', 'sent', 'held', 'cancelled')),
    held_because TEXT,
    logged       BIGINT NOT NULL DEFAULT 0 CHECK (logged IN (0, 1)), -- its event_id is in tasklog.log
    token        TEXT NOT NULL,                                      -- random; its Message-IDs derive from it
    content_digest TEXT, -- SHA-256 in hexadecimal; NULL until the content was pruned
    subject      TEXT NOT NULL,
    content      TEXT NOT NULL
);
-- What is due, and when the next email will be, without touching the others; and the lists, by status and by time.
CREATE INDEX emails_by_status ON emails (status, due_at, event_id);
-- The emails that a sweep takes in turn.
CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending';
-- The finished ones whose line in tasklog.log is still owed.
CREATE INDEX emails_unlogged ON emails (event_id) WHERE status = 'sent' AND logged = 0;
-- The cancelled ones that still have deliveries in line or in flight.
CREATE INDEX emails_cancelling ON emails (status, finished_at, event_id)
    WHERE status = 'cancelled' AND finished_at IS NULL;
-- The finished ones that can be pruned, oldest first.
CREATE INDEX emails_prunable ON emails (finished_at) WHERE finished_at IS NOT NULL AND content_digest IS NULL;

-- How far an email that was started has come: how many deliveries it has, and in which final states. Apart from
-- `emails`, because these counters change with every commit of a sender and a content can be large.
CREATE TABLE progress (
    event_id          BIGINT PRIMARY KEY,
    started_at        BIGINT NOT NULL,
    last_recipient_id BIGINT NOT NULL,           -- the last recipient of the moment it was started
    recipients        BIGINT NOT NULL DEFAULT 0, -- how many were active at that moment
    cursor_id         BIGINT NOT NULL DEFAULT 0, -- deliveries exist for every recipient up to this one
    deliveries        BIGINT NOT NULL DEFAULT 0,
    sent              BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    unknown           BIGINT NOT NULL DEFAULT 0,
    cancelled         BIGINT NOT NULL DEFAULT 0,
    first_sent_at     BIGINT,
    last_sent_at      BIGINT
);
-- The emails that were begun when a recipient was there already.
CREATE INDEX progress_by_last_recipient ON progress (last_recipient_id);
-- The starts that a sweep has to go on with.
CREATE INDEX progress_unfinished ON progress (event_id) WHERE cursor_id < last_recipient_id;
-- The emails that not everybody got, for who lists them.
CREATE INDEX progress_with_failures ON progress (started_at, event_id) WHERE failed + unknown > 0;

-- An address once, whatever its case. A removed one that had unsubscribed stays, so that it is never written to again.
CREATE TABLE recipients (
    recipient_id BIGINT PRIMARY KEY,
    address      TEXT NOT NULL,
    address_key  TEXT NOT NULL UNIQUE,
    status       TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unsubscribed', 'rejected')),
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    no_mailbox   BIGINT -- the email of which a server said that there is no such mailbox; a second one: rejected
);
-- The few who left, among a million who did not: in the order in which they were added, and by address.
CREATE INDEX recipients_inactive ON recipients (status, recipient_id) WHERE status <> 'active' AND removed_at IS NULL;
CREATE INDEX recipients_inactive_by_key ON recipients (status, address_key)
    WHERE status <> 'active' AND removed_at IS NULL;

-- Files of recipients that were uploaded, each from its reading to its undoing. What one added has the recipient_ids after
-- `before_id`, up to `last_id`: they are given out in its own commit. A process at work on it says so by `heartbeat_at`.
CREATE TABLE imports (
    import_id    BIGINT PRIMARY KEY,
    file_name    TEXT NOT NULL,
    status       TEXT NOT NULL
                 CHECK (status IN ('reading', 'refused', 'ready', 'importing', 'done', 'undoing', 'undone')),
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    heartbeat_at BIGINT NOT NULL,
    fault        TEXT,                      -- why it was refused or broke off
    size         BIGINT NOT NULL,           -- bytes
    position     BIGINT NOT NULL DEFAULT 0, -- bytes that are read, or recipients that the undoing has come by
    lines        BIGINT NOT NULL DEFAULT 0, -- with an address that can be taken
    bad          BIGINT NOT NULL DEFAULT 0, -- that cannot be taken
    left_out     BIGINT NOT NULL DEFAULT 0, -- not active by the file's own word
    repeated     BIGINT NOT NULL DEFAULT 0,
    added        BIGINT NOT NULL DEFAULT 0, -- of the addresses, each counted once; before the import: would be
    known        BIGINT NOT NULL DEFAULT 0,
    unsubscribed BIGINT NOT NULL DEFAULT 0,
    rejected     BIGINT NOT NULL DEFAULT 0,
    before_id    BIGINT NOT NULL DEFAULT 0,
    last_id      BIGINT NOT NULL DEFAULT 0,
    removed      BIGINT NOT NULL DEFAULT 0, -- by undoing it
    kept         BIGINT NOT NULL DEFAULT 0, -- although it was undone
    preview      TEXT,                      -- JSON: the form of the file, and its first lines
    bad_lines    TEXT                       -- the first of them as CSV
);

-- Such a file, in parts, until it is imported.
CREATE TABLE import_parts (
    import_id BIGINT NOT NULL,
    part      BIGINT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (import_id, part)
);

-- How many emails and recipients there are of each status, kept by triggers (storage/schema/count_triggers.py): the sum over all
-- parts. Each connection to PostgreSQL counts in one of 64 parts, so that writers hardly ever wait for each other.
CREATE TABLE counts (
    noun   TEXT NOT NULL CHECK (noun IN ('emails', 'recipients')),
    status TEXT NOT NULL, -- of a recipient: 'removed', too
    part   BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (noun, status, part)
);

-- One email to one recipient. Few indexes, and partial ones: each that a change of status touches costs speed.
CREATE TABLE deliveries (
    event_id        BIGINT NOT NULL,
    recipient_id    BIGINT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'queued'
                    -- not IN: SQLite would build a set of the seven for each row that changes, at 40 % of the cost
                    CHECK (status = 'sent' OR status = 'sending' OR status = 'claimed' OR status = 'queued'
                           OR status = 'failed' OR status = 'unknown' OR status = 'cancelled'),
    claimed_by      BIGINT,                    -- the sender at work on it
    queued_at       BIGINT NOT NULL,           -- when it was put in line; it is tried until RETRY_FOR after this
    next_attempt_at BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0, -- that have ended
    doubts          BIGINT NOT NULL DEFAULT 0, -- of which in doubt
    finished_at     BIGINT,
    address         TEXT NOT NULL,             -- as it is sent to, whatever becomes of the recipient
    reply           TEXT,                      -- the server's last
    PRIMARY KEY (event_id, recipient_id)
);
-- What can be claimed, email by email: the queued ones. No index speaks of `status`, so that the change to `sending`,
-- which every message goes through, touches none.
CREATE INDEX deliveries_queued ON deliveries (event_id, next_attempt_at)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
-- The same, for who lists them.
CREATE INDEX deliveries_in_line ON deliveries (event_id, recipient_id)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
-- What a sender holds, to be taken over when it died.
CREATE INDEX deliveries_claimed ON deliveries (claimed_by) WHERE claimed_by IS NOT NULL;

-- Each try that did not succeed, so that a page can say why; every delivery that failed or is unknown has one here.
CREATE TABLE attempts (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    attempted_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('deferred', 'failed', 'in_doubt')),
    reply        TEXT NOT NULL
);
CREATE INDEX attempts_of_delivery ON attempts (event_id, recipient_id);

-- What was sent in each hour (seconds since 1970 UTC divided by 3600); the hour 0 is the sum of all before the last year.
-- Each sent one is also in one of the
-- columns late_: accepted at most so many seconds after its email was due, or POSTed if that was later.
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
    lateness  BIGINT NOT NULL DEFAULT 0 -- of all that were sent, seconds
);

-- How often servers put off a delivery, by the code of their reply (451), or none: they said nothing.
CREATE TABLE deferrals (
    code  TEXT PRIMARY KEY,
    times BIGINT NOT NULL
);

-- Who logged out of the pages: sessions that are not taken again, until they would have ended anyway.
CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY,
    ends_at    BIGINT NOT NULL
);

-- One process at work on a sweep. Its claims end with its lease, which is judged by `clock`: the boot of this
-- machine on SQLite, the database server on PostgreSQL; never by the wall clock, which may be stepped.
CREATE TABLE senders (
    sender_id    BIGINT PRIMARY KEY,
    clock        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL, -- milliseconds of that clock
    process_id   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
