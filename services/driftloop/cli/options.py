"""Options that mean the same in every command."""

from typing import Annotated, Final

import typer

URL_VARIABLE: Final = "DRIFTLOOP_NATS_URL"
DEFAULT_URL: Final = "nats://127.0.0.1:4222"

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="The NATS server or cluster.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")]
