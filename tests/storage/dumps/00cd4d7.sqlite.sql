BEGIN TRANSACTION;
CREATE TABLE attempts (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    attempted_at BIGINT NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('deferred', 'failed', 'in_doubt')),
    reply        TEXT NOT NULL
);
INSERT INTO "attempts" VALUES(3,3,1737017057,'in_doubt','the server closed the connection (after the final dot: the message may have been accepted)');
INSERT INTO "attempts" VALUES(3,5,1737017057,'failed','550 5.1.1 No such user');
INSERT INTO "attempts" VALUES(4,2,1737017057,'deferred','451 4.7.1 Come back later');
INSERT INTO "attempts" VALUES(4,5,1737017057,'failed','550 5.1.1 No such user');
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO "counters" VALUES('recipient_id',9);
INSERT INTO "counters" VALUES('import_id',3);
INSERT INTO "counters" VALUES('sender_id',6);
INSERT INTO "counters" VALUES('sweeps',4);
INSERT INTO "counters" VALUES('sweep_milliseconds',94);
INSERT INTO "counters" VALUES('last_sweep_at',1737017057);
CREATE TABLE counts (
    noun   TEXT NOT NULL CHECK (noun IN ('emails', 'recipients')),
    status TEXT NOT NULL, -- of a recipient: 'removed', too
    part   BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (noun, status, part)
);
INSERT INTO "counts" VALUES('emails','scheduled',0,2);
INSERT INTO "counts" VALUES('emails','held',0,1);
INSERT INTO "counts" VALUES('recipients','active',0,5);
INSERT INTO "counts" VALUES('recipients','unsubscribed',0,1);
INSERT INTO "counts" VALUES('recipients','removed',0,1);
INSERT INTO "counts" VALUES('emails','sending',0,2);
INSERT INTO "counts" VALUES('emails','sent',0,2);
INSERT INTO "counts" VALUES('recipients','rejected',0,1);
INSERT INTO "counts" VALUES('emails','cancelled',0,2);
CREATE TABLE deferrals (
    code  TEXT PRIMARY KEY,
    times BIGINT NOT NULL
);
INSERT INTO "deferrals" VALUES('451',1);
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
INSERT INTO "deliveries" VALUES(3,1,'sent',NULL,1737017056,1737017056,1,0,1737017057,'Ada@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(3,2,'sent',NULL,1737017056,1737017056,1,0,1737017057,'Alan@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(3,3,'unknown',NULL,1737017056,1737017056,1,1,1737017057,'Barbara@example.com','the server closed the connection (after the final dot: the message may have been accepted)');
INSERT INTO "deliveries" VALUES(3,5,'failed',NULL,1737017056,1737017056,1,0,1737017057,'Edgar@example.com','550 5.1.1 No such user');
INSERT INTO "deliveries" VALUES(3,7,'sent',NULL,1737017056,1737017056,1,0,1737017057,'Grace@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(4,1,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Ada@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(4,2,'queued',NULL,1737017057,1737017308,1,0,NULL,'Alan@example.com','451 4.7.1 Come back later');
INSERT INTO "deliveries" VALUES(4,3,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Barbara@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(4,5,'failed',NULL,1737017057,1737017057,1,0,1737017057,'Edgar@example.com','550 5.1.1 No such user');
INSERT INTO "deliveries" VALUES(4,7,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Grace@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(6,1,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Ada@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(6,2,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Alan@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(6,3,'cancelled',NULL,1737017057,1737017057,0,0,1737017057,'Barbara@example.com',NULL);
INSERT INTO "deliveries" VALUES(5,1,'sent',NULL,1737017057,1737017057,1,0,1737017057,'Ada@example.com','250 2.0.0 Ok: queued');
INSERT INTO "deliveries" VALUES(5,2,'sending',6,1737017057,1737017057,0,0,NULL,'Alan@example.com',NULL);
INSERT INTO "deliveries" VALUES(5,3,'claimed',6,1737017057,1737017057,0,0,NULL,'Barbara@example.com',NULL);
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
INSERT INTO "emails" VALUES(1,1737017055,1737017056,NULL,'held','there was no active recipient when it was due',0,'70682dfd21babb5f48698ee8',NULL,'Rehearsal on Monday','Content
');
INSERT INTO "emails" VALUES(2,1737017055,1737017056,1737017056,'sent',NULL,1,'38a1cec86151ad76d3e3d904','c99404a35eb9f1d0abe2705a0483c216a47036be108a8dc138765b551a4e9715','Minutes','');
INSERT INTO "emails" VALUES(3,1737017055,1737017056,1737017057,'sent',NULL,1,'e43566747652d2cc755172e0',NULL,'Tickets','Content
');
INSERT INTO "emails" VALUES(4,1737017056,1737017057,NULL,'sending',NULL,0,'2e354d480585acffe924c185',NULL,'The new hall','Grüße aus der Halle 👋

.
It''s at "Main St\n".
');
INSERT INTO "emails" VALUES(6,1737017056,1737017057,1737017057,'cancelled',NULL,0,'83e177583840c3b97a25fbed',NULL,'Excursion to the lake','Content
');
INSERT INTO "emails" VALUES(5,1737017056,1737017057,NULL,'sending',NULL,0,'f1395bbef7633253a4b12a2e',NULL,'The bus leaves at 17:30','Content
');
INSERT INTO "emails" VALUES(7,1737020657,1737017057,1737017057,'cancelled',NULL,0,'a50a00b402b6a6795faa9b5b',NULL,'Excursion to the hills','Content
');
INSERT INTO "emails" VALUES(8,1737017056,1737017057,NULL,'scheduled',NULL,0,'5e7271f63a43640d54450f22',NULL,'Tonight''s concert begins at eight','Content
');
INSERT INTO "emails" VALUES(9,4102444800,1737017057,NULL,'scheduled',NULL,0,'08819e30082f7c653364e1b6',NULL,'Happy new century','Content
');
CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY,
    ends_at    BIGINT NOT NULL
);
INSERT INTO "ended_sessions" VALUES('session-of-a-test',1737020657);
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
INSERT INTO "hours" VALUES(482504,14,1,2,1,14,0,0,0,0,0,0,0,3);
CREATE TABLE import_parts (
    import_id BIGINT NOT NULL,
    part      BIGINT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (import_id, part)
);
INSERT INTO "import_parts" VALUES(2,0,X'726563697069656E745F656D61696C0A686564792E7265616479406578616D706C652E636F6D0A616461406578616D706C652E636F6D0A');
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
INSERT INTO "imports" VALUES(1,'done.csv','done',1737017057,1737017057,1737017057,NULL,54,54,2,0,0,0,1,1,0,0,7,9,0,0,'{"has_mark": false, "delimiter": ",", "columns": 1, "header_line": 1, "rows": [{"line": 2, "text": "hedy.done@example.com", "fate": "added", "reason": ""}, {"line": 3, "text": "ada@example.com", "fate": "known", "reason": ""}]}','line,reason
');
INSERT INTO "imports" VALUES(2,'ready.csv','ready',1737017057,NULL,1737017057,NULL,55,55,2,0,0,0,1,1,0,0,0,0,0,0,'{"has_mark": false, "delimiter": ",", "columns": 1, "header_line": 1, "rows": [{"line": 2, "text": "hedy.ready@example.com", "fate": "added", "reason": ""}, {"line": 3, "text": "ada@example.com", "fate": "known", "reason": ""}]}','line,reason
');
INSERT INTO "imports" VALUES(3,'refused.csv','refused',1737017057,NULL,1737017057,'none of its lines can be taken; line 2: @ is not valid: There must be something before the @-sign.',20,20,0,2,0,0,0,0,0,0,0,0,0,0,NULL,'line,reason
2,''@ is not valid: There must be something before the @-sign.
3,''@ is not valid: There must be something before the @-sign.
');
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
INSERT INTO "progress" VALUES(2,1737017056,7,5,7,5,5,0,0,0,1737017056,1737017056);
INSERT INTO "progress" VALUES(3,1737017056,7,5,7,5,3,1,1,0,1737017057,1737017057);
INSERT INTO "progress" VALUES(4,1737017057,7,5,7,5,3,1,0,0,1737017057,1737017057);
INSERT INTO "progress" VALUES(6,1737017057,9,5,9,3,2,0,0,1,1737017057,1737017057);
INSERT INTO "progress" VALUES(5,1737017057,9,5,3,3,1,0,0,0,1737017057,1737017057);
CREATE TABLE recipients (
    recipient_id BIGINT PRIMARY KEY,
    address      TEXT NOT NULL,
    address_key  TEXT NOT NULL UNIQUE,
    status       TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'unsubscribed', 'rejected')),
    created_at   BIGINT NOT NULL,
    removed_at   BIGINT,
    no_mailbox   BIGINT -- the email of which a server said that there is no such mailbox; a second one: rejected
);
INSERT INTO "recipients" VALUES(1,'Ada@example.com','ada@example.com','active',1737017056,NULL,NULL);
INSERT INTO "recipients" VALUES(2,'Alan@example.com','alan@example.com','active',1737017056,NULL,NULL);
INSERT INTO "recipients" VALUES(3,'Barbara@example.com','barbara@example.com','active',1737017056,NULL,NULL);
INSERT INTO "recipients" VALUES(4,'Dora@example.com','dora@example.com','unsubscribed',1737017056,NULL,NULL);
INSERT INTO "recipients" VALUES(5,'Edgar@example.com','edgar@example.com','rejected',1737017056,NULL,3);
INSERT INTO "recipients" VALUES(6,'Frank@example.com','frank@example.com','unsubscribed',1737017056,1737017056,NULL);
INSERT INTO "recipients" VALUES(7,'Grace@example.com','grace@example.com','active',1737017056,NULL,NULL);
INSERT INTO "recipients" VALUES(9,'hedy.done@example.com','hedy.done@example.com','active',1737017057,NULL,NULL);
CREATE TABLE senders (
    sender_id    BIGINT PRIMARY KEY,
    clock        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL, -- milliseconds of that clock
    process_id   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
INSERT INTO "senders" VALUES(6,'an earlier boot',3378735,4711,1737017057,1737017057);
CREATE INDEX emails_by_status ON emails (status, due_at, event_id);
CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending';
CREATE INDEX emails_unlogged ON emails (event_id) WHERE status = 'sent' AND logged = 0;
CREATE INDEX emails_cancelling ON emails (status, finished_at, event_id)
    WHERE status = 'cancelled' AND finished_at IS NULL;
CREATE INDEX emails_prunable ON emails (finished_at) WHERE finished_at IS NOT NULL AND content_digest IS NULL;
CREATE INDEX progress_by_last_recipient ON progress (last_recipient_id);
CREATE INDEX progress_unfinished ON progress (event_id) WHERE cursor_id < last_recipient_id;
CREATE INDEX progress_with_failures ON progress (started_at, event_id) WHERE failed + unknown > 0;
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
