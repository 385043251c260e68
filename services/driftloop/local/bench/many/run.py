"""Runs the bench of many models: one deployment for each number of models."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench.many.asking import Asked, ask
from driftloop.local.bench.many.fair import OTHERS, Kind, Trickle, trickle
from driftloop.local.bench.many.flow import Flow, flow
from driftloop.local.bench.many.models import Known, known
from driftloop.local.bench.many.services import Fleet, Idle, fleet
from driftloop.runtime.settings import PREFIX, SERVICES

PARTS: Final = ("idle", "cold", "rows", "http", "fair")
COLD: Final = 50
"""Models asked for the first time."""
WARM_SECONDS: Final = 3.0
"""Before the first pair: each of the others has been asked some times."""
SETTLE_SECONDS: Final = 3.0
"""Between the last start or a flood, and what is measured next."""

Tell = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench is told; times in seconds."""

    models: tuple[int, ...] = (1, 100, 1000)
    services: tuple[str, ...] = SERVICES
    parts: tuple[str, ...] = PARTS
    rows: int = 1_000
    """Rows of each model through the stream."""
    batch: int = 100
    """Rows of one batch."""
    requests: int = 2_000
    """Requests over HTTP to random models."""
    seconds: float = 5.0
    """Of one measurement of idle processes, and of a trickle."""
    repeats: int = 3
    """Pairs of a trickle without and with a flood."""
    sessions_mb: int = 512
    """The setting of inference."""


class Cold(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies (ms) of the first request to a model, and of the second."""

    first_p50_ms: float
    first_max_ms: float
    again_p50_ms: float
    failed: int
    problem: str = ""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Requests one after the other to random models, and what inference takes after them."""

    requests: int
    failed: int
    wrong: int
    p50_ms: float
    p99_ms: float
    inference_mb: float
    problem: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All of one number of models; None is what was not asked for."""

    models: int
    fill_s: float
    idle: list[Idle] = []
    consumers: int = 0
    streams: int = 0
    logged: dict[str, int] = {}
    cold: Cold | None = None
    flow: Flow | None = None
    http: Asking | None = None
    fair: list[Trickle] = []

    @property
    def problems(self) -> list[str]:
        """What may not be."""
        said = []
        if self.flow is not None and (self.flow.lost or self.flow.wrong or self.flow.unanswered):
            its = self.flow
            said.append(
                f"{self.models} models: rows: {its.lost} lost, {its.wrong} wrong, "
                f"{its.unanswered} unanswered; {its.problem}"
            )
        for one in (self.cold, self.http, *self.fair):
            if one is not None and (one.failed or getattr(one, "wrong", 0)):
                said.append(f"{self.models} models: {one.failed} failed; {one.problem}")
        return said


def run_many(options: Options, tell: Tell) -> list[Result]:
    """Measure each number of models in turn; `tell` hears a line before each step.

    Raises `InvalidInput`, or `RuntimeError` where a service did not start.
    """
    for what, names, accepted in (
        ("service", options.services, SERVICES),
        ("part", options.parts, PARTS),
    ):
        for name in names:
            if name not in accepted:
                raise InvalidInput(f"{what}: {name!r}; accepted: {', '.join(accepted)}")
    made = []
    for count in options.models:
        with tempfile.TemporaryDirectory(prefix="driftloop-many-") as folder:
            made.append(asyncio.run(_Run(options, count, Path(folder), tell).result()))
    return made


class _Run:
    """One number of models."""

    def __init__(self, options: Options, count: int, folder: Path, tell: Tell) -> None:
        self._options = options
        self._count = count
        self._folder = folder
        self._told = tell
        self._wanted = set(options.parts)

    async def result(self) -> Result:
        """Fill, start, measure, end."""
        models, began = known(self._count), time.monotonic()
        self._tell("registering them")
        async with fleet(models, self._folder) as its:
            made = Result(models=self._count, fill_s=time.monotonic() - began)
            for name in self._options.services:
                self._tell(f"starting {name}")
                await its.start(name, self._settings())
            return await self._measured(its, models, made)

    def _tell(self, text: str) -> None:
        self._told(f"{self._count} models: {text}")

    def _settings(self) -> Mapping[str, str]:
        return {f"{PREFIX}INFERENCE_SESSIONS_MB": str(self._options.sessions_mb)}

    async def _measured(self, its: Fleet, models: list[Known], made: Result) -> Result:
        if "idle" in self._wanted:
            self._tell("nothing is sent")
            await asyncio.sleep(SETTLE_SECONDS)
            idle = await its.idle(self._options.seconds)
            info = await its.bus.connection.js.account_info()
            made = msgspec.structs.replace(
                made, idle=idle, consumers=info.consumers, streams=info.streams
            )
        if "cold" in self._wanted:
            self._tell("first requests")
            made = msgspec.structs.replace(made, cold=await _cold(its, models))
        if "rows" in self._wanted:
            self._tell(f"{self._options.rows} rows of each through the stream")
            through = await flow(
                its.bus, models, self._options.rows, self._options.batch, f"run-{self._count}"
            )
            made = msgspec.structs.replace(made, flow=through)
        if "http" in self._wanted:
            self._tell("requests to random models")
            asked = await _http(its, models, self._options.requests)
            made = msgspec.structs.replace(made, http=asked)
        if "fair" in self._wanted and self._count > OTHERS:
            made = msgspec.structs.replace(made, fair=await self._fair(its, models))
        return msgspec.structs.replace(made, logged=its.logged())

    async def _fair(self, its: Fleet, models: list[Known]) -> list[Trickle]:
        """Pairs: alone, then beside the flood."""
        kinds: tuple[Kind, ...] = ("http", "rows")
        made = []
        for kind in kinds:
            self._tell(f"{kind} trickle, to warm up")
            await trickle(its, kind, models, WARM_SECONDS, flooded=False)
            for repeat in range(self._options.repeats):
                for flooded in (False, True):
                    beside = "beside a flood" if flooded else "alone"
                    self._tell(f"{kind} trickle {beside}, pair {repeat + 1}")
                    await asyncio.sleep(SETTLE_SECONDS)
                    made.append(
                        await trickle(its, kind, models, self._options.seconds, flooded=flooded)
                    )
        return made


async def _cold(its: Fleet, models: list[Known]) -> Cold:
    """The first and the second request to some models, the last of which started first."""
    some = models[-COLD:]
    first, again = [
        await asyncio.to_thread(ask, its.addresses["inference"], some, seed) for seed in (0, 1)
    ]
    return Cold(
        first_p50_ms=_percentile(first, 50),
        first_max_ms=_percentile(first, 100),
        again_p50_ms=_percentile(again, 50),
        failed=first.failed + first.wrong + again.failed + again.wrong,
        problem=first.problem or again.problem,
    )


async def _http(its: Fleet, models: list[Known], requests: int) -> Asking:
    random = np.random.default_rng(0)
    turn = [models[at] for at in random.integers(0, len(models), requests)]
    asked = await asyncio.to_thread(ask, its.addresses["inference"], turn)
    return Asking(
        requests=requests,
        failed=asked.failed,
        wrong=asked.wrong,
        p50_ms=_percentile(asked, 50),
        p99_ms=_percentile(asked, 99),
        inference_mb=its.resident("inference"),
        problem=asked.problem,
    )


def _percentile(asked: Asked, which: float) -> float:
    return float(np.percentile(asked.ms or [0.0], which))
