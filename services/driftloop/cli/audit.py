"""`audit`: whether every row and label is accounted for."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from driftloop.cli import output
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, Url
from driftloop.cli.session import visit
from driftloop.contracts.errors import InvalidInput

if TYPE_CHECKING:
    from driftloop.bus.audit.flight import InFlight
    from driftloop.bus.audit.report import Report
    from driftloop.bus.audit.sums import Sum
    from driftloop.bus.bus import Bus

MANY: Final = 20
"""Models beyond which only sums that do not close are shown."""

Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="Only this model; may be given again."),
]
Since = Annotated[
    str, typer.Option(metavar="DURATION", help="Only what was stored in the last 30m, 24h, 7d ...")
]
Settle = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="Wait so long for what is still on its way."),
]

Chain = Annotated[
    bool, typer.Option("--chain", help="Verify the record of control events instead.")
]


def audit(
    model: Models = None,
    since: Since = "",
    settle: Settle = 0.0,
    chain: Chain = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Add up what the log and ClickHouse have of every row and label; exit code 1 if it differs."""
    if chain:
        from driftloop.cli import chain as chains

        chains.run(url, model or [], json)
    else:
        _sums(url, model or [], since, settle, json)


def _sums(url: str, model: list[str], since: str, settle: float, json: bool) -> None:
    """Add up, show, and end with exit code 1 if a sum does not close."""
    earliest = since_time(since)

    async def work(bus: "Bus") -> "Report":
        from driftloop.bus.audit.report import audit as made_of
        from driftloop.bus.audit.report import settled

        models = [(await bus.spec(name)).spec.name for name in model or await bus.specs.keys()]
        models = sorted(set(models))
        with output.err.status("Reading the log") as status:

            def waits(found: "list[InFlight]") -> None:
                what = ", ".join(_flying(one) for one in found[:3])
                status.update(f"Waiting for {what}" if found else "Reading the log")

            if settle:
                await settled(bus, models, settle, waits)
            read = 0

            def progress(ids: int) -> None:
                nonlocal read
                read += ids
                status.update(f"Reading the log: {read:,} ids")

            return await made_of(bus, models, earliest, progress)

    found = visit(url, work)
    if json:
        output.as_json(as_document(found))
    else:
        show(found)
    if not found.closes:
        raise Stop(Exit.NO)


def since_time(text: str) -> float:
    """Seconds since 1970, so long ago; 0 for an empty text."""
    from driftloop.modelspec import durations

    if not text:
        return 0.0
    try:
        return time.time() - durations.seconds(text)
    except ValueError as error:
        accepted = durations.ACCEPTED
        raise InvalidInput(f"--since: {text!r} is not a duration; accepted: {accepted}") from error


def as_document(found: "Report") -> dict[str, object]:
    """The report as one JSON document."""
    return {
        "closes": found.closes,
        "since": found.since,
        "sums": [
            {
                "model": one.model,
                "sum": one.name,
                "left": one.left,
                "right": one.right,
                "parts": one.parts,
                "missing": one.missing,
                "extra": one.extra,
                "closes": one.closes,
                "note": one.note,
            }
            for one in found.sums
        ],
        "dropped": found.dropped,
        "in_flight": found.in_flight,
        "unreadable_messages": found.unreadable,
        "ids": found.ids,
        "seconds": round(found.seconds, 3),
    }


def show(found: "Report") -> None:
    """The report for a person; of many models only what does not close."""
    columns = ("model", "sum", "left", "right", "", "difference", "verdict")
    rows = [
        (
            one.model,
            one.name,
            f"{one.left:,}",
            f"{one.right:,}",
            " + ".join(f"{n:,} {what}" for what, n in one.parts.items()),
            difference(one),
            _verdict(one, bool(found.in_flight)),
        )
        for one in told_of(found.sums)
    ]
    output.table(columns, rows, right=("left", "right", "difference"))
    output.say("")
    for one in found.sums:
        if one.note and one.closes and one.name != "predictions":
            output.say(f"{one.model}, {one.name}: {one.note}.")
    for gone in found.dropped:
        output.say(f"{gone.model}: {gone.rows:,} {gone.what} ({gone.labels}), dropped by a bound.")
    if found.unreadable:
        output.say(f"{found.unreadable:,} messages hold no rows; see `driftloop dead list`.")
    if found.in_flight:
        output.say(f"On its way: {', '.join(map(_flying, found.in_flight))}.", "yellow")
        output.note("Ask again when it has arrived, or wait for it with --settle SECONDS.")
    since = f"since {output.moment(found.since)} UTC" if found.since else "all there ever was"
    rate = found.ids / found.seconds if found.seconds else 0.0
    models = len({one.model for one in found.sums})
    sums = f"{len(found.sums):,} sums of {models:,} model{'' if models == 1 else 's'}"
    empty = sum(one.closes and not one.left for one in found.sums)
    sums += f" ({empty:,} of nothing)" if empty else ""
    sign, style = ("closes", "green") if found.closes else ("does not close", "red")
    output.say(
        f"The accounting {sign}: {sums}, {since}, {found.ids:,} ids read"
        f" in {found.seconds:.1f} s ({rate:,.0f} a second).",
        style,
    )


def told_of(sums: "list[Sum]") -> "list[Sum]":
    """What a person wants to see: nothing of nothing, and of many models only what is wrong."""
    if len({one.model for one in sums}) > MANY:
        return [one for one in sums if not one.closes]
    return [one for one in sums if one.left or not one.closes]


def difference(one: "Sum") -> str:
    """What one side has and the other has not."""
    if one.closes:
        return "0"
    parts = [f"{n:,} {what}" for what, n in (("missing", one.missing), ("extra", one.extra)) if n]
    return ", ".join(parts) or f"{one.left - one.right:+,}"


def _verdict(one: "Sum", flying: bool) -> Text:
    if one.closes:
        return Text("closes", "green")
    return Text("in flight?", "yellow") if flying else Text("does not close", "red")


def _flying(one: "InFlight") -> str:
    return f"{one.messages:,} messages of {one.stream} for {one.who}"
