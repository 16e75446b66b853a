-- What attempts said and were told, sealed with their instance's key: see `recording`. Rows are in the order in which attempts ended.
CREATE TABLE records (
    n INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    execution INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX records_attempt ON records (instance, execution, attempt);

ALTER TABLE instances ADD COLUMN record_bytes INTEGER NOT NULL DEFAULT 0;    -- of all its records
