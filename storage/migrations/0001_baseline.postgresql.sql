-- Version 1 on PostgreSQL: storage parameters, and the triggers that maintain the table `counts`.

ALTER TABLE deliveries SET (fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
ALTER TABLE progress SET (fillfactor = 20);
ALTER TABLE hours SET (fillfactor = 20);
ALTER TABLE counts SET (fillfactor = 20);
ALTER TABLE recipients ALTER COLUMN address_key TYPE TEXT COLLATE "C";

CREATE FUNCTION count_emails_INSERT() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, 1 AS number FROM arrived) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_INSERT AFTER INSERT ON emails REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_INSERT();

CREATE FUNCTION count_emails_DELETE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_DELETE AFTER DELETE ON emails REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_DELETE();

CREATE FUNCTION count_emails_UPDATE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT status AS status, 1 AS number FROM arrived UNION ALL SELECT status AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_UPDATE AFTER UPDATE ON emails REFERENCING OLD TABLE AS gone NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_UPDATE();

CREATE FUNCTION count_recipients_INSERT() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS number FROM arrived) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_INSERT AFTER INSERT ON recipients REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_INSERT();

CREATE FUNCTION count_recipients_DELETE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_DELETE AFTER DELETE ON recipients REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_DELETE();

CREATE FUNCTION count_recipients_UPDATE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counts (noun, status, part, number)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.number) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS number FROM arrived UNION ALL SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS number FROM gone) AS changed
    GROUP BY changed.status HAVING SUM(changed.number) <> 0 ORDER BY changed.status
    ON CONFLICT (noun, status, part) DO UPDATE SET number = counts.number + excluded.number;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_UPDATE AFTER UPDATE ON recipients REFERENCING OLD TABLE AS gone NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_UPDATE();
