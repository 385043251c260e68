"""`models`, `status` and `runs`: how things stand now."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.text import Text

from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import visit
from driftloop.contracts.state import ModelState, Run

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

SILENT_SECONDS: Final = 15.0
"""A service that has said nothing for so long is taken for dead."""

Only = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only this model.")]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A service by its last words; `age` is how many seconds ago they were."""

    service: str
    ready: bool
    reason: str
    rss_bytes: int = 0
    cpu_seconds: float = 0.0
    url: str = ""
    age: float = 0.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a few words."""

    model: str
    champion: int
    versions: dict[str, int]
    run: Run | None
    shadows: list[str]
    runs: int


def models(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the models: champion, versions, run in progress, shadows."""
    found = visit(url, summaries)
    if json:
        output.as_json(found)
    else:
        show(found)


def status(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show whether every service is ready, and the models; exit code 1 when one is not."""

    async def work(bus: "Bus") -> tuple[list[Health], list[Summary]]:
        return await healths(bus), await summaries(bus)

    services, found = visit(url, work)
    bad = [one for one in services if not one.ready]
    if json:
        output.as_json({"ready": not bad, "services": services, "models": found})
    else:
        _show_services(services)
        output.say("")
        show(found)
    if bad:
        raise Stop(Exit.NO, f"not ready: {', '.join(one.service for one in bad)}")


def runs(model: Only = None, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the runs of the loop, newest first: trigger, verdict and reason."""

    async def work(bus: "Bus") -> list[dict[str, object]]:
        names = [(await bus.spec(model)).spec.name] if model else await _names(bus)
        states = [await state(bus, name) for name in names]
        return [
            {"model": s.model, **msgspec.to_builtins(run)} for s in states for run in all_runs(s)
        ]

    found = visit(url, work)
    if json:
        output.as_json(found)
        return
    columns = ("model", "run", "trigger", "version", "verdict", "reason")
    shown = (
        (
            run["model"],
            run["id"],
            run["trigger"],
            run["version"],
            run["verdict"] or f"in progress ({run['stage']})",
            run["outcome"] or run["reason"],
        )
        for run in found
    )
    output.table(columns, shown, right=("version",))


def all_runs(model: ModelState) -> list[Run]:
    """The run in progress and the finished ones, newest first."""
    past = sorted(model.history, key=lambda run: run.started, reverse=True)
    return ([model.run] if model.run else []) + past


async def _names(bus: "Bus") -> list[str]:
    registered, kept = await asyncio.gather(bus.specs.keys(), bus.models.keys())
    return sorted({*registered, *kept})


async def state(bus: "Bus", name: str) -> ModelState:
    """The state of a model; an empty one before the registry has written the first."""
    return await bus.models.get(name) or ModelState(model=name)


async def summaries(bus: "Bus") -> list[Summary]:
    """Every model that is registered or known."""
    return [summary(await state(bus, name)) for name in await _names(bus)]


def summary(model: ModelState) -> Summary:
    """A model's state in a few words."""
    stages: dict[str, int] = {}
    for version in model.versions.values():
        stages[version.stage] = stages.get(version.stage, 0) + 1
    return Summary(
        model=model.model,
        champion=model.champion,
        versions=dict(sorted(stages.items())),
        run=model.run,
        shadows=[f"{shadow.version} ({shadow.role})" for shadow in model.shadows],
        runs=model.runs_started,
    )


async def healths(bus: "Bus") -> list[Health]:
    """Every service by its last measurement."""
    from driftloop.runtime.settings import SERVICES

    return list(await asyncio.gather(*(health(bus, service) for service in SERVICES)))


async def health(bus: "Bus", service: str) -> Health:
    """A service by its last measurement."""
    from driftloop.contracts import codec
    from driftloop.contracts.stats import ServiceStats

    last = await bus.log.last("STATS", f"stats.service.{service}")
    stat = codec.decode_stat(last.payload) if last is not None else None
    if last is None or not isinstance(stat, ServiceStats):
        return Health(service=service, ready=False, reason="not heard of in the last day")
    age = output.since(last.headers.get("ce-time", ""))
    silent = f"silent for {output.age(age)}" if age > SILENT_SECONDS else ""
    return Health(
        service=service,
        ready=stat.ready and not silent,
        reason=silent or stat.reason,
        rss_bytes=stat.rss_bytes,
        cpu_seconds=stat.cpu_seconds,
        url=stat.url,
        age=age,
    )


def _show_services(services: list[Health]) -> None:
    columns = ("service", "ready", "memory MB", "CPU s", "heard", "address", "reason")
    rows = (
        (
            one.service,
            Text("yes", "green") if one.ready else Text("no", "red"),
            f"{one.rss_bytes / 1e6:.0f}" if one.rss_bytes else "",
            f"{one.cpu_seconds:.1f}" if one.rss_bytes else "",
            f"{output.age(one.age)} ago" if one.rss_bytes else "",
            one.url,
            one.reason,
        )
        for one in services
    )
    output.table(columns, rows, right=("memory MB", "CPU s", "heard"))


def show(found: list[Summary]) -> None:
    """The models as a table."""
    if not found:
        output.say("No model is registered yet; `driftloop spec apply FILE` registers one.")
        return
    rows = (
        (
            one.model,
            one.champion or "none yet",
            ", ".join(f"{count} {stage}" for stage, count in one.versions.items()) or "none yet",
            f"{one.run.trigger}: {one.run.stage} version {one.run.version}" if one.run else "",
            ", ".join(one.shadows),
            one.runs,
        )
        for one in found
    )
    columns = ("model", "champion", "versions", "run in progress", "shadows", "runs")
    output.table(columns, rows, right=("champion", "runs"))
