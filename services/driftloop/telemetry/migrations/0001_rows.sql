-- Rows, answers and labels. A row that is delivered twice has the same key: FINAL shows it once.
-- No partitions: one insert may hold event times of many years.
CREATE TABLE IF NOT EXISTS rows_valid
(
    model LowCardinality(String),
    event_id String,
    event_time DateTime64(3, 'UTC'),
    `key` Nullable(String),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, event_id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS quarantine
(
    model LowCardinality(String),
    event_id String,
    event_time Nullable(DateTime64(3, 'UTC')),
    reason String,
    `row` String,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
PRIMARY KEY (model, event_id)
-- rows that came without an id share the empty one; what they say tells them apart
ORDER BY (model, event_id, cityHash64(`row`))
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS labels
(
    model LowCardinality(String),
    event_id String,
    label Nullable(String),
    label_time Nullable(DateTime64(3, 'UTC')),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, event_id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS scored
(
    model LowCardinality(String),
    event_id String,
    event_time DateTime64(3, 'UTC'),
    `key` Nullable(String),
    version Nullable(Int32),
    answer Array(Float32),
    features Array(Float32),
    shadow_versions Array(Int32),
    shadow_answers Array(Array(Float32)),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, event_id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS outcomes
(
    model LowCardinality(String),
    event_id String,
    event_time DateTime64(3, 'UTC'),
    `key` Nullable(String),
    version Nullable(Int32),
    answer Array(Float32),
    features Array(Float32),
    shadow_versions Array(Int32),
    shadow_answers Array(Array(Float32)),
    label Float64,
    label_time Nullable(DateTime64(3, 'UTC')),
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, event_id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS unmatched
(
    model LowCardinality(String),
    event_id String,
    label Nullable(String),
    reason String,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (model, event_id, reason)
SETTINGS non_replicated_deduplication_window = 100;
