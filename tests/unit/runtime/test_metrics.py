from driftloop.runtime import metrics

SEEN = metrics.counter("test_seen", "For the test", ["model"])
LEVEL = metrics.gauge("test_level", "For the test")
TIME = metrics.histogram("test_seconds", "For the test")


def test_counters_and_gauges_can_be_read_by_name_and_labels() -> None:
    SEEN.labels("flights").inc(3)
    LEVEL.set(2.5)
    TIME.observe(0.1)
    values = metrics.values()
    assert values["driftloop_test_seen_total{model=flights}"] == 3
    assert values["driftloop_test_level"] == 2.5
    assert not any("test_seconds" in name or name.endswith("_created") for name in values)
