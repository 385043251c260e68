"""Prometheus metrics: made through one door, so that their values can be summed and kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX: Final = "driftloop_"
_CREATED: Final = "_created"
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
LONG_BUCKETS: Final = (*LATENCY_BUCKETS, 10.0, 30.0, 60.0, 300.0)
STAGE_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3.6e3, 14.4e3, 86.4e3, 259.2e3, 604.8e3)
"""For what takes from a second to a week."""
ADDED_UP: Final = ("counter", "histogram", "summary")
"""Kinds whose values may be added up over processes."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value of a family."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with all its labels; `kind` is Prometheus's type."""

    name: str
    text: str
    kind: str
    samples: list[Sample]


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter `driftloop_<name>_total`."""
    return Counter(f"{_PREFIX}{name}", text, labels)


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge `driftloop_<name>`."""
    return Gauge(f"{_PREFIX}{name}", text, labels)


def histogram(
    name: str,
    text: str,
    labels: Sequence[str] = (),
    buckets: Sequence[float] = LATENCY_BUCKETS,
) -> Histogram:
    """A histogram `driftloop_<name>`, of seconds as its name says; `buckets` are upper bounds."""
    return Histogram(f"{_PREFIX}{name}", text, labels, buckets=buckets)


def collected_counter(
    name: str, text: str, labels: Sequence[str] = ()
) -> Callable[[], CounterMetricFamily]:
    """Makes an empty counter for a collector of its own to fill."""
    return lambda: CounterMetricFamily(f"{_PREFIX}{name}", text, labels=labels)


def collected_histogram(
    name: str, text: str, labels: Sequence[str] = ()
) -> Callable[[], HistogramMetricFamily]:
    """Makes an empty histogram for a collector of its own to fill."""
    return lambda: HistogramMetricFamily(f"{_PREFIX}{name}", text, labels=labels)


class Reading(Collector):
    """A counter `driftloop_<name>_total` whose value is read where it is counted, by `read`."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = f"{_PREFIX}{name}", text
        self.read: Callable[[], float] = lambda: 0.0
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """The counter as it is now."""
        yield CounterMetricFamily(self._name, self._text, value=self.read())


def reading(name: str, text: str) -> Reading:
    """A counter that somebody else counts; set its `read`."""
    return Reading(name, text)


def snapshot() -> list[Family]:
    """All metrics of this process as they are now."""
    return [
        Family(
            its.name,
            its.documentation,
            its.type,
            [Sample(s.name, dict(s.labels), float(s.value)) for s in its.samples],
        )
        for its in REGISTRY.collect()
    ]


def added(parts: Iterable[Sequence[Family]]) -> list[Family]:
    """Counters and histograms of several processes, added up; gauges are left out.

    A time of creation is that of the oldest.
    """
    heads: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for part in parts for family in part if family.kind in ADDED_UP):
        heads.setdefault(family.name, family)
        found = sums.setdefault(family.name, {})
        for name, labels, value in map(msgspec.structs.astuple, family.samples):
            key = (name, tuple(sorted(labels.items())))
            if key not in found:
                found[key] = value
            elif name.endswith(_CREATED):
                found[key] = min(found[key], value)
            else:
                found[key] += value
    return [
        Family(name, head.text, head.kind, [Sample(n, dict(k), v) for (n, k), v in its.items()])
        for (name, head), its in zip(heads.items(), sums.values(), strict=True)
    ]


def together(workers: Mapping[int, Sequence[Family]], ended: Sequence[Family]) -> list[Family]:
    """The metrics of all workers of a service, and what the `ended` ones had counted.

    Counters and histograms are added up. A gauge is told for each worker, with its number as the
    label `worker`: a sum would be wrong for some (times, limits), and the reader can make it.
    """
    gauges: dict[str, Family] = {}
    for number, families in sorted(workers.items()):
        for its in (family for family in families if family.kind not in ADDED_UP):
            told = gauges.setdefault(its.name, Family(its.name, its.text, its.kind, []))
            own = {"worker": str(number)}
            told.samples.extend(Sample(s.name, s.labels | own, s.value) for s in its.samples)
    return [*added([*workers.values(), ended]), *gauges.values()]


def text(families: Iterable[Family]) -> bytes:
    """Prometheus's text format."""
    return generate_latest(_Told(families))


def values(families: Iterable[Family] | None = None) -> dict[str, float]:
    """All driftloop counters and gauges, `name{label=value}` to number; those of this process
    unless `families` are given.
    """
    found: dict[str, float] = {}
    for family in snapshot() if families is None else families:
        if not family.name.startswith(_PREFIX) or family.kind not in ("counter", "gauge"):
            continue
        for sample in family.samples:
            if sample.name.endswith(_CREATED):
                continue
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


class _Told(Collector):
    """Families as prometheus_client reads them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            made = Metric(family.name, family.text, family.kind)
            for sample in family.samples:
                made.add_sample(sample.name, sample.labels, sample.value)
            yield made
