-- URLs whose requests run a method, and the requests that they received. The execution of a request holds it as its event.

CREATE TABLE webhooks (
    instance TEXT NOT NULL,
    token TEXT NOT NULL,
    id TEXT NOT NULL,                -- names it to people, who are not to see its token
    ns TEXT NOT NULL,
    target_ns TEXT NOT NULL,
    method TEXT NOT NULL,
    arguments BLOB NOT NULL,
    callback TEXT,                   -- what it was made of
    respond INTEGER NOT NULL,
    signature TEXT,
    secret BLOB,
    challenge TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (instance, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    execution INTEGER PRIMARY KEY,   -- its n
    instance TEXT NOT NULL,
    webhook TEXT NOT NULL,           -- its id
    delivery TEXT,                   -- what its sender calls it
    received_at INTEGER NOT NULL,
    size INTEGER NOT NULL            -- bytes that are kept of the request; 0 when it is kept no more
) STRICT;

CREATE UNIQUE INDEX deliveries_once ON deliveries (instance, webhook, delivery) WHERE delivery IS NOT NULL;
CREATE INDEX deliveries_received ON deliveries (received_at);

-- What one process has to know of another that is not there now, such as where a node has listened.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
