"""One run of a lane in a thread, and who takes its answers: whoever looks first.

The event loop is told when a run ends. A loop that has much to do hears of it late, and meanwhile
the thread has nothing to do; so a lane looks for itself whenever a request comes.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import NamedTuple

from driftloop.contracts.batches import Matrix
from driftloop.inference.domain.lineup import Answers


class Ran(NamedTuple):
    """The answers of a run, and when it began and ended by `time.perf_counter`."""

    answers: Matrix
    began: float
    ended: float


Told = Callable[[Ran | BaseException], None]


class Away:
    """Runs one matrix at a time in a thread. Made and used in one event loop."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._told: Told | None = None
        self._future: Future[Ran] | None = None

    def begin(self, session: Answers, matrix: Matrix, told: Told) -> None:
        """Run; `told` hears the answers, or why there are none, in the event loop."""
        self._told = told
        self._future = self._threads.submit(timed, session, matrix)
        self._future.add_done_callback(self._ended)

    def look(self) -> None:
        """Hand on the answers if the run has ended."""
        future, told = self._future, self._told
        if told is None or future is None or not future.done():
            return
        self._future = self._told = None
        if future.cancelled():
            told(asyncio.CancelledError())
        else:
            told(future.exception() or future.result())

    def _ended(self, _: Future[Ran]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.look)


def timed(session: Answers, matrix: Matrix) -> Ran:
    """Run a session, here or in a thread, and take the time of the run alone."""
    began = time.perf_counter()
    answers = session.run(matrix)
    return Ran(answers, began, time.perf_counter())
