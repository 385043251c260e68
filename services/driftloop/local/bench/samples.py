"""What one run of one server gave, and what several runs say together: medians, paired ratios."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, Literal

import msgspec

DISTURBED_CORES: Final = 0.15
"""CPU of other processes above which a run is not believed."""

Compared = Literal["requests_per_s", "p50_ms", "first_answer_s"]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a load client counted: answered requests, errors, latency (ms), its own CPU (cores)."""

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cores: float


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds of the server, its resident bytes after it, CPU of all others in cores.

    None where the server's processes are not known.
    """

    cpu_seconds: float | None = None
    rss_bytes: int | None = None
    other_cores: float | None = None

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much CPU that the run cannot be believed."""
        return self.other_cores is not None and self.other_cores > DISTURBED_CORES


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one server; None is what this workload or this server cannot tell."""

    requests_per_s: float | None = None
    rows_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    first_answer_s: float | None = None
    cpu_us: float | None = None
    rss_mb: float | None = None
    client_cores: float | None = None
    other_cores: float | None = None
    errors: int = 0
    disturbed: bool = False


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A server's line of the table: medians over its samples; errors and disturbed are sums."""

    target: str
    samples: int
    median: Sample
    ratio: float | None
    disturbed: int
    verified: str


def sample(counts: Counts, usage: Usage, rows: int) -> Sample:
    """One run as a sample; `rows` of one request. Requests that failed are no throughput."""
    rate = counts.requests / counts.seconds
    cpu = usage.cpu_seconds
    return Sample(
        requests_per_s=rate,
        rows_per_s=rate * rows,
        p50_ms=counts.p50_ms,
        p99_ms=counts.p99_ms,
        cpu_us=None if cpu is None else 1e6 * cpu / max(counts.requests + counts.errors, 1),
        rss_mb=None if usage.rss_bytes is None else usage.rss_bytes / 2**20,
        client_cores=counts.client_cores,
        other_cores=usage.other_cores,
        errors=counts.errors,
        disturbed=usage.disturbed,
    )


def line(
    target: str,
    samples: Sequence[Sample],
    baseline: Sequence[Sample],
    compared: Compared,
    verified: str,
) -> Line:
    """Medians of a server's samples, and the ratio to those of the baseline's same repeats."""
    return Line(
        target=target,
        samples=len(samples),
        median=_medians(samples),
        ratio=paired_ratio(
            [getattr(one, compared) for one in samples],
            [getattr(one, compared) for one in baseline],
        ),
        disturbed=sum(one.disturbed for one in samples),
        verified=verified,
    )


def paired_ratio(values: Sequence[float | None], base: Sequence[float | None]) -> float | None:
    """Median of value / base over the repeats that have both; None if there is none.

    Paired: both of a pair are from the same repeat, so what drifts over minutes cancels out.
    """
    pairs = [
        value / under
        for value, under in zip(values, base, strict=False)
        if value is not None and under
    ]
    return median(pairs) if pairs else None


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of sorted values; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _medians(samples: Sequence[Sample]) -> Sample:
    names = [n for n in Sample.__struct_fields__ if n not in ("errors", "disturbed")]
    return Sample(
        **{name: _median(getattr(one, name) for one in samples) for name in names},
        errors=sum(one.errors for one in samples),
        disturbed=any(one.disturbed for one in samples),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
