-- What recurs: methods that run every so often, or at the times of a cron expression. A row is there until it is cancelled or replaced, its
-- instance leaves, or (`declared`) a version without it succeeds. No run ends it: the write that queues a run moves `next` on.
-- Of each instance, `recurs_at` is the least `next`, NULL when it has no row: so the instance's `wake_at` knows of it.

CREATE TABLE recurring (
    instance TEXT NOT NULL,
    ns TEXT NOT NULL,                -- who asked; of a declared one, whose method it is
    declared INTEGER NOT NULL,       -- 1: by the version's code (`@on.schedule`), 0: by `schedule_recurring`
    key TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    recurrence BLOB NOT NULL,        -- JSON of `recurrence.Recurrence`
    next INTEGER NOT NULL,           -- the nominal time of the first tick that nothing has become of yet
    owed INTEGER NOT NULL,           -- as in `recurrence.Turn`
    last TEXT,                       -- the id of the execution of the newest run
    last_at INTEGER,                 -- its nominal time
    runs INTEGER NOT NULL,           -- counts: runs queued; ticks that came while the run before was not over; ticks without a run of their own
    skipped INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    callback TEXT,
    target_ns TEXT NOT NULL,
    method TEXT NOT NULL,
    arguments BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (instance, ns, declared, key)
) STRICT;

CREATE INDEX recurring_next ON recurring (instance, next);
CREATE INDEX recurring_callbacks ON recurring (callback) WHERE callback IS NOT NULL;

ALTER TABLE instances ADD COLUMN recurs_at INTEGER;
