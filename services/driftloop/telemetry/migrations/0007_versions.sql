-- Which release of Driftloop a process is of.
ALTER TABLE stats_service ADD COLUMN IF NOT EXISTS version LowCardinality(String) AFTER counters;
