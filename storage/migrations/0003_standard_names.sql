-- Version 3: standard names for internal tables and columns. Renaming does not rewrite a table. The files
-- for each engine rename `counts`, whose triggers must be replaced, and what else is named differently on each.

ALTER TABLE recipients RENAME COLUMN no_mailbox TO bounced_event_id;
ALTER TABLE deliveries RENAME COLUMN doubts TO attempts_in_doubt;

ALTER TABLE imports RENAME COLUMN fault TO error;
ALTER TABLE imports RENAME COLUMN lines TO valid;
ALTER TABLE imports RENAME COLUMN bad TO invalid;
ALTER TABLE imports RENAME COLUMN left_out TO skipped;
ALTER TABLE imports RENAME COLUMN repeated TO duplicates;
ALTER TABLE imports RENAME COLUMN known TO existing;
ALTER TABLE imports RENAME COLUMN before_id TO after_id;
ALTER TABLE imports RENAME COLUMN bad_lines TO invalid_lines;

-- The preview is JSON. Its texts cannot contain these fragments, because JSON escapes quotation marks.
UPDATE imports SET preview = REPLACE(REPLACE(REPLACE(preview,
    '"fate": "known"', '"fate": "existing"'), '"fate": "repeated"', '"fate": "duplicate"'), '"fate": ', '"result": ');

ALTER TABLE hours RENAME TO hourly_stats;
ALTER TABLE hourly_stats RENAME COLUMN late_more TO late_over_3600;
ALTER TABLE hourly_stats RENAME COLUMN lateness TO lateness_seconds;

ALTER TABLE deferrals RENAME COLUMN times TO total;
