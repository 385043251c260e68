-- How far the join has read the quarantined rows.
ALTER TABLE join_stats ADD COLUMN IF NOT EXISTS rows_seq UInt64 AFTER labels_seq;
