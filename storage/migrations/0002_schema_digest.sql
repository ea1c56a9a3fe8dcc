-- Version 2: `meta` also holds the digest of the schema, so that tables of another development version are never
-- mistaken for the current ones. `flask init-db` fills it in after the last migration.
INSERT INTO meta (name, value) VALUES ('schema_digest', '');
