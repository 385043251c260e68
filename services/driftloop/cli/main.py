"""The `driftloop` command: its table of commands, and where errors end."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from driftloop.cli import (
    audit,
    backtest,
    bench_evidence,
    dead,
    events,
    keys,
    models,
    output,
    quarantine,
    send,
    session,
    spec,
    sql,
    start,
    steer,
    token,
)
from driftloop.cli.exits import EXPECTED, MEANINGS, code_of, text_of

KEYS_VARIABLE: Final = "DRIFTLOOP_KEYS"
CA_VARIABLE: Final = "DRIFTLOOP_NATS_CA"
EPILOG = (
    "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items()) + "."
)


def make() -> typer.Typer:
    """The command with all its commands."""
    app = typer.Typer(
        name="driftloop",
        help="Keeps prediction models alive: from drift to promotion and back, by itself.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_common)
    for panel, group in (
        ("Start", (start.up, start.demo, backtest.backtest, start.run, keys.provision)),
        (
            "Look",
            (
                models.status,
                models.models,
                models.runs,
                events.events,
                events.why,
                audit.audit,
                sql.sql,
            ),
        ),
        ("Data", (send.send_rows, send.send_labels, send.predict)),
        (
            "Steer",
            (steer.retrain, steer.challenge, steer.promote, steer.approve, steer.rollback),
        ),
    ):
        for function in group:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(spec.commands, name="spec", rich_help_panel="Data")
    app.add_typer(quarantine.commands, name="quarantine", rich_help_panel="Data")
    app.add_typer(dead.commands, name="dead", rich_help_panel="Data")
    app.add_typer(keys.commands, name="keys", rich_help_panel="Start")
    app.add_typer(token.commands, name="token", rich_help_panel="Steer")
    app.add_typer(bench_evidence.COMMANDS, name="bench", rich_help_panel="Look")
    return app


def _common(
    keys_folder: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            envvar=KEYS_VARIABLE,
            metavar="FOLDER",
            help="Folder with the operator's key; by default .driftloop/keys, if it is there.",
        ),
    ] = None,
    ca: Annotated[
        str,
        typer.Option(
            "--nats-ca",
            envvar=CA_VARIABLE,
            metavar="FILE",
            help="The authority (PEM) of the NATS server's certificate, for TLS.",
        ),
    ] = "",
) -> None:
    """Keeps prediction models alive: from drift to promotion and back, by itself."""
    session.log_in_with(keys_folder, ca)


def main() -> None:
    """Run the command line; an error is one clear red line and an exit code with a meaning."""
    try:
        make()()
    except EXPECTED as error:
        if text := text_of(error):
            output.fail(text)
        sys.exit(code_of(error))
