-- Everything of an instance is keyed by the instance. JSON is kept as its UTF-8 bytes, times as microseconds since 1970.
-- Foreign keys are not declared: every row is written by a verb that has just read the row it belongs to, and rows of an
-- instance are erased in small batches long after it is gone.

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('served', 0);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    boot TEXT NOT NULL,
    expires REAL NOT NULL,
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;


-- Twists ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE twists (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    latest INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    twist TEXT NOT NULL,
    number INTEGER NOT NULL,
    bundle TEXT NOT NULL,
    module TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    PRIMARY KEY (twist, number)
) STRICT;

CREATE TABLE bundle_files (
    bundle TEXT NOT NULL,
    path TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (bundle, path)
) STRICT;


-- Instances ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    twist TEXT NOT NULL,
    version INTEGER NOT NULL,
    target_version INTEGER,          -- the version whose upgrade is pending
    priority TEXT NOT NULL,
    status TEXT NOT NULL,            -- as in the records, then 'gone' (to be erased) and 'erased'
    options BLOB NOT NULL,
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    upgrade_error TEXT,
    epoch INTEGER NOT NULL,          -- raised whenever the lease is taken or broken
    node TEXT,                       -- who holds the lease
    running INTEGER,                 -- the execution (its n) that runs under the lease
    held INTEGER,                    -- the execution in back-off that everything later waits for
    wake_at INTEGER,                 -- 0: something is ready; a time: the earliest timer; NULL: leased, or nothing may run
    served INTEGER NOT NULL,         -- rises with every execution started anywhere: who was served least recently
    next_seq INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    pending_bytes INTEGER NOT NULL,
    store_bytes INTEGER NOT NULL,
    callbacks INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX instances_wake ON instances (wake_at, served) WHERE wake_at IS NOT NULL;
CREATE INDEX instances_leased ON instances (node) WHERE node IS NOT NULL;
CREATE INDEX instances_twist ON instances (twist);
CREATE INDEX instances_resting ON instances (status) WHERE status IN ('suspended', 'failed', 'gone');


-- Executions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- One that waits has either `seq` (it is ready: its place in the order of readiness) or `due` (a timer), never both; one that
-- runs or is over has neither. So the partial indexes below hold what waits and nothing else.

CREATE TABLE executions (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    instance TEXT NOT NULL,
    status TEXT NOT NULL,
    rank INTEGER NOT NULL,
    seq INTEGER,
    due INTEGER,
    run_at INTEGER,                  -- the time that was asked for, or the end of the back-off
    trigger TEXT NOT NULL,
    ns TEXT NOT NULL,
    key TEXT,
    callback TEXT,
    target_ns TEXT NOT NULL,
    method TEXT NOT NULL,
    cause TEXT NOT NULL,
    depth INTEGER NOT NULL,
    size INTEGER NOT NULL,           -- bytes of arguments and event
    queued_at INTEGER NOT NULL,
    ready_at INTEGER,                -- when it first became ready
    version INTEGER,
    node TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER,
    finished_at INTEGER,
    cpu INTEGER NOT NULL DEFAULT 0,
    memory_peak INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    arguments BLOB,                  -- NULL, as is event, when both are in payloads
    event BLOB,
    error BLOB,
    result BLOB
) STRICT;

CREATE INDEX executions_ready ON executions (instance, rank, seq) WHERE seq IS NOT NULL;
CREATE INDEX executions_timers ON executions (instance, due) WHERE due IS NOT NULL;
CREATE INDEX executions_barriers ON executions (instance, rank)
    WHERE rank <= 1 AND (seq IS NOT NULL OR due IS NOT NULL);
CREATE INDEX executions_keys ON executions (instance, ns, key, attempt)
    WHERE key IS NOT NULL AND (seq IS NOT NULL OR due IS NOT NULL);
CREATE INDEX executions_callbacks ON executions (callback)
    WHERE callback IS NOT NULL AND (seq IS NOT NULL OR due IS NOT NULL);
CREATE INDEX executions_retrying ON executions (instance) WHERE status = 'retrying';
CREATE INDEX executions_history ON executions (instance) WHERE ready_at IS NOT NULL;

-- Arguments and events too large to be written again with every change of their execution's row.
CREATE TABLE payloads (
    execution INTEGER PRIMARY KEY,
    arguments BLOB NOT NULL,
    event BLOB NOT NULL
) STRICT;

-- Ended attempts but for the one that succeeded, which the execution's own row tells of.
CREATE TABLE attempts (
    execution INTEGER NOT NULL,
    number INTEGER NOT NULL,
    version INTEGER NOT NULL,
    node TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    memory_peak INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    error BLOB,
    PRIMARY KEY (execution, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    n INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    execution INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    time INTEGER NOT NULL,
    level INTEGER NOT NULL,
    message TEXT NOT NULL,
    fields BLOB
) STRICT;

CREATE INDEX logs_execution ON logs (execution);
CREATE INDEX logs_instance ON logs (instance);


-- The store and callbacks ─────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE store (
    instance TEXT NOT NULL,
    ns TEXT NOT NULL,
    key TEXT NOT NULL,
    expires_at INTEGER,
    size INTEGER NOT NULL,           -- bytes of key and value
    value BLOB NOT NULL,
    PRIMARY KEY (instance, ns, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX store_expiring ON store (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE callbacks (
    instance TEXT NOT NULL,
    token TEXT NOT NULL,
    ns TEXT NOT NULL,
    target_ns TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    PRIMARY KEY (instance, token)
) STRICT, WITHOUT ROWID;


-- The workspace ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE priorities (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    parent TEXT
) STRICT;

CREATE TABLE activities (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    twist TEXT,
    instance TEXT,
    type TEXT NOT NULL,
    title TEXT NOT NULL,
    start TEXT,
    "end" TEXT,
    done_at INTEGER,
    source TEXT,
    meta BLOB,
    tags BLOB NOT NULL,
    assignee TEXT,
    author TEXT,
    priority TEXT NOT NULL,
    unread INTEGER NOT NULL,
    private INTEGER NOT NULL,
    draft INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX activities_source ON activities (priority, source) WHERE source IS NOT NULL;
CREATE INDEX activities_newest ON activities (created_at, id);
CREATE INDEX activities_of_priority ON activities (priority, created_at, id);
CREATE INDEX activities_of_twist ON activities (twist, created_at, id);

-- Each entry of an activity's meta, so that it can be found by it. `digest` is of the entry's value.
CREATE TABLE activity_meta (
    twist TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    activity INTEGER NOT NULL,
    PRIMARY KEY (activity, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX activity_meta_entry ON activity_meta (twist, key, digest);

CREATE TABLE notes (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    activity TEXT NOT NULL,
    key TEXT,
    content TEXT NOT NULL,
    content_type TEXT NOT NULL,
    author TEXT,
    links BLOB NOT NULL,
    mentions BLOB NOT NULL,
    tags BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX notes_of_activity ON notes (activity, created_at);
CREATE UNIQUE INDEX notes_key ON notes (activity, key) WHERE key IS NOT NULL;

-- The priority that everything is below, under a random (version 4) UUID.
INSERT INTO priorities (id, title)
SELECT substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-a' || substr(h, 18, 3) || '-' || substr(h, 21), 'Root'
FROM (SELECT lower(hex(randomblob(16))) AS h);
