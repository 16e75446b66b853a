-- The secret options of an instance, sealed together with its data key. Deactivation removes them with it.
CREATE TABLE secrets (
    instance TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
