"""`report`: a model's story as one HTML file."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli import output
from driftloop.cli.complete import DEFAULT_CONSOLE
from driftloop.cli.options import ConsoleUrl, ModelName, Token

Since = Annotated[
    str, typer.Option(metavar="DURATION", help="Only the last 24h, 30d ... by the wall's clock.")
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="Where to write; else MODEL.html."),
]

REPORT_SECONDS = 60.0
"""How long one answer may take: a long history is read from ClickHouse."""


def report(
    model: ModelName,
    since: Since = "",
    out: Out = None,
    console: ConsoleUrl = DEFAULT_CONSOLE,
    token: Token = "",
) -> None:
    """Write a self-contained HTML file about a model: quality, drift, evidence, costs."""
    from driftloop.cli.api import Api
    from driftloop.cli.audit import since_time
    from driftloop.cli.report.gather import gather
    from driftloop.cli.report.page import page
    from driftloop.contracts.names import check_model_name

    name, earliest = check_model_name(model), since_time(since)
    begin = datetime.fromtimestamp(earliest, UTC).isoformat(timespec="milliseconds")
    with output.err.status(f"Asking {console}"):
        found = gather(Api(console, token, REPORT_SECONDS), name, earliest, begin if since else "")
    path = out or Path(f"{name}.html")
    text = page(found, datetime.now(UTC), version("driftloop"))
    path.write_text(text, "utf-8")
    output.say(f"{path}: {len(text.encode()) / 1024:.0f} KiB, {len(found.facts):,} events")
