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

CREATE TABLE public.meta (
    name text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.progress (
    event_id bigint NOT NULL,
    started_at bigint NOT NULL,
    last_recipient_id bigint NOT NULL,
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

INSERT INTO public.counters VALUES ('sender_id', 0);
INSERT INTO public.counters VALUES ('last_sweep_at', 1737017060);
INSERT INTO public.counters VALUES ('sweeps', 0);
INSERT INTO public.counters VALUES ('sweep_milliseconds', 0);
INSERT INTO public.counters VALUES ('recipient_id', 2);

INSERT INTO public.counts VALUES ('recipients', 'active', 44, 1);
INSERT INTO public.counts VALUES ('recipients', 'unsubscribed', 44, 1);
INSERT INTO public.counts VALUES ('emails', 'scheduled', 47, 1);

INSERT INTO public.emails VALUES (1, 1737020661, 1737017061, NULL, 'scheduled', NULL, 0, '341d63d5f231542733225606', NULL, 'Rehearsal on Monday', 'Content
');

INSERT INTO public.meta VALUES ('schema_version', '1');
INSERT INTO public.meta VALUES ('secret_key', '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef');
INSERT INTO public.meta VALUES ('installation', '0123456789abcdef');

INSERT INTO public.recipients VALUES (1, 'ada@example.com', 'ada@example.com', 'active', 1737017061, NULL, NULL);
INSERT INTO public.recipients VALUES (2, 'dora@example.com', 'dora@example.com', 'unsubscribed', 1737017061, NULL, NULL);

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

CREATE INDEX emails_cancelling ON public.emails USING btree (event_id) WHERE ((status = 'cancelled'::text) AND (finished_at IS NULL));

CREATE INDEX emails_prunable ON public.emails USING btree (finished_at) WHERE ((finished_at IS NOT NULL) AND (content_digest IS NULL));

CREATE INDEX emails_sending ON public.emails USING btree (event_id) WHERE (status = 'sending'::text);

CREATE INDEX emails_unlogged ON public.emails USING btree (event_id) WHERE ((status = 'sent'::text) AND (logged = 0));

CREATE INDEX progress_unfinished ON public.progress USING btree (event_id) WHERE (cursor_id < last_recipient_id);

CREATE INDEX recipients_inactive ON public.recipients USING btree (status, recipient_id) WHERE ((status <> 'active'::text) AND (removed_at IS NULL));

CREATE INDEX recipients_inactive_by_key ON public.recipients USING btree (status, address_key) WHERE ((status <> 'active'::text) AND (removed_at IS NULL));

CREATE TRIGGER emails_delete AFTER DELETE ON public.emails REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_delete();

CREATE TRIGGER emails_insert AFTER INSERT ON public.emails REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_insert();

CREATE TRIGGER emails_update AFTER UPDATE ON public.emails REFERENCING OLD TABLE AS gone NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_emails_update();

CREATE TRIGGER recipients_delete AFTER DELETE ON public.recipients REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_delete();

CREATE TRIGGER recipients_insert AFTER INSERT ON public.recipients REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_insert();

CREATE TRIGGER recipients_update AFTER UPDATE ON public.recipients REFERENCING OLD TABLE AS gone NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION public.count_recipients_update();
