"""A shadow answers in a process of its own, one batch at a time, and never holds up the champion.

The process is started when the shadow is made, watched, started again when it ends, and ended with
the shadow. Whatever it does costs its own answers and nothing else.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from driftloop.artifacts.onnx_file import DEFAULTS as ACCEPTED
from driftloop.artifacts.onnx_file import Limits as Accepted
from driftloop.contracts.batches import Matrix
from driftloop.contracts.events import Manifest
from driftloop.inference.shadowing import frames
from driftloop.inference.shadowing.frames import Header
from driftloop.inference.shadowing.process import BadFrame, Process, started
from driftloop.inference.shadowing.turns import Turn, Turns
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-m", "driftloop.inference.shadowing.child")
STEADY_SECONDS: Final = 60.0
"""A process that has lived so long is started again without a pause."""
HOPELESS: Final = ("refused", "memory", "hung")
"""Ends that are likely to come again: the first pause is `hopeless_pause` already."""
STARVED: Final = "starved"
"""An end that is no fault of the shadow: it is started again at once."""
SPARE_BYTES: Final = 64 << 10
"""By so much an answer may be larger than expected; it is dropped for its shape then."""

ENDED: Final = metrics.counter(
    "shadow_processes_ended", "Shadow processes that ended unasked", ["model", "reason"]
)
REFUSED: Final = metrics.counter("versions_refused", "Loads that failed", ["model", "role"])

State = Literal["starting", "up", "down"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a shadow's process: resident memory, and seconds to start, of a run, of pauses;
    and `accepted`, those of its model's file.

    Starts and runs may take long, since services go first; the limits are to end what hangs.
    """

    megabytes: int = 512
    start_seconds: float = 600.0
    run_seconds: float = 600.0
    first_pause: float = 0.5
    last_pause: float = 60.0
    hopeless_pause: float = 10.0
    watch_seconds: float = 0.2
    accepted: Accepted = ACCEPTED


DEFAULTS: Final = Limits()


class Down(Exception):
    """The process ended before it answered."""


class _Job:
    """A batch under way, and where its answers go."""

    def __init__(self, number: int, matrix: Matrix) -> None:
        self.number = number
        self.matrix: Matrix | None = matrix
        self.rows = len(matrix)
        self.answers: asyncio.Future[Matrix] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End the wait with an error."""
        if not self.answers.done():
            self.answers.set_exception(error)
            self.answers.exception()  # whoever waited may have gone; nobody need look


class Shadow:
    """One version that answers beside the champion. Made and used in one event loop.

    `state` is starting, up or down; `late` counts the batches in a row that it was late for.
    `command` starts its process (tests: another one with a model that misbehaves). `refused` is
    called with the reason when that refuses the model. `turns`: shared by all shadows of a service.
    """

    def __init__(
        self,
        manifest: Manifest,
        data: bytes,
        limits: Limits = DEFAULTS,
        command: Sequence[str] = COMMAND,
        refused: Callable[[str], None] = lambda why: None,
        turns: Turns | None = None,
    ) -> None:
        self._refused = refused
        self._turns = turns if turns is not None else Turns()
        self.manifest = manifest
        self.state: State = "starting"
        self.late = 0
        self._data = data
        self._limits = limits
        self._command = command
        self._process: Process | None = None
        self._job: _Job | None = None
        self._number = 0
        self._closed = False
        self._since = 0.0
        self._why = ""
        self._name = f"{manifest.model}: shadow {manifest.version}"
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._task = loop.create_task(self._keep(), name=self._name)

    @property
    def pid(self) -> int:
        """The id of its process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def busy(self) -> bool:
        """Whether a batch is under way."""
        return self._job is not None

    def begin(self, matrix: Matrix) -> asyncio.Future[Matrix] | None:
        """Start on a batch; None while the one before is being worked on, and while it is down.

        While the process starts, one batch is kept for it.
        """
        if self.state == "down" or self._job is not None:
            return None
        self._number += 1
        self._job = _Job(self._number & 0xFFFFFFFF, matrix)
        if self.state == "up":
            self._send(self._job)
        return self._job.answers

    def close(self) -> None:
        """Take no more batches and end the process, without waiting for it."""
        self.state = "down"
        if not self._closed:
            self._closed = True
            self._task.cancel()
        self._drop("it is not wanted any more")

    async def ended(self) -> None:
        """Wait, after `close`, until the process is gone."""
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        """Have a process as long as the shadow is wanted, with longer pauses after each end."""
        pause = self._limits.first_pause
        while True:
            began = self._clock()
            reason, detail = await self._life()
            self.state = "down"
            self._drop(detail)
            ENDED.labels(self.manifest.model, reason).inc()
            if reason == STARVED:
                log.info("%s starts again: %s", self._name, detail)
                self.state = "starting"
                continue
            if reason in HOPELESS:
                pause = max(pause, self._limits.hopeless_pause)
            if reason == "refused":
                REFUSED.labels(self.manifest.model, "shadow").inc()
                self._refused(detail)
            elif self._clock() - began > STEADY_SECONDS:
                pause = self._limits.first_pause
            log.warning("%s is down (%s: %s), again in %.1f s", self._name, reason, detail, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._limits.last_pause)
            self.state = "starting"

    async def _life(self) -> tuple[str, str]:
        """One process from start to end: the reason of its end, and a sentence about it."""
        self._why, self._since = "", self._clock()
        code: int | None = None
        accepted = msgspec.json.encode(self._limits.accepted).decode()
        try:
            async with started(self._command, self._limits.megabytes, accepted) as process:
                self._process = process
                watch = asyncio.create_task(self._watch(process))
                try:
                    return await self._talk(process)
                except (EOFError, ConnectionError):
                    code = await process.end()
                finally:
                    watch.cancel()
        except BadFrame as error:
            return "protocol", str(error)
        except Exception as error:  # a shadow that cannot be started costs only itself
            return "failed", f"{type(error).__name__}: {error}"
        finally:
            self._process = None
        return (self._why.partition(":")[0] or "crashed"), self._why or f"exit code {code}"

    async def _talk(self, process: Process) -> tuple[str, str]:
        """Send the model, then take answers as they come; returns only if it is refused."""
        features, width = len(self.manifest.features), self.manifest.width
        await process.load(self._data, features, width)
        first = await process.receive()
        if first.kind == frames.REFUSED:
            return "refused", await process.text(first)
        if first.kind != frames.READY:
            raise BadFrame(f"a frame of kind {first.kind} before it was ready")
        log.info("%s answers in process %d", self._name, process.pid)
        self.state = "up"
        if self._job is not None:
            self._send(self._job)
        while True:
            await self._resolve(process, await process.receive())

    def _send(self, job: _Job) -> None:
        self._since = self._clock()
        if self._process is not None and job.matrix is not None:
            self._process.send(job.number, job.matrix)
        job.matrix = None

    async def _resolve(self, process: Process, header: Header) -> None:
        job = self._job
        if job is None or header.job != job.number:
            raise BadFrame(f"an answer to job {header.job}, which is not under way")
        if header.kind == frames.FAILED:
            job.fail(RuntimeError(await process.text(header)))
        elif header.kind == frames.ANSWER:
            most = job.rows * self.manifest.width * 4 + SPARE_BYTES
            answers = await process.matrix(header, most)
            if not job.answers.done():
                job.answers.set_result(answers)
        else:
            raise BadFrame(f"a frame of kind {header.kind}")
        self._job = None

    async def _watch(self, process: Process) -> None:
        """Kill the process when it is too large, too long at one thing, or gets no time."""
        limits, turn = self._limits, Turn(process.pid)
        while not self._why:
            await asyncio.sleep(limits.watch_seconds)
            megabytes = process.resident() >> 20
            most = limits.start_seconds if self.state == "starting" else limits.run_seconds
            busy = self._clock() - self._since
            if megabytes > limits.megabytes:
                self._why = f"memory: {megabytes} MB; accepted: {limits.megabytes} MB"
            elif busy > most and (self._job is not None or self.state == "starting"):
                self._why = f"hung: {busy:.1f} s at one thing; accepted: {most:g} s"
            elif await asyncio.to_thread(self._turns.starves, turn):
                self._why = f"{STARVED}: the machine has no time to spare"
        process.kill()

    def _drop(self, why: str) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.fail(Down(why))
