"""All stages in one run: every repeat visits every server of a stage in turn."""

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from driftloop.bus.bus import Bus
from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import ours
from driftloop.local.bench.models import Fitted, fitted
from driftloop.local.bench.samples import paired_ratio
from driftloop.local.bench.stages import feeds
from driftloop.local.bench.stages.drain import Drain, Drained
from driftloop.local.bench.stages.stage import MODEL, Size, Stage, stages
from driftloop.local.bench.targets import peer
from driftloop.modelspec.spec import Registered

ENGINE_SECONDS: Final = 1.0
Tell = Callable[[str], None]


class StageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the bench is told."""

    stages: str = "all"
    batches: int = 1_000
    rows: int = 1_024
    """Of a batch."""
    repeats: int = 5
    only: tuple[str, ...] = ()
    folder: Path = Path(".driftloop/bench")


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """A server's medians at a stage; the ratio is that of rows a second to the baseline, paired."""

    server: str
    rows_per_s: float
    rows_per_core_s: float
    nats_us_per_row: float
    rss_mb: float
    ratio: float | None
    samples: list[Drained]


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    name: str
    title: str
    baseline: str
    lines: list[StageLine]
    engine_rows_per_s: float | None = None
    """Rows a second of onnxruntime alone, where it is what the stage leans on."""


def run_stages(options: StageOptions, tell: Tell) -> list[StageResult]:
    """Run them; raises `InvalidInput`, or `RuntimeError` where a server is not done in time."""
    chosen = narrowed(choose(options.stages, Size(options.batches, options.rows)), options.only)
    models = {one.model for one in chosen if one.model}
    fit = {name: fitted(name, options.folder) for name in models}
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        return asyncio.run(_run(options, chosen, fit, Path(folder), tell))


def choose(names: str, size: Size) -> list[Stage]:
    """The stages of these names, with commas; raises `InvalidInput`."""
    known = {stage.name: stage for stage in stages(size)}
    if names == "all":
        return list(known.values())
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise InvalidInput(f"stage: {name!r}; accepted: all, {', '.join(known)}")
    return [known[name] for name in wanted]


def narrowed(chosen: Sequence[Stage], only: tuple[str, ...]) -> list[Stage]:
    """The stages with no other servers than those whose names begin so; raises `InvalidInput`."""
    if not only:
        return list(chosen)
    names = [server.name for stage in chosen for server in stage.servers]
    for one in only:
        if not any(name.startswith(one) for name in names):
            accepted = "; ".join(dict.fromkeys(names))
            raise InvalidInput(f"only: {one!r}; accepted: the beginning of {accepted}")
    left = [(s, tuple(one for one in s.servers if one.name.startswith(only))) for s in chosen]
    return [stage._replace(servers=servers) for stage, servers in left if servers]


async def _run(
    options: StageOptions,
    chosen: Sequence[Stage],
    models: dict[str, Fitted],
    place: Path,
    tell: Tell,
) -> list[StageResult]:
    results = []
    for stage in chosen:
        model = models.get(stage.model)
        drain = Drain(partial(_register, model), place / stage.name)
        results.append(await _stage(options, stage, drain, model, tell))
    return results


async def _register(model: Fitted | None, bus: Bus) -> None:
    if model is not None:
        await ours.register(bus, MODEL, [model.path.read_bytes()])
    else:
        registered = Registered(spec=feeds.flights_spec(MODEL), revision=1, by="bench", at=0.0)
        await bus.specs.write(MODEL, registered, 0)


async def _stage(
    options: StageOptions, stage: Stage, drain: Drain, model: Fitted | None, tell: Tell
) -> StageResult:
    size = Size(options.batches, options.rows)
    samples: dict[str, list[Drained]] = {server.name: [] for server in stage.servers}
    alone = []
    for repeat in range(options.repeats):
        for server in stage.servers:
            tell(f"{stage.name}: repeat {repeat + 1} of {options.repeats}, {server.name}")
            path = model.path if model is not None else Path()
            samples[server.name].append(await drain.visit(server, size, path))
        if model is not None and stage.name.startswith("scoring"):
            alone.append(await asyncio.to_thread(_engine, model.path, options.rows))
    base = [one.rate for one in samples.get(stage.baseline, [])]
    lines = [_line(name, found, base) for name, found in samples.items()]
    return StageResult(
        name=stage.name,
        title=stage.title,
        baseline=stage.baseline,
        lines=lines,
        engine_rows_per_s=median(alone) if alone else None,
    )


def _engine(model: Path, rows: int) -> float:
    command = peer("engine", model, rows, ENGINE_SECONDS)
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def _line(name: str, found: list[Drained], base: Sequence[float]) -> StageLine:
    return StageLine(
        server=name,
        rows_per_s=median(one.rate for one in found),
        rows_per_core_s=median(one.rate_core for one in found),
        nats_us_per_row=median(1e6 * one.nats_cpu_seconds / one.rows for one in found),
        rss_mb=median(one.rss_mb for one in found),
        ratio=paired_ratio([one.rate for one in found], base),
        samples=found,
    )
