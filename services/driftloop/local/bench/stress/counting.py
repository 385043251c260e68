"""How a load client counts: latencies, statuses, and whether answers are right."""

import operator
import time
from array import array
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from driftloop.local.bench.answers import TOLERANCE
from driftloop.local.bench.samples import quantile
from driftloop.local.bench.stress.job import Slice, Tally
from driftloop.local.bench.stress.line import RETRY_AFTER

SLICE_SECONDS: Final = 0.1
LOST: Final = 0
"""The status that counts requests whose connection ended without an answer."""


class _Output(msgspec.Struct, frozen=True):
    data: list[Any]


class _Answer(msgspec.Struct, frozen=True):
    model_version: str
    outputs: list[_Output]


_decode = msgspec.json.Decoder(_Answer).decode


class Checks:
    """Right answers by version and request, and which version an answer is of."""

    def __init__(self, file: str) -> None:
        self._flat: list[list[list[float]]] = []
        if file:
            known = np.load(Path(file), allow_pickle=False).astype(np.float64)
            self._flat = known.reshape(*known.shape[:2], -1).tolist()

    def version(self, what: int, body: bytes) -> int:
        """The version whose answer to request `what` this is; 0 where it is not what it says."""
        try:
            told = _decode(body)
            version, found = int(told.model_version), told.outputs[-1].data
            wanted = self._flat[version - 1][what]
            far = max(map(abs, map(operator.sub, found, wanted)))
        except (ValueError, TypeError, IndexError):
            return 0
        return version if len(found) == len(wanted) and version > 0 and far <= TOLERANCE else 0

    def __bool__(self) -> bool:
        return bool(self._flat)


class Counting:
    """One phase's counts; `accepted` are the statuses besides 200 that may be given."""

    def __init__(self, checks: Checks, kinds: list[str], accepted: frozenset[int]) -> None:
        self.unsent = 0
        self.problem = ""
        self.began = time.perf_counter()
        self._ended = self._began_cpu = self._ended_cpu = time.process_time()
        self._checks = checks
        self._kinds = kinds
        self._accepted = accepted
        self._latencies: list[tuple[float, float]] = []
        self._refused: list[tuple[float, float]] = []
        self._statuses: dict[str, Counter[int]] = defaultdict(Counter)
        self._versions: Counter[int] = Counter()
        self._wrong = self._failed = 0

    def answered(
        self, what: int, due: float, latency: float, status: int, head: bytes, body: bytes
    ) -> None:
        """A request that was due at `due` has its answer after `latency` seconds."""
        self._statuses[self._kind(what)][status] += 1
        if status == 200:
            version = self._checks.version(what, body) if self._checks else 1
            self._versions[version] += 1
            if version:
                self._latencies.append((due, latency))
            else:
                self._wrong += 1
                self.problem = f"an answer is not that of the version it names: {body[:200]!r}"
            return
        self._refused.append((due, latency))
        if status not in self._accepted or (status == 503 and RETRY_AFTER not in head):
            self._failed += 1
            self.problem = f"status {status} to {self._kind(what)}: {body[:200]!r}"

    def lost(self, what: int, why: str) -> None:
        """A request has no answer."""
        self._failed += 1
        self._statuses[self._kind(what)][LOST] += 1
        self.problem = f"no answer to {self._kind(what)}: {why}"

    def stop(self) -> None:
        """The time is over; answers that come later are counted all the same."""
        self._ended, self._ended_cpu = time.perf_counter(), time.process_time()

    def tally(self, *, slices: bool = False) -> Tally:
        """The sums."""
        seconds = self._ended - self.began
        ordered = sorted(latency for _, latency in self._latencies)
        refused = sorted(latency for _, latency in self._refused)
        return Tally(
            seconds=seconds,
            answered=len(ordered),
            wrong=self._wrong,
            failed=self._failed,
            unsent=self.unsent,
            statuses={kind: dict(counts) for kind, counts in self._statuses.items()},
            versions={version: n for version, n in self._versions.items() if version},
            p50_ms=1e3 * quantile(ordered, 0.5),
            p99_ms=1e3 * quantile(ordered, 0.99),
            refused_p99_ms=1e3 * quantile(refused, 0.99),
            client_cores=(self._ended_cpu - self._began_cpu) / seconds,
            slices=self._slices(seconds) if slices else [],
            problem=self.problem,
        )

    def _kind(self, what: int) -> str:
        return self._kinds[what] if self._kinds else "request"

    def _slices(self, seconds: float) -> list[Slice]:
        parts = [array("d") for _ in range(max(1, round(seconds / SLICE_SECONDS)))]
        refused = Counter(self._slice(due, len(parts)) for due, _ in self._refused)
        for due, latency in self._latencies:
            parts[self._slice(due, len(parts))].append(latency)
        return [
            Slice(
                p99_ms=1e3 * quantile(sorted(part), 0.99), answered=len(part), refused=refused[at]
            )
            for at, part in enumerate(parts)
        ]

    def _slice(self, due: float, count: int) -> int:
        return min(count - 1, max(0, int((due - self.began) / SLICE_SECONDS)))
