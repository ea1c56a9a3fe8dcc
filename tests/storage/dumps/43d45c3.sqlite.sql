BEGIN TRANSACTION;
CREATE TABLE attempts (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    attempted_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('deferred', 'failed', 'in_doubt')),
    reply        TEXT NOT NULL
);
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO "counters" VALUES('recipient_id',2);
INSERT INTO "counters" VALUES('sender_id',0);
INSERT INTO "counters" VALUES('last_sweep_at',1737017057);
INSERT INTO "counters" VALUES('sweeps',0);
INSERT INTO "counters" VALUES('sweep_milliseconds',0);
CREATE TABLE counts (
    noun   TEXT NOT NULL CHECK (noun IN ('emails', 'recipients')),
    status TEXT NOT NULL, -- of a recipient: 'removed', too
    part   BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (noun, status, part)
);
INSERT INTO "counts" VALUES('recipients','active',0,1);
INSERT INTO "counts" VALUES('recipients','unsubscribed',0,1);
INSERT INTO "counts" VALUES('emails','scheduled',0,1);
CREATE TABLE deferrals (
    code  TEXT PRIMARY KEY,
    times BIGINT NOT NULL
);
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
INSERT INTO "emails" VALUES(1,1737020657,1737017057,NULL,'scheduled',NULL,0,'ac0838757e6c45d65fecdb52',NULL,'Rehearsal on Monday','Content
');
CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY,
    ends_at    BIGINT NOT NULL
);
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
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('secret_key','0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef');
INSERT INTO "meta" VALUES('installation','0123456789abcdef');
CREATE TABLE progress (
    event_id          BIGINT PRIMARY KEY,
    started_at        BIGINT NOT NULL,
    last_recipient_id BIGINT NOT NULL,           -- the last recipient of the moment it was started
    cursor_id         BIGINT NOT NULL DEFAULT 0, -- deliveries exist for every recipient up to this one
    deliveries        BIGINT NOT NULL DEFAULT 0,
    sent              BIGINT NOT NULL DEFAULT 0,
    failed            BIGINT NOT NULL DEFAULT 0,
    unknown           BIGINT NOT NULL DEFAULT 0,
    cancelled         BIGINT NOT NULL DEFAULT 0,
    first_sent_at     BIGINT,
    last_sent_at      BIGINT
);
CREATE TABLE recipients (
    recipient_id BIGINT PRIMARY KEY,
    address      TEXT NOT NULL,
    address_key  TEXT NOT NULL UNIQUE,
    status       TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unsubscribed', 'rejected')),
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    no_mailbox   BIGINT -- the email of which a server said that there is no such mailbox; a second one: rejected
);
INSERT INTO "recipients" VALUES(1,'ada@example.com','ada@example.com','active',1737017057,NULL,NULL);
INSERT INTO "recipients" VALUES(2,'dora@example.com','dora@example.com','unsubscribed',1737017057,NULL,NULL);
CREATE TABLE senders (
    sender_id    BIGINT PRIMARY KEY,
    clock        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL, -- milliseconds of that clock
    process_id   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
CREATE INDEX emails_by_status ON emails (status, due_at, event_id);
CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending';
CREATE INDEX emails_unlogged ON emails (event_id) WHERE status = 'sent' AND logged = 0;
CREATE INDEX emails_cancelling ON emails (event_id) WHERE status = 'cancelled' AND finished_at IS NULL;
CREATE INDEX emails_prunable ON emails (finished_at) WHERE finished_at IS NOT NULL AND content_digest IS NULL;
CREATE INDEX progress_unfinished ON progress (event_id) WHERE cursor_id < last_recipient_id;
CREATE INDEX recipients_inactive ON recipients (status, recipient_id) WHERE status <> 'active' AND removed_at IS NULL;
CREATE INDEX recipients_inactive_by_key ON recipients (status, address_key)
    WHERE status <> 'active' AND removed_at IS NULL;
CREATE INDEX deliveries_queued ON deliveries (event_id, next_attempt_at)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
CREATE INDEX deliveries_in_line ON deliveries (event_id, recipient_id)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
CREATE INDEX deliveries_claimed ON deliveries (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX attempts_of_delivery ON attempts (event_id, recipient_id);
CREATE TRIGGER emails_inserted AFTER INSERT ON emails BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('emails', NEW.status, 0, 1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
CREATE TRIGGER emails_deleted AFTER DELETE ON emails BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('emails', OLD.status, 0, -1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
CREATE TRIGGER emails_updated AFTER UPDATE ON emails WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('emails', OLD.status, 0, -1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
    INSERT INTO counts (noun, status, part, number) VALUES ('emails', NEW.status, 0, 1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
CREATE TRIGGER recipients_inserted AFTER INSERT ON recipients BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('recipients', CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END, 0, 1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
CREATE TRIGGER recipients_deleted AFTER DELETE ON recipients BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('recipients', CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END, 0, -1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
CREATE TRIGGER recipients_updated AFTER UPDATE ON recipients WHEN CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END <> CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END BEGIN
    INSERT INTO counts (noun, status, part, number) VALUES ('recipients', CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END, 0, -1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
    INSERT INTO counts (noun, status, part, number) VALUES ('recipients', CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END, 0, 1)
    ON CONFLICT (noun, status, part) DO UPDATE SET number = number + excluded.number;
END;
COMMIT;
