-- Control events and dead letters: the audit trail.
CREATE TABLE IF NOT EXISTS events
(
    model LowCardinality(String),
    id String,
    kind LowCardinality(String),
    at DateTime64(3, 'UTC'),
    data_time DateTime64(3, 'UTC'),
    correlation String,
    causation String,
    traceparent String,
    source LowCardinality(String),
    body String,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS dead
(
    service LowCardinality(String),
    model LowCardinality(String),
    reason String,
    origin String,
    at DateTime64(3, 'UTC'),
    content_type LowCardinality(String),
    payload_bytes UInt64,
    payload String COMMENT 'base64 of the first bytes',
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (service, model, origin)
SETTINGS non_replicated_deduplication_window = 100;
