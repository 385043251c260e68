"""The `driftloop` command: its table of commands, and where errors end."""

import sys

import typer

from driftloop.cli import (
    backtest,
    bench_evidence,
    events,
    models,
    output,
    send,
    spec,
    sql,
    start,
    steer,
)
from driftloop.cli.exits import EXPECTED, MEANINGS, code_of, text_of

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
    for panel, group in (
        ("Start", (start.up, start.demo, backtest.backtest, start.run)),
        ("Look", (models.status, models.models, models.runs, events.events, events.why, sql.sql)),
        ("Data", (send.send_rows, send.send_labels, send.predict)),
        ("Steer", (steer.retrain, steer.challenge, steer.promote, steer.rollback)),
    ):
        for function in group:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(spec.commands, name="spec", rich_help_panel="Data")
    app.add_typer(bench_evidence.COMMANDS, name="bench", rich_help_panel="Look")
    return app


def main() -> None:
    """Run the command line; an error is one clear red line and an exit code with a meaning."""
    try:
        make()()
    except EXPECTED as error:
        if text := text_of(error):
            output.fail(text)
        sys.exit(code_of(error))
