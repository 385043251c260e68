"""`models` and `status`: how things stand now, read from the bus: no console has to run."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.text import Text

from driftloop.cli import complete, output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import visit
from driftloop.contracts.state import ModelState, Paused, Run, Silence

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

SILENT_SECONDS: Final = 15.0
"""A service that has said nothing for so long is taken for dead."""
LATELY_SECONDS: Final = 86_400.0
"""How long a roll-back is something to look at, as on the console."""

Only = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="Only this model.", autocompletion=complete.models),
]
WITHOUT: Final = {
    "ingest": "rows and labels are not taken; clients of Driftloop try again",
    "validation": "rows wait to be checked, and no candidate or challenger is judged",
    "inference": "no predictions are answered, and rows of the stream wait for theirs",
    "feedback": "labels wait to be joined, so losses and evidence stand still",
    "drift": "no alarm is raised; what was missed is looked at afterwards",
    "trainer": "no candidate is trained; runs wait, up to their deadline",
    "registry": "nothing is promoted, retrained or ordered; champions go on answering",
    "telemetry": "no SQL, and the console shows no history; the log keeps it all",
    "console": "no pages, notifications or operator API; the loop goes on",
}
"""What it means that a service is away."""


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
    paused: Paused | None = None
    waiting: int = 0
    """The version that waits for approval; 0: none."""
    silences: tuple[Silence, ...] = ()
    """Those that are not over."""
    rolled_back: int = 0
    """The version that was rolled back by the newest run, within a day; 0: none."""

    @property
    def problem(self) -> str:
        """What a person has to see to, as far as the registry knows; empty if nothing."""
        if self.waiting:
            return f"version {self.waiting} waits for approval"
        if self.paused is not None:
            return f"paused by {self.paused.by}: {self.paused.reason}"
        if self.rolled_back:
            return f"version {self.rolled_back} was rolled back"
        return "" if self.champion else "no version answers yet"


def models(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the models: champion, versions, run in progress, shadows."""
    found = visit(url, summaries)
    if json:
        output.as_json(found)
    else:
        show(found)


def status(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show whether every service is ready, the models, and what that means; 1 if one is not.

    Read from NATS alone, so that it works while the console is away. Green is well, yellow waits
    for a person, red does not work, cyan is at work.
    """

    async def work(bus: "Bus") -> tuple[list[Health], list[Summary]]:
        return await healths(bus), await summaries(bus)

    services, found = visit(url, work)
    bad = [one for one in services if not one.ready]
    if json:
        output.as_json({"ready": not bad, "services": services, "models": found})
    else:
        _show_services(services)
        for one in bad:
            output.say(f"Without {one.service}: {WITHOUT[one.service]}.", "yellow")
        output.say("")
        show(found)
        output.say("")
        _conclude(services, found)
    if bad:
        raise Stop(Exit.NO, f"not ready: {', '.join(one.service for one in bad)}")


def all_runs(model: ModelState) -> list[Run]:
    """The run in progress and the finished ones, newest first."""
    past = sorted(model.history, key=lambda run: run.started, reverse=True)
    return ([model.run] if model.run else []) + past


async def names(bus: "Bus") -> list[str]:
    """Every model that is registered or known, sorted."""
    registered, kept = await asyncio.gather(bus.specs.keys(), bus.models.keys())
    return sorted({*registered, *kept})


async def state(bus: "Bus", name: str) -> ModelState:
    """The state of a model; an empty one before the registry has written the first."""
    return await bus.models.get(name) or ModelState(model=name)


async def summaries(bus: "Bus") -> list[Summary]:
    """Every model that is registered or known."""
    return [summary(await state(bus, name)) for name in await names(bus)]


def summary(model: ModelState) -> Summary:
    """A model's state in a few words."""
    stages: dict[str, int] = {}
    for version in model.versions.values():
        stages[version.stage] = stages.get(version.stage, 0) + 1
    now = time.time()
    back = [run for run in all_runs(model)[:1] if run.verdict == "rolled_back"]
    return Summary(
        model=model.model,
        champion=model.champion,
        versions=dict(sorted(stages.items())),
        run=model.run,
        shadows=[f"{shadow.version} ({shadow.role})" for shadow in model.shadows],
        runs=model.runs_started,
        paused=model.paused,
        waiting=model.waiting.version if model.waiting is not None else 0,
        silences=tuple(its for its in model.silences if now < its.until),
        rolled_back=next((run.version for run in back if now - run.finished < LATELY_SECONDS), 0),
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
            Text(str(one.champion), "green") if one.champion else Text("none yet", "yellow"),
            ", ".join(f"{count} {stage}" for stage, count in one.versions.items()) or "none yet",
            Text(_run(one.run), "cyan"),
            ", ".join(one.shadows),
            one.runs,
            _state(one),
        )
        for one in found
    )
    columns = ("model", "champion", "versions", "run in progress", "shadows", "runs", "state")
    output.table(columns, rows, right=("champion", "runs"))


def _run(run: Run | None) -> str:
    return f"{run.trigger}: {run.stage} version {run.version}" if run is not None else ""


def _state(one: Summary) -> Text:
    text = Text(one.problem, "yellow") if one.problem else Text("well", "green")
    if one.silences:
        text.append(f"; {len(one.silences)} silenced", "dim")
    return text


def looks(wait: int, models: int) -> str:
    """How many of the models need a look."""
    if not wait:
        return "no model needs a look"
    need = "needs" if wait == 1 else "need"
    return f"{wait:,} of {models:,} model{'' if models == 1 else 's'} {need} a look"


def _conclude(services: list[Health], found: list[Summary]) -> None:
    """One line that says it all, and where to look on."""
    bad, wait = sum(not one.ready for one in services), sum(bool(one.problem) for one in found)
    told = Text(f"{bad} of {len(services)} services not ready", "bold red")
    if not bad:
        told = Text(f"All {len(services)} services are ready", "green")
    if found:
        told.append("; ", "")
        told.append(looks(wait, len(found)), "yellow" if wait else "green")
    output.out.print(told, soft_wrap=True)
    more = "Alarms, losses and rates: `driftloop top`. Why a champion is live: `driftloop why`."
    output.say(more, "dim")
