"""A window of requests over one connection: each answer sends the next request."""

import asyncio
import time
from array import array
from collections.abc import Callable
from typing import TypeVar, cast
from urllib.parse import urlsplit

from driftloop.local.bench.job import DRAIN_SECONDS, Job, Stopwatch, Told


class Window(asyncio.Protocol):
    """What a load client over a bare socket does beside its protocol.

    A protocol writes its greeting in `greet`, makes a request in `request`, and says with `ended`
    that a request has its answer. `ready` is set when requests may be sent.
    """

    def __init__(self) -> None:
        self.latencies = array("d")
        self.errors = 0
        self.problem = ""
        self.waiting = 0
        self.sending = False
        self.ready = asyncio.Event()
        self.idle = asyncio.Event()

    def greet(self) -> bytes:
        """The first bytes to the server."""
        raise NotImplementedError

    def request(self, slot: int) -> bytes:
        """The next request; `slot` is a number below the size of the window, free again."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the server."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no instance of it
        self.transport.write(self.greet())

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self.problem = self.problem or f"the server ended the connection ({exc})"
        self.sending = False
        self.ready.set()
        self.idle.set()

    def begin(self, in_flight: int) -> None:
        """Fill the window."""
        self.sending, self.waiting = True, in_flight
        self.idle.clear()
        self.transport.write(b"".join(self.request(slot) for slot in range(in_flight)))

    def ended(self, slot: int, sent: float, why: str = "") -> bytes:
        """A request sent at `sent` has its answer, or failed; returns the next request."""
        if why:
            self.errors += 1
            self.problem = why
        else:
            self.latencies.append(time.perf_counter() - sent)
        if self.sending:
            return self.request(slot)
        self.waiting -= 1
        if self.waiting <= 0:
            self.idle.set()
        return b""


W = TypeVar("W", bound=Window)


async def connected(make: Callable[[], W], address: str) -> W:
    """A window over a new connection to `scheme://host:port`, ready to send."""
    url = urlsplit(address)
    loop = asyncio.get_running_loop()
    _, window = await loop.create_connection(make, url.hostname or "", url.port or 0)
    async with asyncio.timeout(DRAIN_SECONDS):
        await window.ready.wait()
    return window


async def load(window: Window, job: Job) -> Told:
    """Keep `job.in_flight` requests under way for `job.seconds`; closes the connection."""
    watch = Stopwatch()
    window.begin(job.in_flight)
    asyncio.get_running_loop().call_later(job.seconds, window.idle.set)
    await window.idle.wait()
    watch.stop()
    if window.transport.is_closing():
        return Told(error=window.problem)
    latencies, errors = window.latencies[:], window.errors
    errors += await _late(window)
    window.transport.close()
    return Told(counts=watch.counts(latencies, errors))


async def _late(window: Window) -> int:
    """Stop sending; how many requests are not answered within some seconds."""
    window.sending = False
    window.idle.clear()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await window.idle.wait()
    except TimeoutError:
        return window.waiting
    return 0
