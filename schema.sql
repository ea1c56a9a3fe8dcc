-- The tables of email-endpoint, for SQLite and PostgreSQL.
--
-- Times are in seconds since 1970 UTC. Integers are BIGINT and strings are TEXT on both engines. The program validates
-- values before it stores them, because SQLite would accept 'soon' in a BIGINT column. New IDs come from `counters`, so
-- they increase in the order in which their rows are committed.

-- Facts about the installation: schema_version and schema_digest (storage/schema/guard.py), secret_key, installation,
-- and boot, the boot ID of the machine when the database was last checked for lost commits.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The last recipient_id, import_id, list_id, draft_id, template_id, removal_id and sender_id that were assigned; when
-- a sweep last checked for work (last_sweep_at); the number and total duration of the sweeps that had work (sweeps,
-- sweep_milliseconds); and how often a probe has tested writing (probes). Two rows exist only until the next sweep has
-- handled them: backup_made_at in a restored backup, and lost_commits.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Emails as they were submitted. The large columns come last, so that reading only the others does not touch their
-- pages.
CREATE TABLE emails (
    event_id     BIGINT PRIMARY KEY,
    due_at       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    status       TEXT NOT NULL DEFAULT 'scheduled'
                 CHECK (status IN ('scheduled', 'sending', 'sent', 'held', 'cancelled')),
    held_because TEXT,
    logged       BIGINT NOT NULL DEFAULT 0 CHECK (logged IN (0, 1)), -- whether its event_id is in tasklog.log
    token        TEXT NOT NULL, -- random; the Message-IDs are derived from it
    content_digest TEXT,        -- SHA-256 in hexadecimal, once the content has been pruned
    -- Who it is for: everyone, everyone except the members of the lists that `audiences` excludes, the lists that it
    -- includes (less those that it excludes), or the named recipients.
    audience     TEXT NOT NULL DEFAULT 'everyone'
                 CHECK (audience = 'everyone' OR audience = 'lists' OR audience = 'named'
                        OR audience = 'everyone_but'),
    recipients_max BIGINT,      -- held if its audience is larger than this when it is due
    personal     BIGINT NOT NULL DEFAULT 0 CHECK (personal IN (0, 1)), -- whether {{ name }} is filled in
    reply_to     TEXT,
    from_name    TEXT,
    subject      TEXT NOT NULL,
    content      TEXT NOT NULL
);
-- Finds due emails and the next due time, and lists emails by status and time.
CREATE INDEX emails_by_status ON emails (status, due_at, event_id);
-- Emails that are being sent, in the order in which a sweep claims from them.
CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending';
-- Sent emails that have no line in tasklog.log yet.
CREATE INDEX emails_unlogged ON emails (event_id) WHERE status = 'sent' AND logged = 0;
-- Cancelled emails with deliveries that are still queued or being sent.
CREATE INDEX emails_cancelling ON emails (status, finished_at, event_id)
    WHERE status = 'cancelled' AND finished_at IS NULL;
-- Finished emails that can be pruned, oldest first.
CREATE INDEX emails_prunable ON emails (finished_at) WHERE finished_at IS NOT NULL AND content_digest IS NULL;

-- The progress of each started email: how many deliveries it has, and how many are in each final status. It is a
-- separate table because a sender updates it in every commit, and the content of an email can be large.
CREATE TABLE progress (
    event_id          BIGINT PRIMARY KEY,
    started_at        BIGINT NOT NULL,
    last_recipient_id BIGINT NOT NULL,           -- the last recipient that existed when the email was started
    recipients        BIGINT NOT NULL DEFAULT 0, -- the number of active recipients in the audience at that time
    cursor_id         BIGINT NOT NULL DEFAULT 0, -- every recipient up to this one has a delivery
    audience          TEXT NOT NULL DEFAULT 'everyone' -- a copy: the row in `emails` can be large
                      CHECK (audience = 'everyone' OR audience = 'lists' OR audience = 'named'
                             OR audience = 'everyone_but'),
    joined_until      BIGINT NOT NULL DEFAULT 0, -- members who joined a list later get nothing
    deliveries        BIGINT NOT NULL DEFAULT 0,
    sent              BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    unknown           BIGINT NOT NULL DEFAULT 0,
    cancelled         BIGINT NOT NULL DEFAULT 0,
    first_sent_at     BIGINT,
    last_sent_at      BIGINT
);
-- Finds the emails that were started after a given recipient was added.
CREATE INDEX progress_by_last_recipient ON progress (last_recipient_id);
-- Started emails that do not have all their deliveries yet.
CREATE INDEX progress_unfinished ON progress (event_id) WHERE cursor_id < last_recipient_id;
-- For listing emails with failed or unknown deliveries.
CREATE INDEX progress_with_failures ON progress (started_at, event_id) WHERE failed + unknown > 0;

-- Each address once, ignoring case. If a recipient who unsubscribed is removed, the row stays (removed_at), so that
-- they do not receive emails again.
CREATE TABLE recipients (
    recipient_id BIGINT PRIMARY KEY,
    address      TEXT NOT NULL,
    address_key  TEXT NOT NULL UNIQUE,
    status       TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unsubscribed', 'rejected')),
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    -- The first email that bounced because the mailbox does not exist. After the second one, the status is rejected.
    bounced_event_id BIGINT,
    -- 0: was created because an email named the address, and receives only emails that name it
    listed       BIGINT NOT NULL DEFAULT 1 CHECK (listed IN (0, 1)),
    added_by     TEXT,       -- `import 7`, `email 7`, `program`, `page` or `command`; NULL: before version 5
    fields       TEXT        -- JSON object of personal fields, NULL if there are none
);
-- The few recipients who are not active, in the order in which they were added, and by address.
CREATE INDEX recipients_inactive ON recipients (status, recipient_id) WHERE status <> 'active' AND removed_at IS NULL;
CREATE INDEX recipients_inactive_by_key ON recipients (status, address_key)
    WHERE status <> 'active' AND removed_at IS NULL;

-- Named sets of recipients. A deleted list stays (deleted_at), so that those who left it stay out of a new list of the
-- same name.
CREATE TABLE lists (
    list_id     BIGINT PRIMARY KEY,
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL UNIQUE, -- the name, compared without case
    created_at  BIGINT NOT NULL,
    archived_at BIGINT,               -- accepts no new emails; those already scheduled for it still go out
    deleted_at  BIGINT,
    members     BIGINT NOT NULL DEFAULT 0, -- the number of memberships without left_at
    last_joined_at BIGINT NOT NULL DEFAULT 0 -- the latest joined_at ever, by a clock that may have been wrong
);

-- Who is on a list. `left_at`: the recipient left, and no import or program adds them again.
CREATE TABLE memberships (
    list_id      BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    joined_at    BIGINT NOT NULL,
    left_at      BIGINT,
    added_by     TEXT NOT NULL, -- as in `recipients`, or `left`: opted out of the list without having been a member
    PRIMARY KEY (list_id, recipient_id)
);
CREATE INDEX memberships_of_recipient ON memberships (recipient_id);

-- The lists that an email goes to, or that are excluded from it. The rows outlive pruning.
CREATE TABLE audiences (
    event_id BIGINT NOT NULL,
    list_id  BIGINT NOT NULL,
    excluded BIGINT NOT NULL CHECK (excluded IN (0, 1)),
    PRIMARY KEY (event_id, list_id)
);
-- For finding the emails of a list.
CREATE INDEX audiences_of_list ON audiences (list_id, event_id);

-- The recipients that an email names, in emails whose audience is `named`.
CREATE TABLE named_recipients (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    address      TEXT NOT NULL, -- a copy, which stays when the recipient is removed
    PRIMARY KEY (event_id, recipient_id)
);
CREATE INDEX named_recipients_by_recipient ON named_recipients (recipient_id);

-- Emails that someone is writing on a page.
CREATE TABLE drafts (
    draft_id   BIGINT PRIMARY KEY,
    version    BIGINT NOT NULL, -- the number of times it was saved
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    title      TEXT NOT NULL,   -- the beginning of the subject, for lists
    fields     TEXT NOT NULL    -- JSON: the fields of the form, as they were typed
);

-- Texts that are saved under a name, for new emails.
CREATE TABLE templates (
    template_id BIGINT PRIMARY KEY,
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL UNIQUE, -- the name, compared without case
    created_at  BIGINT NOT NULL,
    fields      TEXT NOT NULL         -- JSON, as in `drafts`
);

-- Removals of recipients that can still be undone (storage/recipients/removals.py).
CREATE TABLE removals (
    removal_id BIGINT PRIMARY KEY,
    removed_at BIGINT NOT NULL,
    content    TEXT NOT NULL -- JSON: what is needed to restore the recipients
);

-- The names of all personal fields that a recipient has ever had a value for.
CREATE TABLE field_names (
    name TEXT PRIMARY KEY
);

-- The index for searching recipients, in chunks of 8,192 recipient_ids (storage/search/index.py).
CREATE TABLE search_chunks (
    chunk BIGINT PRIMARY KEY, -- recipient_id >> 13
    state BIGINT NOT NULL     -- 0: current; 1: a recipient has changed since; otherwise a process is indexing it
);
CREATE INDEX search_chunks_outdated ON search_chunks (state) WHERE state <> 0;

-- Which recipients of a chunk have a text with these characters (storage/search/postings.py).
CREATE TABLE search_postings (
    chunk      BIGINT NOT NULL,
    bigram     BIGINT NOT NULL, -- two characters: the code point of the first one * 2^21, plus that of the second
    recipients BYTEA NOT NULL,  -- by the third character
    PRIMARY KEY (chunk, bigram)
);

-- Uploaded files of recipients. The recipients that an import added are those with after_id < recipient_id <= last_id,
-- because one commit assigns all of these IDs. The process that works on an import updates `heartbeat_at`.
CREATE TABLE imports (
    import_id     BIGINT PRIMARY KEY,
    file_name     TEXT NOT NULL,
    status        TEXT NOT NULL
                  CHECK (status IN ('reading', 'refused', 'ready', 'importing', 'done', 'undoing', 'undone')),
    created_at    BIGINT NOT NULL,
    finished_at   BIGINT,
    heartbeat_at  BIGINT NOT NULL,
    error         TEXT,                      -- why it was refused or interrupted
    size          BIGINT NOT NULL,           -- bytes
    position      BIGINT NOT NULL DEFAULT 0, -- bytes that have been read; when undoing, IDs that have been checked
    valid         BIGINT NOT NULL DEFAULT 0, -- lines with an address to import
    invalid       BIGINT NOT NULL DEFAULT 0, -- lines that cannot be imported
    skipped       BIGINT NOT NULL DEFAULT 0, -- lines that the file itself marks as inactive
    duplicates    BIGINT NOT NULL DEFAULT 0, -- lines that repeat an address in the file
    -- The distinct addresses: new, already active, or inactive (and staying so). Until the import is done, a forecast.
    added         BIGINT NOT NULL DEFAULT 0,
    existing      BIGINT NOT NULL DEFAULT 0,
    unsubscribed  BIGINT NOT NULL DEFAULT 0,
    rejected      BIGINT NOT NULL DEFAULT 0,
    after_id      BIGINT NOT NULL DEFAULT 0,
    last_id       BIGINT NOT NULL DEFAULT 0,
    removed       BIGINT NOT NULL DEFAULT 0, -- recipients removed by undoing the import
    kept          BIGINT NOT NULL DEFAULT 0, -- recipients kept when undoing the import
    list_id       BIGINT,                    -- the list that the recipients are added to
    options       TEXT,                      -- JSON: the address column, and the columns that become fields
    preview       TEXT,                      -- JSON: the format of the file, and its first lines
    invalid_lines TEXT                       -- the first invalid lines, as CSV
);

-- The content of an uploaded file, in parts, until it has been imported.
CREATE TABLE import_parts (
    import_id BIGINT NOT NULL,
    part      BIGINT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (import_id, part)
);

-- The number of emails and recipients of each status: the sum of `total` over all shards. Triggers maintain it
-- (storage/schema/count_triggers.py). On PostgreSQL each connection writes to one of 64 shards, so that writers rarely
-- wait for each other.
CREATE TABLE status_counts (
    entity TEXT NOT NULL CHECK (entity IN ('emails', 'recipients')),
    status TEXT NOT NULL, -- recipients also have 'removed', and 'named' for active ones that are not listed
    shard  BIGINT NOT NULL,
    total  BIGINT NOT NULL,
    PRIMARY KEY (entity, status, shard)
);

-- One email to one recipient. Every index that a status change touches slows down sending, so there are few, and all
-- except the primary key are partial.
CREATE TABLE deliveries (
    event_id        BIGINT NOT NULL,
    recipient_id    BIGINT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'queued'
                    -- not IN (…), for which SQLite would build a set for each changed row: 40% of the cost
                    CHECK (status = 'sent' OR status = 'sending' OR status = 'claimed' OR status = 'queued'
                           OR status = 'failed' OR status = 'unknown' OR status = 'cancelled'),
    claimed_by      BIGINT,                    -- the sender_id that holds the claim
    queued_at       BIGINT NOT NULL,           -- retries stop RETRY_FOR after this
    next_attempt_at BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0, -- attempts that have ended
    attempts_in_doubt BIGINT NOT NULL DEFAULT 0, -- attempts that may or may not have delivered the message
    finished_at     BIGINT,
    address         TEXT NOT NULL,             -- a copy, which stays when the recipient is removed
    reply           TEXT,                      -- the server's last reply
    PRIMARY KEY (event_id, recipient_id)
);
-- For claiming queued deliveries, one email after the other. No index includes `status`, so that the change to
-- `sending`, which every message needs, touches no index.
CREATE INDEX deliveries_queued ON deliveries (event_id, next_attempt_at)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
-- For listing queued deliveries.
CREATE INDEX deliveries_queued_by_recipient ON deliveries (event_id, recipient_id)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
-- For taking over the deliveries that a sender has claimed, if it dies.
CREATE INDEX deliveries_claimed ON deliveries (claimed_by) WHERE claimed_by IS NOT NULL;

-- Unsuccessful attempts, with the reason. Every failed or unknown delivery has at least one.
CREATE TABLE attempts (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    attempted_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('deferred', 'failed', 'in_doubt')),
    reply        TEXT NOT NULL
);
CREATE INDEX attempts_of_delivery ON attempts (event_id, recipient_id);

-- Outcomes of attempts by hour (seconds since 1970 UTC, divided by 3600). Hours older than a year are added up in hour
-- 0. Each sent message is also counted in one `late_` column: late_5 counts messages that were accepted more than 1 and
-- at most 5 seconds after their email was due, or after it was submitted if that was later.
CREATE TABLE hourly_stats (
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
    late_over_3600   BIGINT NOT NULL DEFAULT 0,
    lateness_seconds BIGINT NOT NULL DEFAULT 0 -- the sum over all sent messages
);

-- How often servers deferred a delivery, by reply code such as 451; `none` if there was no reply.
CREATE TABLE deferrals (
    code  TEXT PRIMARY KEY,
    total BIGINT NOT NULL
);

-- Sessions that people have logged out of. They stay until they would have expired, so that their cookies are refused.
CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY,
    ends_at    BIGINT NOT NULL
);

-- Running senders. A sender whose lease expires loses its claims. Leases are measured by `clock`: the current boot of
-- this machine on SQLite, the database server on PostgreSQL. The wall clock is not used, because it can be set.
CREATE TABLE senders (
    sender_id    BIGINT PRIMARY KEY,
    clock        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL, -- milliseconds on that clock
    process_id   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);

-- Why senders cannot send, one row for each kind of error. A sender records an error, and deletes it once it can send.
CREATE TABLE sender_errors (
    kind   TEXT PRIMARY KEY CHECK (kind IN ('mail_server', 'clock')),
    reason TEXT NOT NULL,
    since  BIGINT NOT NULL
);

-- Addresses of the mail server that did not respond to an attempt to connect. Until the time in the row, the other
-- addresses are tried first.
CREATE TABLE unreachable_addresses (
    address          TEXT PRIMARY KEY,
    remembered_until BIGINT NOT NULL
);

-- For each boot of each machine: by how many seconds its wall clock was ahead of its boot clock when a sweep last found
-- the wall clock to be right. This changes only if someone sets the wall clock.
CREATE TABLE host_clocks (
    boot_id        TEXT PRIMARY KEY,
    offset_seconds BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL
);
