"""What the request path counts: exactly, but summed up outside of the requests' way."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from driftloop.inference.core.call import Call
from driftloop.runtime import metrics

BUCKETS: Final = (
    0.00005,
    0.0001,
    0.00025,
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
)
"""Upper bounds in seconds."""
DIGEST: Final = 4_096
"""Times kept one by one before they are summed up."""
STAGES: Final = ("decode", "queue", "run", "encode", "total")

REQUESTS: Final = metrics.counter("predict_requests", "Requests for an answer", ["outcome"])
ROWS: Final = metrics.counter("predict_rows", "Rows answered on request", ["model"])
RUNS: Final = metrics.counter("predict_runs", "Runs of a model for requests; each is a micro-batch")
SECONDS: Final = metrics.collected_histogram(
    "predict_seconds",
    "Time of a request by stage; run and encode are those of a whole micro-batch",
    ["stage"],
)
BUSY: Final = metrics.collected_counter(
    "model_run_seconds", "Time a model itself ran, on request and for the stream", ["model"]
)


class Stage:
    """A histogram of seconds: a list that is summed up in one array operation when it is long."""

    def __init__(self) -> None:
        self._fresh: list[float] = []
        self._counts: NDArray[np.int64] = np.zeros(len(BUCKETS) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, seconds: list[float]) -> None:
        """Take in times."""
        self._fresh += seconds
        if len(self._fresh) >= DIGEST:
            self._digest()

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, and the sum, as Prometheus wants them."""
        self._digest()
        bounds = [*(f"{b:g}" for b in BUCKETS), "+Inf"]
        return list(zip(bounds, self._counts.cumsum().tolist(), strict=True)), self._sum

    def _digest(self) -> None:
        fresh, self._fresh = np.array(self._fresh), []
        if len(fresh):
            at = np.searchsorted(BUCKETS, fresh)
            self._counts += np.bincount(at, minlength=len(self._counts))
            self._sum += float(fresh.sum())


class Meters(Collector):
    """Latency histograms by stage, and counters of requests, rows and runs."""

    def __init__(self) -> None:
        self._stages = {stage: Stage() for stage in STAGES}
        self._busy: dict[str, float] = {}
        self._answered = REQUESTS.labels("answered")

    def ran(self, calls: Sequence[Call], began: float, ran: float, now: float) -> None:
        """A run from `began` to `ran` has answered `calls` by `now`."""
        rows = sum([call.rows for call in calls])
        if sum([call.requests for call in calls]) > len(calls):
            calls = [call for call in calls for _ in range(call.requests)]
        stages = self._stages
        stages["decode"].add([call.queued - call.began for call in calls])
        stages["queue"].add([began - call.queued for call in calls])
        stages["total"].add([now - call.began for call in calls])
        stages["run"].add([ran - began])
        stages["encode"].add([now - ran])
        self._answered.inc(len(calls))
        model = calls[0].plan.spec.name
        self.busy(model, ran - began)
        ROWS.labels(model).inc(rows)
        RUNS.inc()

    def busy(self, model: str, seconds: float) -> None:
        """The champion of a model ran for so long."""
        self._busy[model] = self._busy.get(model, 0.0) + seconds

    def refused(self, kind: type[Exception]) -> None:
        """A request got an error of this kind."""
        _refused(kind.__name__).inc()

    def collect(self) -> Iterator[Metric]:
        """The histograms and times, for `/metrics`."""
        family = SECONDS()
        for stage, its in self._stages.items():
            buckets, total = its.told()
            family.add_metric([stage], buckets, total)
        yield family
        ran = BUSY()
        for model, seconds in list(self._busy.items()):
            ran.add_metric([model], seconds)
        yield ran


@cache
def _refused(outcome: str) -> Counter:
    return REQUESTS.labels(outcome)


METERS: Final = Meters()
"""Those of this process."""
REGISTRY.register(METERS)
