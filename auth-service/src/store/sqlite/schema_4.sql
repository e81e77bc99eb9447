-- From version 3 to 4: open holds are found in the order of time, whosever they are.
DROP INDEX holds_due;
CREATE INDEX holds_due ON holds (expires_at_ms, hold_id, resolution) WHERE resolution IS NULL;
