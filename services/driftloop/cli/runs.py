"""`runs`: runs of the loop as a list from the log's state, and one in full from the console."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.text import Text
from typer.core import TyperGroup

from driftloop.cli import output
from driftloop.cli.complete import DEFAULT_CONSOLE
from driftloop.cli.models import Only, all_runs, names, state
from driftloop.cli.options import DEFAULT_URL, ConsoleUrl, Json, Token, Url
from driftloop.cli.session import visit

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.console.api.shapes import RunDetail

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as `runs` has it.")]
VERDICTS: Final = {
    "promoted": "green",
    "rejected": "yellow",
    "superseded": "yellow",
    "rolled_back": "magenta",
    "failed": "red",
}
STEPS: Final = {"done": "green", "now": "cyan", "failed": "red", "open": "dim"}


class ListFirst(TyperGroup):
    """What is no command is an argument of `list`: `runs flights` is `runs list flights`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` first where nothing else is asked for."""
        if (args or not ctx.resilient_parsing) and (
            not args or args[0] not in {*self.commands, "--help"}
        ):
            args = ["list", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(cls=ListFirst, help="List the runs of the loop, or show one in full.")


@commands.command(name="list")
def list_(model: Only = None, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the runs of the loop, newest first: trigger, verdict and reason."""

    async def work(bus: "Bus") -> list[dict[str, object]]:
        wanted = [(await bus.spec(model)).spec.name] if model else await names(bus)
        states = [await state(bus, name) for name in wanted]
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
            _verdict(str(run["verdict"] or ""), str(run["stage"])),
            run["outcome"] or run["reason"],
        )
        for run in found
    )
    output.table(columns, shown, right=("version",))


@commands.command()
def show(
    run: RunId, json: Json = False, console: ConsoleUrl = DEFAULT_CONSOLE, token: Token = ""
) -> None:
    """Show a run: why it began, its stages with their evidence, and what led to what."""
    from urllib.parse import quote

    from driftloop.cli.api import Api
    from driftloop.console.api.shapes import RunDetail

    found = Api(console, token).get(f"/api/runs/{quote(run, safe='')}", RunDetail)
    if json:
        output.as_json(found)
        return
    _head(found)
    output.say("\nStages", "bold")
    columns = ("stage", "state", "took", "evidence")
    output.table(columns, _stages(found), right=("took",))
    output.say("\nWhat led to what", "bold")
    for link in found.chain:
        line = Text(f"{output.moment(link.time)}  {'  ' * link.depth}", style="dim")
        line.append(link.kind, style="bold")
        line.append(f"  {link.text}")
        output.out.print(line, soft_wrap=True)


def _head(found: "RunDetail") -> None:
    run = found.run
    title = Text(f"{run.id} of {run.model}, version {run.version}: ", style="bold")
    title.append(_verdict(run.verdict, run.stage))
    output.out.print(title, soft_wrap=True)
    output.say(f"Began {output.moment(run.started)} for {run.trigger}: {run.reason}")
    if found.asked_by:
        output.say(f"Asked for by {found.asked_by}")
    if run.outcome:
        output.say(f"Ended {output.moment(run.finished)}: {run.outcome}")
    money = found.cost.money
    paid = f", {money:.4g} {found.cost.currency}" if money is not None else ""
    output.say(f"Cost {found.cost.cpu_seconds:,.1f} s CPU{paid}")


def _stages(found: "RunDetail") -> Iterator[tuple[object, ...]]:
    for stage in found.stages:
        took = "" if stage.seconds is None else output.age(stage.seconds)
        yield stage.name, Text(stage.state, STEPS.get(stage.state, "")), took, stage.text


def _verdict(verdict: str, stage: str) -> Text:
    if not verdict:
        return Text(f"in progress ({stage})", "cyan")
    return Text(verdict.replace("_", " "), VERDICTS.get(verdict, ""))
