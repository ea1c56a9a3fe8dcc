-- Version 3 on SQLite: `counts` becomes `status_counts`, and an index is created again, because SQLite cannot rename it.

DROP TRIGGER emails_inserted;
DROP TRIGGER emails_deleted;
DROP TRIGGER emails_updated;
DROP TRIGGER recipients_inserted;
DROP TRIGGER recipients_deleted;
DROP TRIGGER recipients_updated;

ALTER TABLE counts RENAME TO status_counts;
ALTER TABLE status_counts RENAME COLUMN noun TO entity;
ALTER TABLE status_counts RENAME COLUMN part TO shard;
ALTER TABLE status_counts RENAME COLUMN number TO total;

CREATE TRIGGER emails_inserted AFTER INSERT ON emails BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('emails', NEW.status, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER emails_deleted AFTER DELETE ON emails BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('emails', OLD.status, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER emails_updated AFTER UPDATE ON emails WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('emails', OLD.status, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('emails', NEW.status, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;

CREATE TRIGGER recipients_inserted AFTER INSERT ON recipients BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER recipients_deleted AFTER DELETE ON recipients BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;
CREATE TRIGGER recipients_updated AFTER UPDATE ON recipients WHEN CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END <> CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END BEGIN
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN OLD.removed_at IS NULL THEN OLD.status ELSE 'removed' END, 0, -1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
    INSERT INTO status_counts (entity, status, shard, total) VALUES ('recipients', CASE WHEN NEW.removed_at IS NULL THEN NEW.status ELSE 'removed' END, 0, 1)
    ON CONFLICT (entity, status, shard) DO UPDATE SET total = total + excluded.total;
END;

DROP INDEX IF EXISTS deliveries_in_line;
CREATE INDEX deliveries_queued_by_recipient ON deliveries (event_id, recipient_id)
    WHERE claimed_by IS NULL AND finished_at IS NULL;
