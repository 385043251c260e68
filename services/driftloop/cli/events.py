"""`events` and `why`: what happened, and what led to the present champion."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from driftloop.cli import history, output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Url
from driftloop.cli.session import visit
from driftloop.contracts import codec
from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.facts import Fact
from driftloop.contracts.why import Why, explain, lines

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

Only = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only this model.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with events as they come.")]
Since = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Only the last 90s, 30m, 12h, 7d ...")
]
Kinds = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help="Only this kind; may be given again.")
]
Limit = Annotated[int, typer.Option(min=0, help="At most so many past events, the newest.")]

STYLES = {
    "drift.detected": "yellow",
    "performance.degraded": "yellow",
    "training.failed": "red",
    "candidate.rejected": "red",
    "model.promoted": "bold green",
    "model.rolled_back": "bold magenta",
}


def events(
    model: Only = None,
    follow: Follow = False,
    since: Since = None,
    kind: Kinds = None,
    limit: Limit = 50,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the control events, oldest first; with --json one object a line."""
    wanted = _filter(since, kind or [])
    tell = _json_line if json else _line

    async def work(bus: "Bus") -> None:
        start = await bus.log.last_seq(history.STREAM) + 1
        for told in await history.past(bus, model, wanted, limit):
            tell(told)
        if follow:
            async for told in history.coming(bus, model, start, wanted):
                tell(told)

    visit(url, work)


def why(model: ModelName, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Explain why the champion is live: each event from the trigger on, with its numbers."""

    async def work(bus: "Bus") -> Why:
        await bus.spec(model)
        return explain(model, await history.past(bus, model))

    found = visit(url, work)
    if json:
        output.as_json(found)
    else:
        for text in lines(found):
            output.say(text)
    if not found.champion:
        raise Stop(Exit.NO)


def _filter(since: str | None, kinds: list[str]) -> Callable[[Fact], bool]:
    known = codec.kinds(codec.EVENT_TYPES)
    for kind in kinds:
        if kind not in known:
            raise InvalidInput(
                f"--kind: {kind!r} is not a kind of event; accepted: {', '.join(known)}"
            )
    earliest = _earliest(since).isoformat() if since else ""
    return lambda told: told.time >= earliest and (not kinds or told.kind in kinds)


def _earliest(since: str) -> datetime:
    from driftloop.modelspec import durations

    try:
        return datetime.now(UTC) - timedelta(seconds=durations.seconds(since))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"--since: {since!r} is not a duration; accepted: {durations.ACCEPTED}"
        ) from error


def _line(told: Fact) -> None:
    text = Text(f"{output.moment(told.time)}  {told.model}  ", style="dim")
    text.append(told.kind, style=STYLES.get(told.kind, "bold"))
    text.append(f"  {told.text}")
    output.out.print(text, soft_wrap=True)


def _json_line(told: Fact) -> None:
    output.as_json(told, indent=0)
