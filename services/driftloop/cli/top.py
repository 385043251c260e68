"""`top`: the console's live view in a terminal, until `q` is pressed."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from driftloop.cli import output
from driftloop.cli.complete import DEFAULT_CONSOLE
from driftloop.cli.options import ConsoleUrl, Token
from driftloop.contracts.errors import Retry

if TYPE_CHECKING:
    from driftloop.cli.api import Api
    from driftloop.cli.screen import Screen

EACH_SECONDS: Final = 0.25
"""How often the picture is drawn at most."""
AGAIN_SECONDS: Final = 2.0
"""How long after the console was lost it is asked again."""
FIRST_SECONDS: Final = 15.0
"""How long models and services may take to come."""
LAST_SECONDS: Final = 1.0
"""How long the end waits for the stream to be closed."""
EVENTS: Final = 50

Once = Annotated[
    bool, typer.Option("--once", help="Print one picture and end, as into a file or a pipe.")
]


def top(console: ConsoleUrl = DEFAULT_CONSOLE, token: Token = "", once: Once = False) -> None:
    """Watch models by trouble, services and the newest events, live; q ends it."""
    from driftloop.cli.api import Api
    from driftloop.cli.screen import Screen

    api, screen = Api(console, token), Screen(console)
    _remember(api, screen)
    if once or not sys.stdout.isatty():
        asyncio.run(_once(api, screen))
        output.out.print(screen.draw(output.out.width, output.out.height if once else 1_000))
    else:
        asyncio.run(_watch(api, screen))


def _remember(api: "Api", screen: "Screen") -> None:
    from driftloop.console.api.shapes import Events

    screen.remember(api.get("/api/events", Events, {"limit": EVENTS}).events)


async def _once(api: "Api", screen: "Screen") -> None:
    try:
        async with asyncio.timeout(FIRST_SECONDS), api.stream({"events": "0"}) as messages:
            async for kind, data in messages:
                screen.fold(kind, data)
                if screen.complete:
                    return
    except TimeoutError as error:
        raise Retry(f"--console: sent no models within {FIRST_SECONDS:g} s") from error


async def _watch(api: "Api", screen: "Screen") -> None:
    """Draw what the stream says, until `q` or the end of the terminal."""
    from rich.live import Live

    ended = asyncio.Event()
    hearing = asyncio.create_task(_hear(api, screen))
    size = output.out.size
    try:
        with (
            _keys(ended),
            Live(
                screen.draw(size.width, size.height),
                console=output.out,
                screen=True,
                auto_refresh=False,
            ) as live,
        ):
            while not ended.is_set() and not hearing.done():
                size = output.out.size
                live.update(screen.draw(size.width, size.height), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), EACH_SECONDS)
    finally:
        hearing.cancel()
        await asyncio.wait([hearing], timeout=LAST_SECONDS)
    if hearing.done() and not hearing.cancelled():
        hearing.result()  # raises what was wrong with the request, if anything


async def _hear(api: "Api", screen: "Screen") -> None:
    """Fold the stream; a console that is gone is asked again."""
    while True:
        try:
            async with api.stream({"events": "1"}) as messages:
                async for kind, data in messages:
                    screen.fold(kind, data)
            why = "the stream ended"
        except (ConnectionError, Retry) as error:
            why = str(error).split(";")[0]
        if not screen.lost:
            at = datetime.now().astimezone()
            screen.lost = f"No console since {at:%H:%M:%S}, trying again: {why}"
        await asyncio.sleep(AGAIN_SECONDS)


@contextlib.contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Hear keys one by one, unseen; `q` ends it."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)

    def pressed() -> None:
        given = os.read(terminal, 64)
        if not given or b"q" in given.lower():
            ended.set()

    tty.setcbreak(terminal)
    loop.add_reader(terminal, pressed)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSANOW, before)  # also one that is held (Ctrl-S)
