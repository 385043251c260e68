-- Mean losses that were expected of rows without labels, and what became of the last one.
CREATE TABLE IF NOT EXISTS estimates
(
    model LowCardinality(String),
    id String,
    at DateTime64(3, 'UTC'),
    data_time DateTime64(3, 'UTC'),
    version Int32,
    loss LowCardinality(String),
    estimate Float64,
    lower Float64,
    upper Float64,
    `rows` UInt64,
    from_time DateTime64(3, 'UTC'),
    void String,
    reconciled UInt64,
    last_estimate Float64,
    last_realised Float64,
    last_rows UInt64,
    last_time DateTime64(3, 'UTC'),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, at, id)
SETTINGS non_replicated_deduplication_window = 100;

-- A detector's share of what makes an alarm, 0 to 1.
ALTER TABLE drift_scores ADD COLUMN IF NOT EXISTS evidence Float64 AFTER input_seq;
