"""Several processes of one service on one port: worker 0 starts the others, and sums all up."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from driftloop.runtime import metrics
from driftloop.runtime.metrics import Family
from driftloop.runtime.worker_line import Line, Rounds, State

log = logging.getLogger(__name__)

VARIABLE: Final = "DRIFTLOOP_WORKER"
"""Tells a process started here its number and the file descriptor of its line: `1:7`."""
ANSWER_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 30.0
LONGEST_BACK_OFF: Final = 30.0

RESTARTS: Final = metrics.counter("worker_restarts", "Workers that ended by themselves", ["worker"])
SILENT: Final = metrics.counter(
    "worker_silent", "Questions a worker did not answer in time; its last values count", ["worker"]
)

Own = Callable[[], State]
"""The state of this process alone."""


class Silent(Exception):
    """Worker 0 does not say how all are."""


class Joined(NamedTuple):
    """Number of a worker that worker 0 has started, and its end of the line."""

    number: int
    end: socket.socket


class Alone:
    """A service in one process."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._task: asyncio.Task[None] | None = None

    async def told(self) -> State:
        """The state of the whole service: of all its workers. Raises `Silent`."""
        return self._own()

    def start(self) -> asyncio.Task[None]:
        """Be one of several; call it when this process listens. The task ends with an error, or
        after `stop`.
        """
        self._task = asyncio.create_task(self._run(), name="workers")
        return self._task

    def stop(self) -> None:
        """Begin to end what was started here."""

    async def ended(self) -> None:
        """Wait until what was started here has ended; when cancelled, kill it."""

    async def _run(self) -> None:
        await asyncio.get_running_loop().create_future()


class Member(Alone):
    """A worker that worker 0 has started."""

    def __init__(self, end: socket.socket, own: Own) -> None:
        super().__init__(own)
        self._line = Line(end, self._answer)
        self._rounds = Rounds(lambda: self._line.ask(3 * ANSWER_SECONDS))
        self._stopping = False

    async def told(self) -> State:
        """What worker 0 says of all."""
        state = await self._rounds.next()
        if state is None:
            raise Silent("worker 0 does not answer")
        return state

    def stop(self) -> None:
        """From now on worker 0 may go first."""
        self._stopping = True

    async def ended(self) -> None:
        """Tell the last values, so that the sums keep them."""
        self._line.tell(self._own())

    async def _run(self) -> None:
        running = asyncio.create_task(self._line.run())
        try:
            await self._line.opened.wait()
            self._line.tell(self._own())
            await running
        finally:
            running.cancel()
        if not self._stopping:
            raise ConnectionError("worker 0 is gone")

    async def _answer(self) -> State:
        return self._own()


class Crew(Alone):
    """Worker 0: starts the others, again when they die, and speaks for all.

    `command` is that of this process unless given.
    """

    def __init__(self, count: int, own: Own, command: Sequence[str] = ()) -> None:
        super().__init__(own)
        command = command or (sys.executable, *sys.orig_argv[1:])
        self._workers = [_Worker(number, command, self.told) for number in range(1, count)]
        self._ended: list[Family] = []
        self._stopping = asyncio.Event()
        self._rounds = Rounds(self._everyone)

    async def told(self) -> State:
        """The state of all workers: the first problem, counters and histograms added up."""
        state = await self._rounds.next()
        assert state is not None
        return state

    def stop(self) -> None:
        """SIGTERM to all."""
        self._stopping.set()
        for worker in self._workers:
            worker.terminate()

    async def ended(self) -> None:
        """Wait until all have ended; when cancelled, kill them."""
        if self._task is not None:
            try:
                await asyncio.wait([self._task])
            finally:
                self._task.cancel()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(self._keep(worker))

    async def _keep(self, worker: "_Worker") -> None:
        while not self._stopping.is_set():
            how, counted = await worker.live(self._stopping)
            # What it has counted stays in the sums: a counter that goes down looks like a restart.
            self._ended = metrics.added([self._ended, counted])
            if self._stopping.is_set():
                return
            delay = worker.back_off()
            worker.problem = f"{how}, is started again after {delay:.1f} s"
            RESTARTS.labels(str(worker.number)).inc()
            log.warning("worker %d %s", worker.number, worker.problem)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _everyone(self) -> State:
        problems = await asyncio.gather(*(worker.ask() for worker in self._workers))
        own = self._own()
        told = {worker.number: worker.families() for worker in self._workers}
        return State(
            problem=next(filter(None, (own.problem, *problems)), ""),
            note=own.note,
            families=metrics.together({0: own.families, **told}, self._ended),
        )


class _Worker:
    """One of the others, as worker 0 sees it; `answer` says how all are."""

    def __init__(
        self, number: int, command: Sequence[str], answer: Callable[[], Awaitable[State]]
    ) -> None:
        self.number = number
        self.problem = "is starting"
        self._command = command
        self._answer = answer
        self._line: Line | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._starts = 0
        self._started = 0.0

    async def live(self, stopping: asyncio.Event) -> tuple[str, list[Family]]:
        """One life of the process; returns how it ended and what it had counted."""
        self._starts += 1
        self._started = time.monotonic()
        here, there = socket.socketpair()
        here.setblocking(False)
        try:
            with there:
                self._process = process = await self._start(there.fileno())
        except OSError as error:
            here.close()
            return f"could not be started ({error})", []
        if stopping.is_set():
            process.terminate()
        self.problem = "is starting"
        self._line = line = Line(here, self._answer)
        reading = asyncio.create_task(line.run())
        try:
            code = await process.wait()
            await asyncio.wait([reading], timeout=ANSWER_SECONDS)  # its last words
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._line = self._process = None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return how, line.last.families if line.last is not None else []

    def families(self) -> list[Family]:
        """Its metrics by its last words."""
        return self._line.last.families if self._line and self._line.last else []

    async def ask(self) -> str:
        """Ask for its state; returns its problem, empty if it has none."""
        line = self._line
        if line is None or line.last is None:
            return f"worker {self.number} {self.problem}"
        state = await line.ask(ANSWER_SECONDS)
        if state is not None:
            return state.problem and f"worker {self.number}: {state.problem}"
        if self._process is None or self._process.returncode is not None:
            return f"worker {self.number} has ended"
        SILENT.labels(str(self.number)).inc()
        return f"worker {self.number} does not answer"

    def back_off(self) -> float:
        """Seconds until it is started again: none at first, more if it ends again soon."""
        if time.monotonic() - self._started > STEADY_SECONDS:
            self._starts = 1
        return min(0.5 * 2 ** (self._starts - 2), LONGEST_BACK_OFF) if self._starts > 1 else 0.0

    def terminate(self) -> None:
        """SIGTERM, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def _start(self, line: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            env=dict(os.environ) | {VARIABLE: f"{self.number}:{line}"},
            pass_fds=(line,),
        )


def place(joined: Joined | None, count: int, own: Own) -> Alone:
    """The place of this process among the `count` of its service."""
    if joined is not None:
        return Member(joined.end, own)
    return Crew(count, own) if count > 1 else Alone(own)


def joined() -> Joined | None:
    """Whether worker 0 has started this process, and how; the variable that says so is taken away.

    What else has its name is left for the check of the settings.
    """
    number, _, descriptor = os.environ.get(VARIABLE, "").partition(":")
    if not (number.isdigit() and descriptor.isdigit()) or not _is_socket(int(descriptor)):
        return None
    del os.environ[VARIABLE]
    end = socket.socket(fileno=int(descriptor))
    end.set_inheritable(False)
    end.setblocking(False)
    return Joined(int(number), end)


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False
