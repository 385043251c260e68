"""Load over HTTP at a rate, whatever the answers take: latency counts from when a request was due.

What is due while every connection waits is not sent, and counted: the client is bounded, too.
"""

import asyncio
import time
from collections import deque
from typing import Final

import uvloop

from driftloop.local.bench.job import DRAIN_SECONDS
from driftloop.local.bench.stress.counting import Checks, Counting
from driftloop.local.bench.stress.job import Job, Phase, Tally, given, say
from driftloop.local.bench.stress.line import Line, opened

TICK_SECONDS: Final = 0.001
REFUSALS: Final = frozenset({503})
BAD_REQUESTS: Final = frozenset(range(400, 500))


class Open:
    """The phases of a job, one after the other, over the same connections."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._texts = job.texts()
        self._checks = Checks(job.expected)
        self._accepted = REFUSALS if job.expected else BAD_REQUESTS
        self._free: deque[Line] = deque()
        self._lines: set[Line] = set()
        self._next = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()
        self._sending = True

    async def run(self) -> list[Tally]:
        """A tally for each phase."""
        for _ in range(self._job.connections):
            await self._open()
        made = [await self._phase(phase) for phase in self._job.phases]
        self._sending = False
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._under_way:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            for line in [line for line in self._lines if line.busy]:
                line.about.lost(line.what, f"nothing within {DRAIN_SECONDS:g} s")
        for line in list(self._lines):
            line.close()
        return [counting.tally(slices=True) for counting in made]

    def answered(self, line: Line, status: int, head: bytes, body: bytes) -> None:
        """Count the answer; the connection is free again."""
        latency = time.perf_counter() - line.due
        line.about.answered(line.what, line.due, latency, status, head, body)
        self._ended()
        self._free.append(line)

    def lost(self, line: Line, busy: bool) -> None:
        """Count the request if there was one, and open the connection anew."""
        self._lines.discard(line)
        if busy:
            line.about.lost(line.what, "the server ended the connection")
            self._ended()
        if self._sending:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _phase(self, phase: Phase) -> Counting:
        counting = Counting(self._checks, self._job.kinds, self._accepted)
        began, sent, count = counting.began, 0, int(phase.rate * phase.seconds)
        while sent < count:
            now = min(count, 1 + int((time.perf_counter() - began) * phase.rate))
            while sent < now:
                self._offer(counting, began + sent / phase.rate)
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.sleep(max(0.0, began + phase.seconds - time.perf_counter()))
        counting.stop()
        return counting

    def _offer(self, counting: Counting, due: float) -> None:
        while self._free:
            line = self._free.popleft()
            if line.open:
                line.about = counting
                self._under_way += 1
                line.send(self._texts[self._next], self._next, due)
                self._next = (self._next + 1) % len(self._texts)
                return
        counting.unsent += 1

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def _open(self) -> None:
        try:
            line = await opened(self, self._job.host, self._job.port)
        except OSError:
            if not self._lines:
                raise  # else the others go on; what cannot be sent is counted
        else:
            self._lines.add(line)
            self._free.append(line)


async def run(job: Job) -> list[Tally]:
    """The job, in this process."""
    return await Open(job).run()


def main() -> None:
    """Do the job on standard input."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    say(asyncio.run(run(given())))


if __name__ == "__main__":
    main()
