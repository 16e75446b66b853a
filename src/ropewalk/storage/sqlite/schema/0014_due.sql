-- Up to when timers of an instance had come due when a write made some of them ready and had to leave others: those are due still where the
-- clock is set back. NULL: none were left.

ALTER TABLE instances ADD COLUMN due_to INTEGER;

-- Instances that wait for their pace alone: for at most as long as one token takes to come, unless the clock was set back since.

CREATE INDEX instances_paced ON instances (pace_at) WHERE wake_at = pace_at;

-- What returns from a back-off goes to the front when its time comes, however much else is due.

CREATE INDEX executions_returning ON executions (instance, due) WHERE due IS NOT NULL AND rank < 4;
