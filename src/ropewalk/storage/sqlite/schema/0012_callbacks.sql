-- Callbacks that nothing mentions are removed some time after they were last asked for: asking for one again, which makes nothing new, is
-- written here too. The indexes hold what may mention one, and nothing else.

ALTER TABLE callbacks RENAME COLUMN created_at TO asked_at;

CREATE INDEX executions_failed ON executions (instance) WHERE status IN ('dead', 'failed');
CREATE INDEX activities_calling ON activities (twist) WHERE instr(meta, 'cb_');
CREATE INDEX notes_calling ON notes (activity) WHERE instr(links, 'cb_');
