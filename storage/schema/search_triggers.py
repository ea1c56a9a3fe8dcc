"""The triggers that mark a part of the search index as outdated (storage/search/index.py).

They run only if the text of a recipient changes that a search can find: not if a recipient is added, unsubscribes or is
removed.
"""

from __future__ import annotations

CHANGED = "NEW.address_key <> OLD.address_key OR (NEW.fields IS NOT NULL AND NEW.fields <> COALESCE(OLD.fields, ''))"
SET_STALE = "UPDATE search_chunks SET state = 1 WHERE chunk = NEW.recipient_id >> 13 AND state <> 1"

SQLITE = f"""
CREATE TRIGGER recipients_text_changed AFTER UPDATE OF address_key, fields ON recipients
    WHEN {CHANGED}
BEGIN
    {SET_STALE};
END;
"""
POSTGRESQL = f"""
CREATE FUNCTION mark_text_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {SET_STALE};
    RETURN NULL;
END $$;
CREATE TRIGGER recipients_text_changed AFTER UPDATE OF address_key, fields ON recipients FOR EACH ROW
    WHEN ({CHANGED})
    EXECUTE FUNCTION mark_text_changed();
"""
