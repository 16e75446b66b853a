-- What the owner of an instance was last told of executions that failed for good: JSON of `deaths.Deaths`, and the activity that says it.

CREATE TABLE owners_notes (
    instance TEXT PRIMARY KEY,
    activity TEXT NOT NULL,
    since INTEGER NOT NULL,
    told BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- When the ticks of what recurs were last looked at: a time that is still to come says that the clock was set back since.

ALTER TABLE recurring ADD COLUMN looked_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX recurring_looked ON recurring (looked_at);
