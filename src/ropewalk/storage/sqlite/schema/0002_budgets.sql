-- What an instance spends over time, and why one is suspended. Until now no status was 'suspended'; it is no status of the row any more,
-- but what its `suspension` says on top of the status: an activation or upgrade goes on from where it was once that is lifted.

ALTER TABLE instances ADD COLUMN pace_at INTEGER NOT NULL DEFAULT -4611686018427387904;  -- `pace.FULL`: a state of `pace.Pace`
ALTER TABLE instances ADD COLUMN spent BLOB NOT NULL DEFAULT x'7b7d';                    -- JSON of `budgets.Spent`
ALTER TABLE instances ADD COLUMN suspension BLOB;                                        -- JSON of a record, NULL: nothing is suspended

DROP INDEX instances_resting;
CREATE INDEX instances_resting ON instances (status) WHERE status IN ('failed', 'gone') OR suspension IS NOT NULL;
