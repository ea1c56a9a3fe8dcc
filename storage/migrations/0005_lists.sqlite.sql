-- Version 5 on SQLite: recipients who are written to only by name are counted apart; changes of what a search finds.

DROP TRIGGER recipients_inserted;
DROP TRIGGER recipients_deleted;
DROP TRIGGER recipients_updated;

CREATE TRIGGER recipients_inserted AFTER INSERT ON recipients BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN NEW.removed_at IS NOT NULL THEN 'removed' WHEN NEW.listed = 0 AND NEW.status = 'active' THEN 'named' ELSE NEW.status END, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER recipients_deleted AFTER DELETE ON recipients BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN OLD.removed_at IS NOT NULL THEN 'removed' WHEN OLD.listed = 0 AND OLD.status = 'active' THEN 'named' ELSE OLD.status END, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER recipients_updated AFTER UPDATE ON recipients WHEN CASE WHEN OLD.removed_at IS NOT NULL THEN 'removed' WHEN OLD.listed = 0 AND OLD.status = 'active' THEN 'named' ELSE OLD.status END <> CASE WHEN NEW.removed_at IS NOT NULL THEN 'removed' WHEN NEW.listed = 0 AND NEW.status = 'active' THEN 'named' ELSE NEW.status END BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN OLD.removed_at IS NOT NULL THEN 'removed' WHEN OLD.listed = 0 AND OLD.status = 'active' THEN 'named' ELSE OLD.status END, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN NEW.removed_at IS NOT NULL THEN 'removed' WHEN NEW.listed = 0 AND NEW.status = 'active' THEN 'named' ELSE NEW.status END, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;

CREATE TRIGGER recipients_text_changed AFTER UPDATE OF address_key, fields ON recipients
    WHEN NEW.fields IS NOT NULL OR NEW.address_key <> OLD.address_key
BEGIN
    UPDATE search_chunks SET state = 1 WHERE chunk = NEW.recipient_id >> 13 AND state <> 1;
END;
