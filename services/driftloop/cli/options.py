"""Options that mean the same in every command."""

from typing import Annotated, Final

import typer

from driftloop.cli.complete import CONSOLE_VARIABLE, TOKEN_VARIABLE, models

URL_VARIABLE: Final = "DRIFTLOOP_NATS_URL"
DEFAULT_URL: Final = "nats://127.0.0.1:4222"

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="The NATS server or cluster.")]
ConsoleUrl = Annotated[
    str,
    typer.Option("--console", envvar=CONSOLE_VARIABLE, metavar="URL", help="The running console."),
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar=TOKEN_VARIABLE,
        metavar="SECRET",
        help="The secret of a token, where the console asks for one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name of the model.", autocompletion=models)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")]
