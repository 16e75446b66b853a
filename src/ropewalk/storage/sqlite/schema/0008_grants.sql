-- What each instance was offered of its twist's versions, and what it waits for. A version is offered to an instance once: it is upgraded, or
-- waits for a grant of what the version asks for beyond its own. One that was offered less than the latest is what a deploy has still to do.

ALTER TABLE instances ADD COLUMN offered INTEGER NOT NULL DEFAULT 0;   -- the newest version that was offered; none will be above LEAVING
ALTER TABLE instances ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;   -- the version whose permissions it has beside its own's, 0: none
ALTER TABLE instances ADD COLUMN awaiting INTEGER;                     -- the version that waits for a grant
ALTER TABLE versions ADD COLUMN grants INTEGER NOT NULL DEFAULT 1;     -- whether who deployed it granted what it asks for

UPDATE instances SET offered = CASE WHEN status IN ('deactivating', 'gone', 'erased') THEN 9223372036854775807
    ELSE (SELECT latest FROM twists t WHERE t.id = instances.twist) END;

DROP INDEX instances_twist;
CREATE INDEX instances_offered ON instances (twist, offered);
