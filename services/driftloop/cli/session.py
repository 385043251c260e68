"""A short visit to the bus: connect, do one thing, leave."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

CONNECT_SECONDS: Final = 5.0
NAME: Final = "cli"

T = TypeVar("T")


def visit(url: str, work: "Callable[[Bus], Awaitable[T]]") -> T:
    """Run `work` with a connected bus; raises `ConnectionError` naming the address."""

    async def run() -> T:
        async with connected(url) as bus:
            return await work(bus)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def connected(url: str) -> "AsyncIterator[Bus]":
    """A bus for the length of the block."""
    from driftloop.bus.bus import Bus  # half a second that `--help` need not wait

    quiet()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            bus = await Bus.open(url, NAME)
    except (TimeoutError, OSError) as error:
        raise ConnectionError(
            f"--url: no NATS server answers at {url};"
            " accepted: the address of a running one (`driftloop up` starts one)"
        ) from error
    try:
        yield bus
    finally:
        await bus.close()


def quiet() -> None:
    """Keep the libraries' logs off the terminal: what matters comes back as an error."""
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("nats", "faststream", "driftloop", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
