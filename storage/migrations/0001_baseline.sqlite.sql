-- Version 1 on SQLite: the triggers that maintain the table `counts`.

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
