-- Version 5 on PostgreSQL: recipients who are written to only by name are counted apart; changes of what a search finds.

DROP TRIGGER recipients_insert ON recipients;
DROP FUNCTION count_recipients_insert();
DROP TRIGGER recipients_delete ON recipients;
DROP FUNCTION count_recipients_delete();
DROP TRIGGER recipients_update ON recipients;
DROP FUNCTION count_recipients_update();

CREATE FUNCTION count_recipients_INSERT() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN listed = 0 AND status = 'active' THEN 'named' ELSE status END AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_INSERT AFTER INSERT ON recipients REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_INSERT();

CREATE FUNCTION count_recipients_DELETE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN listed = 0 AND status = 'active' THEN 'named' ELSE status END AS status, -1 AS change FROM old_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_DELETE AFTER DELETE ON recipients REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_DELETE();

CREATE FUNCTION count_recipients_UPDATE() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_counts (entity, status, shard, total)
    SELECT 'recipients', changed.status, pg_backend_pid() & 63, SUM(changed.change) FROM (SELECT CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN listed = 0 AND status = 'active' THEN 'named' ELSE status END AS status, -1 AS change FROM old_rows UNION ALL SELECT CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN listed = 0 AND status = 'active' THEN 'named' ELSE status END AS status, 1 AS change FROM new_rows) AS changed
    GROUP BY changed.status HAVING SUM(changed.change) <> 0 ORDER BY changed.status
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = status_counts.total + excluded.total;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_UPDATE AFTER UPDATE ON recipients REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_recipients_UPDATE();

CREATE FUNCTION mark_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE search_chunks SET state = 1 WHERE chunk = NEW.recipient_id >> 13 AND state <> 1;
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_text_changed AFTER UPDATE OF address_key, fields ON recipients FOR EACH ROW
    WHEN (NEW.fields IS NOT NULL OR NEW.address_key <> OLD.address_key)
    EXECUTE FUNCTION mark_text_changed();
