-- Version 3 on PostgreSQL: `counts` becomes `status_counts`. Constraints and indexes get the names of a new database.

DROP TRIGGER emails_insert ON emails;
DROP TRIGGER emails_delete ON emails;
DROP TRIGGER emails_update ON emails;
DROP TRIGGER recipients_insert ON recipients;
DROP TRIGGER recipients_delete ON recipients;
DROP TRIGGER recipients_update ON recipients;
DROP FUNCTION count_emails_insert();
DROP FUNCTION count_emails_delete();
DROP FUNCTION count_emails_update();
DROP FUNCTION count_recipients_insert();
DROP FUNCTION count_recipients_delete();
DROP FUNCTION count_recipients_update();

ALTER TABLE counts RENAME TO status_counts;
ALTER TABLE status_counts RENAME COLUMN noun TO entity;
ALTER TABLE status_counts RENAME COLUMN part TO shard;
ALTER TABLE status_counts RENAME COLUMN number TO total;
ALTER TABLE status_counts RENAME CONSTRAINT counts_pkey TO status_counts_pkey;
ALTER TABLE status_counts RENAME CONSTRAINT counts_noun_check TO status_counts_entity_check;

CREATE FUNCTION count_emails_INSERT() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT status AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_INSERT AFTER INSERT ON emails REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_INSERT();

CREATE FUNCTION count_emails_DELETE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT status AS status, -1 AS change FROM old_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_DELETE AFTER DELETE ON emails REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_DELETE();

CREATE FUNCTION count_emails_UPDATE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'emails', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT status AS status, -1 AS change FROM old_rows UNION ALL SELECT status AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER emails_UPDATE AFTER UPDATE ON emails REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_emails_UPDATE();

CREATE FUNCTION count_recipients_INSERT() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_INSERT AFTER INSERT ON recipients REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_INSERT();

CREATE FUNCTION count_recipients_DELETE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS change FROM old_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_DELETE AFTER DELETE ON recipients REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_DELETE();

CREATE FUNCTION count_recipients_UPDATE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, -1 AS change FROM old_rows UNION ALL SELECT CASE WHEN removed_at IS NULL THEN status ELSE 'removed' END AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_UPDATE AFTER UPDATE ON recipients REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_UPDATE();

ALTER TABLE hourly_stats RENAME CONSTRAINT hours_pkey TO hourly_stats_pkey;
ALTER INDEX IF EXISTS deliveries_in_line RENAME TO deliveries_queued_by_recipient;
