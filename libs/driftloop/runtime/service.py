"""A service as the runtime sees it: a name, its settings, and a function that wires it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from driftloop.bus.bus import Bus
from driftloop.runtime.access import Access, Guarded
from driftloop.runtime.http1 import Limits, Router
from driftloop.runtime.settings import Shared

S = TypeVar("S", bound=Shared)


class Hot(msgspec.Struct, frozen=True, kw_only=True):
    """Hot routes, and how the HTTP server that has them is set up (see `runtime.http1`)."""

    router: Router
    limits: Limits = msgspec.field(default_factory=Limits)
    cors: tuple[str, ...] = ()
    compress: bool = False


class Wired(msgspec.Struct, kw_only=True):
    """What wiring made: tasks, an HTTP app, a readiness check, and what to close at the end."""

    tasks: list[Coroutine[Any, Any, None]] = []
    http: Guarded | None = None
    hot: Hot | None = None
    """Routes beneath `http`, for a service that answers many small requests."""
    access: Access | None = None
    """Who may call them; its `run` is one of the tasks. None: the runtime makes one."""
    problem: Callable[[], str] = lambda: ""
    note: Callable[[], str] = lambda: ""
    """What is wrong though the service is ready, such as with one model of many."""
    close: Callable[[], Awaitable[None]] | None = None


class Service(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """One service. `wire` reads as the list of what the service hears."""

    name: str
    settings: type[S]
    wire: Callable[[S, Bus], Awaitable[Wired]]
    workers: Callable[[S], int] = lambda settings: 1
    """How many processes answer on the service's ports; see `runtime.workers`."""
    ports: Callable[[S], tuple[int, ...]] = lambda settings: (settings.port,)
    """The ports it listens on, all of which its workers share."""
    unused: tuple[str, ...] = ("pandas",)
    """Packages the process does without, though they are installed: pyarrow imports pandas at its
    first array if it can, which costs 45 MB and 0.4 s.
    """


async def first_end(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> BaseException | None:
    """Wait for `stop`; a task that ends before is an error, which is returned."""
    waiter = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if waiter in done:
        return None
    waiter.cancel()
    ended = next(iter(done))
    return ended.exception() or RuntimeError(f"background task {ended.get_name()} ended")
