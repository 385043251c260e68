"""Completes names of models in a shell, from the console; without one it completes nothing."""

from typing import Final

import typer

CONSOLE_VARIABLE: Final = "DRIFTLOOP_CONSOLE"
DEFAULT_CONSOLE: Final = "http://127.0.0.1:8800"
TOKEN_VARIABLE: Final = "DRIFTLOOP_TOKEN"
SECONDS: Final = 1.0
"""How long a person who pressed Tab may wait."""
MOST: Final = 200


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of models that begin with what is typed so far."""
    from driftloop.cli.api import Api
    from driftloop.console.api.shapes import Overview

    console = _given(ctx, "console", CONSOLE_VARIABLE) or DEFAULT_CONSOLE
    try:
        api = Api(console, _given(ctx, "token", TOKEN_VARIABLE), SECONDS)
        found = api.get("/api/overview", Overview, {"search": incomplete, "limit": MOST})
    except Exception:  # whatever is wrong, a shell that completes has to stay silent
        return []
    return sorted(card.name for card in found.cards if card.name.startswith(incomplete))


def _given(ctx: typer.Context, name: str, variable: str) -> str:
    """What the line so far says, or the environment; not all commands have the option."""
    from driftloop.runtime.settings import of_command

    return str(ctx.params.get(name) or of_command(variable))
