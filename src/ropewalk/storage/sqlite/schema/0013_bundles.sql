-- Which packages a version stands on, and that files of old versions go: those of a version that no instance is in go some time after it
-- was first seen so, while the row stays. A package goes with the last version that stands on it.

ALTER TABLE versions ADD COLUMN unused_since INTEGER;        -- NULL: it is in use, or among the newest
ALTER TABLE versions ADD COLUMN removed_at INTEGER;          -- NULL: its files are there

CREATE TABLE version_packages (
    twist TEXT NOT NULL,
    number INTEGER NOT NULL,
    bundle TEXT NOT NULL,            -- the package's files, in bundle_files
    PRIMARY KEY (twist, number, bundle)
) STRICT, WITHOUT ROWID;

CREATE INDEX version_packages_bundle ON version_packages (bundle);

INSERT OR IGNORE INTO version_packages (twist, number, bundle)
SELECT v.twist, v.number, p.value ->> 'files'
FROM versions v JOIN bundle_files f ON f.bundle = v.bundle AND f.path = '.packages.json', json_each(CAST(f.content AS TEXT), '$.packages') p;
