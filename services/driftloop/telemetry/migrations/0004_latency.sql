-- Rows answered on request say how long that took, in seconds; for rows of the stream it is null.
ALTER TABLE scored ADD COLUMN IF NOT EXISTS latency Nullable(Float32) AFTER shadow_answers;
