"""`quarantine`: rows that validation put there, watched while a file is sent, and sent again."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from driftloop.cli import output, session
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Url
from driftloop.cli.session import visit
from driftloop.contracts import headers, subjects

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.cli.requeue import Requeued

commands = typer.Typer(no_args_is_help=True, help="Rows that broke the contract of their spec.")

Because = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Only rows whose reason contains this.")
]
Since = Annotated[
    str, typer.Option(metavar="DURATION", help="Only rows put there in the last 30m, 24h, 7d ...")
]
PATIENCE_SECONDS: Final = 60.0
SHOWN_REASONS: Final = 10

CHECK_SECONDS: Final = 3.0
"""How long validation may stand still before we stop waiting for it."""
MOST_REASONS: Final = 1_000


class Quarantined(msgspec.Struct, kw_only=True):
    """Rows in quarantine by reason, and whether validation saw all that was sent in time."""

    rows: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    all_checked: bool = True

    def add(self, reason: str) -> None:
        """Count one row, by its field and what is wrong with it."""
        self.rows += 1
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons[reason] += 1


async def checked(bus: "Bus", model: str, lane: subjects.Lane, start: int) -> int:
    """The newest received message, from `start` on, that validation has looked at; 0 for none."""
    states: tuple[subjects.RowState, ...] = ("valid", "quarantined")
    last = [await bus.log.last("ROWS", subjects.rows(model, state, lane)) for state in states]
    positions = [m.headers.get(headers.INPUT, "").rpartition(":")[2] for m in last if m is not None]
    return max((int(at) for at in positions if at.isdigit() and int(at) >= start), default=0)


async def watch(bus: "Bus", model: str, start: int) -> Quarantined:
    """Rows quarantined from sequence `start` of ROWS on, once validation is through."""
    found = Quarantined()
    received: dict[subjects.Lane, int] = {}
    for lane in subjects.LANES:
        newest = await bus.log.last("ROWS", subjects.rows(model, "received", lane))
        if newest is not None and newest.seq >= start:
            received[lane] = newest.seq
    if not received:
        return found
    follow = bus.follow("ROWS", (subjects.rows(model, "quarantined", "*"),), start)
    moved, so_far = time.monotonic(), dict.fromkeys(received, 0)
    while True:
        at = {lane: await checked(bus, model, lane, start) for lane in received}
        if at != so_far:
            moved, so_far = time.monotonic(), at
        group = await follow.read(timeout=0.2)
        for message in group:
            for reason in message.batch().column("reason").to_pylist():
                found.add(reason)
        through = all(at[lane] >= last for lane, last in received.items())
        silent = time.monotonic() - moved > CHECK_SECONDS
        if not group and (through or silent):
            found.all_checked = through
            await follow.close()
            return found


@commands.command()
def replay(
    model: ModelName,
    reason: Because = "",
    since: Since = "",
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Send quarantined rows again, and the labels given up with them; 1 if some are still bad."""
    from driftloop.cli.audit import since_time

    earliest = since_time(since)

    async def work(bus: "Bus") -> "Requeued":
        from driftloop.cli.requeue import requeue
        from driftloop.client import Client

        with output.err.status(f"Sending the quarantined rows of {model} again"):
            async with Client(
                bus.connection.url, key=session.key(), name=bus.service, deadline=PATIENCE_SECONDS
            ) as client:
                return await requeue(bus, client, model, reason, earliest)

    found = visit(url, work)
    if json:
        output.as_json(found)
    else:
        _show(found)
    if found.quarantined or found.gone:
        raise Stop(Exit.NO)


def _show(found: "Requeued") -> None:
    output.say(
        f"{found.rows:,} rows of {found.model} sent again: {found.valid:,} are valid now,"
        f" {found.quarantined:,} are not."
    )
    output.say(f"{found.labels:,} labels sent again for valid rows, {found.joined:,} joined.")
    if found.gone:
        output.fail(f"{found.gone:,} rows are no longer in the log as they were received")
    for text, rows in sorted(found.reasons.items(), key=lambda item: -item[1])[:SHOWN_REASONS]:
        output.fail(f"  {rows:,} x {text}")
    if not found.all_checked:
        output.note("Validation has not looked at all of them; is it running? Then ask again.")
    if not found.all_scored:
        output.note("Not all rows are scored yet, so no label was sent: ask again later.")
