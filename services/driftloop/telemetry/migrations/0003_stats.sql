-- Measurements. Those of services come every few seconds and are dropped after a month.
CREATE TABLE IF NOT EXISTS stats_service
(
    service LowCardinality(String),
    id String,
    at DateTime64(3, 'UTC'),
    pid UInt32,
    url String,
    started DateTime64(3, 'UTC'),
    ready Bool,
    reason String,
    rss_bytes UInt64,
    cpu_seconds Float64,
    counters Map(LowCardinality(String), Float64),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (service, at, id)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS evidence
(
    model LowCardinality(String),
    id String,
    at DateTime64(3, 'UTC'),
    data_time DateTime64(3, 'UTC'),
    run String,
    role LowCardinality(String),
    version Int32,
    champion Int32,
    `rows` UInt64,
    mean Float64,
    lower Float64,
    upper Float64,
    margin Float64,
    champion_loss Float64,
    shadow_loss Float64,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, at, id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS drift_scores
(
    model LowCardinality(String),
    id String,
    at DateTime64(3, 'UTC'),
    data_time DateTime64(3, 'UTC'),
    detector LowCardinality(String),
    mean Float64,
    `rows` UInt64,
    input_seq UInt64,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, detector, at, id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS join_stats
(
    model LowCardinality(String),
    id String,
    at DateTime64(3, 'UTC'),
    data_time DateTime64(3, 'UTC'),
    outcomes_total UInt64,
    waiting_predictions UInt64,
    waiting_labels UInt64,
    scored_seq UInt64,
    labels_seq UInt64,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, at, id)
SETTINGS non_replicated_deduplication_window = 100;
