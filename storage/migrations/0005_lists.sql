-- Version 5: lists, audiences, named recipients, personal fields, drafts, templates, removals, and the search index.

CREATE TABLE lists (
    list_id     BIGINT PRIMARY KEY,
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    archived_at BIGINT,
    deleted_at  BIGINT,
    members     BIGINT NOT NULL DEFAULT 0,
    last_joined_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE memberships (
    list_id      BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    joined_at    BIGINT NOT NULL,
    left_at      BIGINT,
    added_by     TEXT NOT NULL,
    PRIMARY KEY (list_id, recipient_id)
);
CREATE INDEX memberships_of_recipient ON memberships (recipient_id);

CREATE TABLE audiences (
    event_id BIGINT NOT NULL,
    list_id  BIGINT NOT NULL,
    excluded BIGINT NOT NULL CHECK (excluded IN (0, 1)),
    PRIMARY KEY (event_id, list_id)
);
CREATE INDEX audiences_of_list ON audiences (list_id, event_id);

CREATE TABLE named_recipients (
    event_id     BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    address      TEXT NOT NULL,
    PRIMARY KEY (event_id, recipient_id)
);
CREATE INDEX named_recipients_by_recipient ON named_recipients (recipient_id);

CREATE TABLE drafts (
    draft_id   BIGINT PRIMARY KEY,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    title      TEXT NOT NULL,
    fields     TEXT NOT NULL
);

CREATE TABLE templates (
    template_id BIGINT PRIMARY KEY,
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    fields      TEXT NOT NULL
);

CREATE TABLE removals (
    removal_id BIGINT PRIMARY KEY,
    removed_at BIGINT NOT NULL,
    content    TEXT NOT NULL
);

CREATE TABLE field_names (
    name TEXT PRIMARY KEY
);

CREATE TABLE search_chunks (
    chunk BIGINT PRIMARY KEY,
    state BIGINT NOT NULL
);
CREATE INDEX search_chunks_outdated ON search_chunks (state) WHERE state <> 0;

CREATE TABLE search_postings (
    chunk      BIGINT NOT NULL,
    bigram     BIGINT NOT NULL,
    recipients BYTEA NOT NULL,
    PRIMARY KEY (chunk, bigram)
);

ALTER TABLE emails ADD COLUMN audience TEXT NOT NULL DEFAULT 'everyone'
    CHECK (audience = 'everyone' OR audience = 'lists' OR audience = 'named' OR audience = 'everyone_but');
ALTER TABLE emails ADD COLUMN recipients_max BIGINT;
ALTER TABLE emails ADD COLUMN personal BIGINT NOT NULL DEFAULT 0 CHECK (personal IN (0, 1));
ALTER TABLE emails ADD COLUMN reply_to TEXT;
ALTER TABLE emails ADD COLUMN from_name TEXT;
ALTER TABLE progress ADD COLUMN audience TEXT NOT NULL DEFAULT 'everyone'
    CHECK (audience = 'everyone' OR audience = 'lists' OR audience = 'named' OR audience = 'everyone_but');
ALTER TABLE progress ADD COLUMN joined_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE recipients ADD COLUMN listed BIGINT NOT NULL DEFAULT 1 CHECK (listed IN (0, 1));
ALTER TABLE recipients ADD COLUMN added_by TEXT;
ALTER TABLE recipients ADD COLUMN fields TEXT;
ALTER TABLE imports ADD COLUMN list_id BIGINT;
ALTER TABLE imports ADD COLUMN options TEXT;

INSERT INTO counters (name, value) VALUES ('list_id', 0);
INSERT INTO counters (name, value) VALUES ('draft_id', 0);
INSERT INTO counters (name, value) VALUES ('template_id', 0);
INSERT INTO counters (name, value) VALUES ('removal_id', 0);
