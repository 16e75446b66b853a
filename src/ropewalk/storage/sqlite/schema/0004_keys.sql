-- The keys that seal what is secret: see the vault. The master key itself is nowhere in the database.

-- The id of the master key that wraps new data keys; no row before anything was sealed.
CREATE TABLE master_key (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id TEXT NOT NULL
) STRICT;

-- An instance's data key, wrapped by the master key that `master` names. Deactivation removes it.
CREATE TABLE data_keys (
    instance TEXT PRIMARY KEY,
    master TEXT NOT NULL,
    wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX data_keys_master ON data_keys (master);
