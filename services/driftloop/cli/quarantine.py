"""`quarantine`: rows that validation put there are sent again."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftloop.cli import output, session
from driftloop.cli.exits import Exit, Stop
from driftloop.cli.options import DEFAULT_URL, Json, ModelName, Url
from driftloop.cli.session import visit
from driftloop.cli.steer import order, who
from driftloop.contracts import requests
from driftloop.contracts.names import new_id

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus
    from driftloop.client.requeue import Requeued

commands = typer.Typer(no_args_is_help=True, help="Rows that broke the contract of their spec.")

Because = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Only rows whose reason contains this.")
]
Since = Annotated[
    str, typer.Option(metavar="DURATION", help="Only rows put there in the last 30m, 24h, 7d ...")
]
PATIENCE_SECONDS: Final = 60.0
SHOWN_REASONS: Final = 10


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
        from driftloop.client import Client
        from driftloop.client.requeue import requeue

        because = f"rows whose reason contains {reason!r}" if reason else "all rows"
        noted = requests.Command(command="requeue", by=who(), reason=because, request=new_id())
        await order(bus, model, noted)
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
