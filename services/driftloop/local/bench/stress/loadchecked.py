"""Load over HTTP that looks into every answer: each connection sends as soon as it was answered."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import uvloop

from driftloop.local.bench.job import DRAIN_SECONDS
from driftloop.local.bench.stress.counting import Checks, Counting
from driftloop.local.bench.stress.job import Job, Tally, given, say, say_begun
from driftloop.local.bench.stress.line import Line, opened

OPEN_AGAIN_SECONDS: Final = 0.05


class Checked:
    """Keeps each of its connections busy until `stop`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._texts = job.texts()
        self._next = 0
        self._lines: set[Line] = set()
        self._sending = True
        self._idle = asyncio.Event()
        self._counting = Counting(Checks(job.expected), job.kinds, frozenset())

    async def run(self, begun: Callable[[], None] = lambda: None) -> Tally:
        """Load for the time of the job; `begun` is called with the first requests."""
        job = self._job
        for _ in range(job.connections):
            self._lines.add(await opened(self, job.host, job.port))
        self._counting = Counting(Checks(job.expected), job.kinds, frozenset())
        begun()
        for line in self._lines:
            self._send(line)
        await asyncio.sleep(job.seconds)
        self._counting.stop()
        await self._end()
        return self._counting.tally()

    def answered(self, line: Line, status: int, head: bytes, body: bytes) -> None:
        """Look at the answer, send the next."""
        what, due = line.what, line.due
        latency = time.perf_counter() - due
        if self._sending:
            self._send(line)
        self._counting.answered(what, due, latency, status, head, body)
        self._rest()

    def lost(self, line: Line, busy: bool) -> None:
        """A lost connection is an error, and is not opened again."""
        self._lines.discard(line)
        if self._sending:
            self._counting.lost(line.what, "the server ended the connection")
        self._rest()

    def _send(self, line: Line) -> None:
        if line.open:
            line.send(self._texts[self._next], self._next)
            self._next = (self._next + 1) % len(self._texts)

    def _rest(self) -> None:
        if not self._sending and not any(line.busy for line in self._lines):
            self._idle.set()

    async def _end(self) -> None:
        self._sending = False
        self._rest()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            for line in [line for line in self._lines if line.busy]:
                self._counting.lost(line.what, f"nothing within {DRAIN_SECONDS:g} s")
        for line in list(self._lines):
            line.close()


async def run(job: Job, begun: Callable[[], None] = lambda: None) -> Tally:
    """The job, in this process."""
    return await Checked(job).run(begun)


def main() -> None:
    """Do the job on standard input."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    say(asyncio.run(run(given(), say_begun)))


if __name__ == "__main__":
    main()
