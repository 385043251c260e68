"""Prometheus metrics: made through one door, so that their values can also go to ClickHouse."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

_PREFIX: Final = "driftloop_"
LATENCY_BUCKETS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter `driftloop_<name>_total`."""
    return Counter(f"{_PREFIX}{name}", text, labels)


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge `driftloop_<name>`."""
    return Gauge(f"{_PREFIX}{name}", text, labels)


def histogram(name: str, text: str, labels: Sequence[str] = ()) -> Histogram:
    """A latency histogram in seconds."""
    return Histogram(f"{_PREFIX}{name}", text, labels, buckets=LATENCY_BUCKETS)


def values() -> dict[str, float]:
    """All driftloop counters and gauges of this process: `name{label=value}` to number."""
    found: dict[str, float] = {}
    for family in REGISTRY.collect():
        if not family.name.startswith(_PREFIX) or family.type not in ("counter", "gauge"):
            continue
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
