"""The `driftloop` command: its table of commands, and where errors end."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from driftloop.cli import (
    audit,
    backtest,
    bench_evidence,
    dead,
    diff,
    events,
    hold,
    keys,
    models,
    notify,
    output,
    quarantine,
    runs,
    send,
    session,
    spec,
    sql,
    start,
    steer,
    token,
    top,
)
from driftloop.cli.exits import EXPECTED, MEANINGS, code_of, text_of
from driftloop.cli.report.command import report

KEYS_VARIABLE: Final = "DRIFTLOOP_KEYS"
CA_VARIABLE: Final = "DRIFTLOOP_NATS_CA"
EPILOG = (
    "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items()) + "."
)

COMMANDS: Final[tuple[tuple[str, tuple[Callable[..., None], ...]], ...]] = (
    ("Start", (start.up, start.demo, backtest.backtest, start.run, keys.provision)),
    (
        "Look",
        (
            models.status,
            top.top,
            models.models,
            diff.diff,
            events.events,
            events.why,
            report,
            audit.audit,
            sql.sql,
        ),
    ),
    ("Data", (send.send_rows, send.send_labels, send.predict)),
    (
        "Steer",
        (
            steer.retrain,
            steer.challenge,
            steer.promote,
            steer.approve,
            steer.rollback,
            hold.pause,
            hold.resume,
            hold.silence,
        ),
    ),
)
GROUPS: Final[tuple[tuple[str, str, typer.Typer], ...]] = (
    ("Look", "runs", runs.commands),
    ("Data", "spec", spec.commands),
    ("Data", "quarantine", quarantine.commands),
    ("Data", "dead", dead.commands),
    ("Start", "keys", keys.commands),
    ("Steer", "token", token.commands),
    ("Steer", "notify", notify.commands),
    ("Look", "bench", bench_evidence.COMMANDS),
)


def make() -> typer.Typer:
    """The command with all its commands."""
    app = typer.Typer(
        name="driftloop",
        help="Keeps prediction models alive: from drift to promotion and back, by itself.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_common)
    for panel, functions in COMMANDS:
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    for panel, name, group in GROUPS:
        app.add_typer(group, name=name, rich_help_panel=panel)
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
