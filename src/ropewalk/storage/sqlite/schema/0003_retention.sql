-- Executions that are over are forgotten some time later, oldest first.

CREATE INDEX executions_over ON executions (finished_at) WHERE finished_at IS NOT NULL;
