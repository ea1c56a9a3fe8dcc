CREATE FUNCTION public.count_emails_delete() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_emails_insert() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, 1 AS number FROM arrived) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_emails_update() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, 1 AS number FROM arrived UNION ALL SELECT status AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_recipients_delete() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_recipients_insert() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS number FROM arrived) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_recipients_update() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS number FROM arrived UNION ALL SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;

CREATE TABLE public.attempts (
    event_id bigint NOT NULL,
    recipient_id bigint NOT NULL,
    attempted_at bigint NOT NULL,
    outcome text NOT NULL,
    reply text NOT NULL,
    CONSTRAINT attempts_outcome_check CHECK ((outcome = ANY (ARRAY['deferred'::text, 'failed'::text, 'in_doubt'::text])))
);

CREATE TABLE public.counters (
    name text NOT NULL,
    value bigint NOT NULL
);

CREATE TABLE public.counts (
    noun text NOT NULL,
    status text NOT NULL,
    part bigint NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT counts_noun_check CHECK ((noun = ANY (ARRAY['emails'::text, 'recipients'::text])))
)
WITH (fillfactor='20');

CREATE TABLE public.deferrals (
    code text NOT NULL,
    times bigint NOT NULL
);

CREATE TABLE public.deliveries (
    event_id bigint NOT NULL,
    recipient_id bigint NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    claimed_by bigint,
    queued_at bigint NOT NULL,
    next_attempt_at bigint NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    doubts bigint DEFAULT 0 NOT NULL,
    finished_at bigint,
    address text NOT NULL,
    reply text,
    CONSTRAINT deliveries_status_check CHECK (((status = 'sent'::text) OR (status = 'sending'::text) OR (status = 'claimed'::text) OR (status = 'queued'::text) OR (status = 'failed'::text) OR (status = 'unknown'::text) OR (status = 'cancelled'::text)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='20000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='20000');

CREATE TABLE public.emails (
    event_id bigint NOT NULL,
    due_at bigint NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint,
    status text DEFAULT 'scheduled'::text NOT NULL,
    held_because text,
    logged bigint DEFAULT 0 NOT NULL,
    token text NOT NULL,
    content_digest text,
    subject text NOT NULL,
    content text NOT NULL,
    CONSTRAINT emails_logged_check CHECK ((logged = ANY (ARRAY[(0)::bigint, (1)::bigint]))),
    CONSTRAINT emails_status_check CHECK ((status = ANY (ARRAY['scheduled'::text, 'sending'::text, 'sent'::text, 'held'::text, 'cancelled'::text])))
);

CREATE TABLE public.ended_sessions (
    session_id text NOT NULL,
    ends_at bigint NOT NULL
);

CREATE TABLE public.hours (
    hour bigint NOT NULL,
    sent bigint DEFAULT 0 NOT NULL,
    deferred bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    in_doubt bigint DEFAULT 0 NOT NULL,
    late_1 bigint DEFAULT 0 NOT NULL,
    late_5 bigint DEFAULT 0 NOT NULL,
    late_15 bigint DEFAULT 0 NOT NULL,
    late_60 bigint DEFAULT 0 NOT NULL,
    late_300 bigint DEFAULT 0 NOT NULL,
    late_900 bigint DEFAULT 0 NOT NULL,
    late_3600 bigint DEFAULT 0 NOT NULL,
    late_more bigint DEFAULT 0 NOT NULL,
    lateness bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='20');

CREATE TABLE public.import_parts (
    import_id bigint NOT NULL,
    part bigint NOT NULL,
    content bytea NOT NULL
);

CREATE TABLE public.imports (
    import_id bigint NOT NULL,
    file_name text NOT NULL,
    status text NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint,
    heartbeat_at bigint NOT NULL,
    fault text,
    size bigint NOT NULL,
    "position" bigint DEFAULT 0 NOT NULL,
    lines bigint DEFAULT 0 NOT NULL,
    bad bigint DEFAULT 0 NOT NULL,
    left_out bigint DEFAULT 0 NOT NULL,
    repeated bigint DEFAULT 0 NOT NULL,
    added bigint DEFAULT 0 NOT NULL,
    known bigint DEFAULT 0 NOT NULL,
    unsubscribed bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    before_id bigint DEFAULT 0 NOT NULL,
    last_id bigint DEFAULT 0 NOT NULL,
    removed bigint DEFAULT 0 NOT NULL,
    kept bigint DEFAULT 0 NOT NULL,
    preview text,
    bad_lines text,
    CONSTRAINT imports_status_check CHECK ((status = ANY (ARRAY['reading'::text, 'refused'::text, 'ready'::text, 'importing'::text, 'done'::text, 'undoing'::text, 'undone'::text])))
);

CREATE TABLE public.meta (
    name text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.progress (
    event_id bigint NOT NULL,
    started_at bigint NOT NULL,
    last_recipient_id bigint NOT NULL,
    recipients bigint DEFAULT 0 NOT NULL,
    cursor_id bigint DEFAULT 0 NOT NULL,
    deliveries bigint DEFAULT 0 NOT NULL,
    sent bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    unknown bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL,
    first_sent_at bigint,
    last_sent_at bigint
)
WITH (fillfactor='20');

CREATE TABLE public.recipients (
    recipient_id bigint NOT NULL,
    address text NOT NULL,
    address_key text NOT NULL COLLATE pg_catalog."C",
    status text DEFAULT 'active'::text NOT NULL,
    created_at bigint NOT NULL,
    removed_at bigint,
    no_mailbox bigint,
    CONSTRAINT recipients_status_check CHECK ((status = ANY (ARRAY['active'::text, 'unsubscribed'::text, 'rejected'::text])))
);

CREATE TABLE public.senders (
    sender_id bigint NOT NULL,
    clock text NOT NULL,
    lease_until bigint NOT NULL,
    process_id bigint NOT NULL,
    started_at bigint NOT NULL,
    heartbeat_at bigint NOT NULL
);

INSERT INTO public.attempts VALUES (3, 5, 1737017059, 'failed', '550 5.1.1 No such user');
INSERT INTO public.attempts VALUES (3, 3, 1737017059, 'in_doubt', 'the server closed the connection (after the final dot: the message may have been accepted)');
INSERT INTO public.attempts VALUES (4, 2, 1737017059, 'deferred', '451 4.7.1 Come back later');
INSERT INTO public.attempts VALUES (4, 5, 1737017059, 'failed', '550 5.1.1 No such user');

INSERT INTO public.counters VALUES ('sweep_milliseconds', 199);
INSERT INTO public.counters VALUES ('sweeps', 4);
INSERT INTO public.counters VALUES ('recipient_id', 9);
INSERT INTO public.counters VALUES ('import_id', 3);
INSERT INTO public.counters VALUES ('last_sweep_at', 1737017060);
INSERT INTO public.counters VALUES ('sender_id', 6);

INSERT INTO public.counts VALUES ('emails', 'scheduled', 61, 1);
INSERT INTO public.counts VALUES ('emails', 'held', 62, 1);
INSERT INTO public.counts VALUES ('recipients', 'active', 1, 5);
INSERT INTO public.counts VALUES ('recipients', 'removed', 1, 1);
INSERT INTO public.counts VALUES ('recipients', 'unsubscribed', 1, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 3, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 6, -1);
INSERT INTO public.counts VALUES ('emails', 'sending', 6, 0);
INSERT INTO public.counts VALUES ('emails', 'sent', 6, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 12, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 15, -1);
INSERT INTO public.counts VALUES ('emails', 'sending', 15, 0);
INSERT INTO public.counts VALUES ('emails', 'sent', 15, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 25, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 28, -1);
INSERT INTO public.counts VALUES ('emails', 'sending', 28, 1);
INSERT INTO public.counts VALUES ('recipients', 'active', 28, -1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 62, 0);
INSERT INTO public.counts VALUES ('recipients', 'rejected', 28, 1);
INSERT INTO public.counts VALUES ('recipients', 'active', 39, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 51, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 53, -1);
INSERT INTO public.counts VALUES ('emails', 'cancelled', 53, 1);
INSERT INTO public.counts VALUES ('emails', 'sending', 53, 0);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 58, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 59, -1);
INSERT INTO public.counts VALUES ('emails', 'sending', 59, 1);
INSERT INTO public.counts VALUES ('emails', 'cancelled', 63, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 63, -1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 0, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 5, 1);

INSERT INTO public.deferrals VALUES ('451', 1);

INSERT INTO public.deliveries VALUES (5, 2, 'sending', 6, 1737017060, 1737017060, 0, 0, NULL, 'Alan@example.com', NULL);
INSERT INTO public.deliveries VALUES (3, 1, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Ada@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (4, 2, 'queued', NULL, 1737017059, 1737017399, 1, 0, NULL, 'Alan@example.com', '451 4.7.1 Come back later');
INSERT INTO public.deliveries VALUES (3, 5, 'failed', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Edgar@example.com', '550 5.1.1 No such user');
INSERT INTO public.deliveries VALUES (3, 2, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Alan@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (4, 1, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Ada@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (4, 5, 'failed', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Edgar@example.com', '550 5.1.1 No such user');
INSERT INTO public.deliveries VALUES (3, 3, 'unknown', NULL, 1737017059, 1737017059, 1, 1, 1737017059, 'Barbara@example.com', 'the server closed the connection (after the final dot: the message may have been accepted)');
INSERT INTO public.deliveries VALUES (3, 7, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Grace@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (4, 3, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Barbara@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (4, 7, 'sent', NULL, 1737017059, 1737017059, 1, 0, 1737017059, 'Grace@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (6, 1, 'sent', NULL, 1737017060, 1737017060, 1, 0, 1737017060, 'Ada@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (6, 2, 'sent', NULL, 1737017060, 1737017060, 1, 0, 1737017060, 'Alan@example.com', '250 2.0.0 Ok: queued');
INSERT INTO public.deliveries VALUES (6, 3, 'cancelled', NULL, 1737017060, 1737017060, 0, 0, 1737017060, 'Barbara@example.com', NULL);
INSERT INTO public.deliveries VALUES (5, 3, 'claimed', 6, 1737017060, 1737017060, 0, 0, NULL, 'Barbara@example.com', NULL);
INSERT INTO public.deliveries VALUES (5, 1, 'sent', NULL, 1737017060, 1737017060, 1, 0, 1737017060, 'Ada@example.com', '250 2.0.0 Ok: queued');

INSERT INTO public.emails VALUES (1, 1737017058, 1737017059, NULL, 'held', 'there was no active recipient when it was due', 0, '2c3efec92880326ba3d9d446', NULL, 'Rehearsal on Monday', 'Content
');
INSERT INTO public.emails VALUES (2, 1737017058, 1737017059, 1737017059, 'sent', NULL, 1, '90e162fd8668500e19695476', 'c99404a35eb9f1d0abe2705a0483c216a47036be108a8dc138765b551a4e9715', 'Minutes', '');
INSERT INTO public.emails VALUES (3, 1737017058, 1737017059, 1737017059, 'sent', NULL, 1, '6535c842c7b4582c13997255', NULL, 'Tickets', 'Content
');
INSERT INTO public.emails VALUES (4, 1737017058, 1737017059, NULL, 'sending', NULL, 0, '0b97d25ad735ec1f409db290', NULL, 'The new hall', 'Grüße aus der Halle 👋

.
It''s at "Main St\n".
');
INSERT INTO public.emails VALUES (6, 1737017059, 1737017060, 1737017060, 'cancelled', NULL, 0, '9a63b7a81931d3ff29c13046', NULL, 'Excursion to the lake', 'Content
');
INSERT INTO public.emails VALUES (5, 1737017059, 1737017060, NULL, 'sending', NULL, 0, '290102729e5badf7494b9c97', NULL, 'The bus leaves at 17:30', 'Content
');
INSERT INTO public.emails VALUES (7, 1737020660, 1737017060, 1737017060, 'cancelled', NULL, 0, '7c2796edabf9362b343f2050', NULL, 'Excursion to the hills', 'Content
');
INSERT INTO public.emails VALUES (8, 1737017059, 1737017060, NULL, 'scheduled', NULL, 0, '626683cc83a5a5ff33cbfa2f', NULL, 'Tonight''s concert begins at eight', 'Content
');
INSERT INTO public.emails VALUES (9, 4102444800, 1737017060, NULL, 'scheduled', NULL, 0, 'bb8657a4efdd81d1f9a7d953', NULL, 'Happy new century', 'Content
');

INSERT INTO public.ended_sessions VALUES ('session-of-a-test', 1737020660);

INSERT INTO public.hours VALUES (482504, 14, 1, 2, 1, 14, 0, 0, 0, 0, 0, 0, 0, 0);

INSERT INTO public.import_parts VALUES (2, 0, '\x726563697069656e745f656d61696c0a686564792e7265616479406578616d706c652e636f6d0a616461406578616d706c652e636f6d0a');

INSERT INTO public.imports VALUES (1, 'done.csv', 'done', 1737017059, 1737017060, 1737017060, NULL, 54, 54, 2, 0, 0, 0, 1, 1, 0, 0, 7, 9, 0, 0, '{"has_mark": false, "delimiter": ",", "columns": 1, "header_line": 1, "rows": [{"line": 2, "text": "hedy.done@example.com", "fate": "added", "reason": ""}, {"line": 3, "text": "ada@example.com", "fate": "known", "reason": ""}]}', 'line,reason
');
INSERT INTO public.imports VALUES (2, 'ready.csv', 'ready', 1737017060, NULL, 1737017060, NULL, 55, 55, 2, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, '{"has_mark": false, "delimiter": ",", "columns": 1, "header_line": 1, "rows": [{"line": 2, "text": "hedy.ready@example.com", "fate": "added", "reason": ""}, {"line": 3, "text": "ada@example.com", "fate": "known", "reason": ""}]}', 'line,reason
');
INSERT INTO public.imports VALUES (3, 'refused.csv', 'refused', 1737017060, NULL, 1737017060, 'none of its lines can be taken; line 2: @ is not valid: There must be something before the @-sign.', 20, 20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 'line,reason
2,''@ is not valid: There must be something before the @-sign.
3,''@ is not valid: There must be something before the @-sign.
');

INSERT INTO public.meta VALUES ('schema_version', '1');
INSERT INTO public.meta VALUES ('secret_key', '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef');
INSERT INTO public.meta VALUES ('installation', '0123456789abcdef');

INSERT INTO public.progress VALUES (2, 1737017059, 7, 5, 7, 5, 5, 0, 0, 0, 1737017059, 1737017059);
INSERT INTO public.progress VALUES (6, 1737017060, 9, 5, 9, 3, 2, 0, 0, 1, 1737017060, 1737017060);
INSERT INTO public.progress VALUES (3, 1737017059, 7, 5, 7, 5, 3, 1, 1, 0, 1737017059, 1737017059);
INSERT INTO public.progress VALUES (4, 1737017059, 7, 5, 7, 5, 3, 1, 0, 0, 1737017059, 1737017059);
INSERT INTO public.progress VALUES (5, 1737017060, 9, 5, 3, 3, 1, 0, 0, 0, 1737017060, 1737017060);

INSERT INTO public.recipients VALUES (1, 'Ada@example.com', 'ada@example.com', 'active', 1737017059, NULL, NULL);
INSERT INTO public.recipients VALUES (2, 'Alan@example.com', 'alan@example.com', 'active', 1737017059, NULL, NULL);
INSERT INTO public.recipients VALUES (3, 'Barbara@example.com', 'barbara@example.com', 'active', 1737017059, NULL, NULL);
INSERT INTO public.recipients VALUES (7, 'Grace@example.com', 'grace@example.com', 'active', 1737017059, NULL, NULL);
INSERT INTO public.recipients VALUES (4, 'Dora@example.com', 'dora@example.com', 'unsubscribed', 1737017059, NULL, NULL);
INSERT INTO public.recipients VALUES (6, 'Frank@example.com', 'frank@example.com', 'unsubscribed', 1737017059, 1737017059, NULL);
INSERT INTO public.recipients VALUES (5, 'Edgar@example.com', 'edgar@example.com', 'rejected', 1737017059, NULL, 3);
INSERT INTO public.recipients VALUES (9, 'hedy.done@example.com', 'hedy.done@example.com', 'active', 1737017060, NULL, NULL);

INSERT INTO public.senders VALUES (6, 'postgresql', 1737017120344, 4711, 1737017060, 1737017060);

ALTER TABLE ONLY public.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.counts
    ADD CONSTRAINT counts_pkey PRIMARY KEY (noun, status, part);

ALTER TABLE ONLY public.deferrals
    ADD CONSTRAINT deferrals_pkey PRIMARY KEY (code);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (event_id, recipient_id);

ALTER TABLE ONLY public.emails
    ADD CONSTRAINT emails_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY public.ended_sessions
    ADD CONSTRAINT ended_sessions_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY public.hours
    ADD CONSTRAINT hours_pkey PRIMARY KEY (hour);

ALTER TABLE ONLY public.import_parts
    ADD CONSTRAINT import_parts_pkey PRIMARY KEY (import_id, part);

ALTER TABLE ONLY public.imports
    ADD CONSTRAINT imports_pkey PRIMARY KEY (import_id);

ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY public.recipients
    ADD CONSTRAINT recipients_address_key_key UNIQUE (address_key);

ALTER TABLE ONLY public.recipients
    ADD CONSTRAINT recipients_pkey PRIMARY KEY (recipient_id);

ALTER TABLE ONLY public.senders
    ADD CONSTRAINT senders_pkey PRIMARY KEY (sender_id);

CREATE INDEX attempts_of_delivery ON public.attempts USING btree (event_id, recipient_id);

CREATE INDEX deliveries_claimed ON public.deliveries USING btree (claimed_by) WHERE (claimed_by IS NOT NULL);

CREATE INDEX deliveries_in_line ON public.deliveries USING btree (event_id, recipient_id) WHERE ((claimed_by IS NULL) AND (finished_at IS NULL));

CREATE INDEX deliveries_queued ON public.deliveries USING btree (event_id, next_attempt_at) WHERE ((claimed_by IS NULL) AND (finished_at IS NULL));

CREATE INDEX emails_by_status ON public.emails USING btree (status, due_at, event_id);

CREATE INDEX emails_cancelling ON public.emails USING btree (status, finished_at, event_id) WHERE ((status = 'cancelled'::text) AND (finished_at IS NULL));

CREATE INDEX emails_prunable ON public.emails USING btree (finished_at) WHERE ((finished_at IS NOT NULL) AND (content_digest IS NULL));

CREATE INDEX emails_sending ON public.emails USING btree (event_id) WHERE (status = 'sending'::text);

CREATE INDEX emails_unlogged ON public.emails USING btree (event_id) WHERE ((status = 'sent'::text) AND (logged = 0));

CREATE INDEX progress_by_last_recipient ON public.progress USING btree (last_recipient_id);

CREATE INDEX progress_unfinished ON public.progress USING btree (event_id) WHERE (cursor_id < last_recipient_id);

CREATE INDEX progress_with_failures ON public.progress USING btree (started_at, event_id) WHERE ((failed + unknown) > 0);

CREATE INDEX recipients_inactive ON public.recipients USING btree (status, recipient_id) WHERE ((status <> 'active'::text) AND (removed_at IS NULL));

CREATE INDEX recipients_inactive_by_key ON public.recipients USING btree (status, address_key) WHERE ((status <> 'active'::text) AND (removed_at IS NULL));

CREATE TRIGGER emails_delete AFTER DELETE ON public.emails REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_delete();

CREATE TRIGGER emails_insert AFTER INSERT ON public.emails REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_insert();

CREATE TRIGGER emails_update AFTER UPDATE ON public.emails REFERENCING OLD TABLE AS gone NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_update();

CREATE TRIGGER recipients_delete AFTER DELETE ON public.recipients REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_delete();

CREATE TRIGGER recipients_insert AFTER INSERT ON public.recipients REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_insert();

CREATE TRIGGER recipients_update AFTER UPDATE ON public.recipients REFERENCING OLD TABLE AS gone NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_update();
