"""A short visit to the bus: connect, do one thing, leave."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from driftloop.bus.bus import Bus

CONNECT_SECONDS: Final = 5.0
NAME: Final = "cli"
OPERATOR: Final = "operator"
USUAL_KEYS: Final = Path(".driftloop/keys")
"""Where `driftloop up` keeps them, unless it is told another folder."""

T = TypeVar("T")


@dataclass
class _Login:
    """What the command was told of keys and certificates, for all the connections it makes."""

    keys: str = ""
    ca: str = ""


_login = _Login()


def log_in_with(keys: Path | None, ca: str = "") -> None:
    """Use the operator's key of this folder; by default that of `up`, if it is there."""
    usual = str(USUAL_KEYS) if USUAL_KEYS.exists() else ""
    _login.keys, _login.ca = str(keys) if keys else usual, ca


def key() -> str:
    """The file of the operator's key; empty if there is none."""
    return f"{_login.keys}/{OPERATOR}.nk" if _login.keys else ""


def authority() -> str:
    """The file of the authority of the server's certificate; empty if there is none."""
    return _login.ca


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
            bus = await Bus.open(url, NAME, keys=_login.keys, user=OPERATOR, ca=_login.ca)
    except (TimeoutError, OSError) as error:
        if "authorization" in str(error).lower():
            raise ConnectionError(
                f"--keys: the NATS server at {url} refuses {key() or 'a connection without a key'};"
                " accepted: the folder of keys that its `driftloop up` made"
            ) from error
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
