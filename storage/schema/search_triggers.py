"""The triggers that mark a part of the search index as outdated (storage/search/index.py).

They run only if the text of a recipient that a search can find may have changed: not if a recipient is added,
unsubscribes or is removed.
"""

from __future__ import annotations

# Comparing the fields would cost more than it saves: statements here do not write fields that stay the same.
CHANGED = "NEW.fields IS NOT NULL OR NEW.address_key <> OLD.address_key"
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
