"""The prediction log: what was answered on request goes to the stream SCORED, behind the answers.

An answer never waits for it. What does not fit into its bounds is dropped and counted, so that for
each model `answered = logged + dropped + waiting` at any moment.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Final

import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.contracts import subjects
from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import Reject, Retry
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import new_id
from driftloop.inference.domain.answered import Backlog, Ids, Part, chosen, pieces, warm_up
from driftloop.inference.domain.scored import scored
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.shadows import ShadowAnswers, begin, finish
from driftloop.inference.versions import Champion, Versions
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics, traces

log = logging.getLogger(__name__)

LOGGED: Final = metrics.counter(
    "prediction_log_rows", "Rows answered on request that the log has", ["model"]
)
DROPPED: Final = metrics.counter(
    "prediction_log_dropped_rows",
    "Rows answered on request that were not logged",
    ["model", "reason"],
)
WAITING: Final = metrics.gauge(
    "prediction_log_waiting_rows", "Rows answered on request that wait for the log", ["model"]
)
CLOSE_SECONDS: Final = 3.0
"""How long the end of the process waits for the log."""
HEADER_BYTES: Final = 16 << 10
"""Of a message's bound, left for its headers and its schema."""

Made = list[tuple[Outgoing, int]]
"""Messages, and the rows in each."""


class PredictionLog:
    """Publishes what was answered on request. Use it from the event loop alone."""

    def __init__(self, bus: Bus, versions: Versions, settings: InferenceSettings) -> None:
        self._bus = bus
        self._versions = versions
        self._every = settings.log_ms / 1000
        self._pause = 1 / settings.log_share - 1
        """Seconds to leave to the answers for each second that logging took from them."""
        self._busy = 0.0
        self._shadow_seconds = settings.shadow_seconds
        self._backlog = Backlog(
            settings.log_rows, settings.log_mb << 20, part_rows=settings.log_batch_rows
        )
        self._process = new_id()[:12]
        self._count = itertools.count(1)
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._flush: asyncio.Task[None] | None = None
        self._watched: set[str] = set()
        self._closed = False
        warm_up()

    def room(self, model: str, rows: int) -> bool:
        """Whether so many rows may be added; if not they are dropped and counted at once.

        It is asked before the rows are made ready, which costs more than to drop them.
        """
        if self._backlog.room(rows):
            return True
        self._drop(model, "full", rows)
        return False

    def add(
        self,
        model: str,
        spec: Spec,
        champion: Champion,
        matrix: Matrix,
        answers: Matrix,
        ids: Sequence[Ids],
        seconds: Sequence[float],
    ) -> None:
        """Take a micro-batch that was answered; returns at once, and raises nothing.

        `matrix` is float32 of shape (rows, features), `answers` float32 of (rows, width); they are
        kept as they are, so nobody may write to them any more. There is one latency (seconds)
        for each of `ids`. Event time is now. Without room all its rows are dropped, counted.
        """
        if self._closed:
            self._drop(model, "closed", len(matrix))
            return
        key = (model, champion.manifest.version, spec)
        if not self._backlog.add(key, matrix, answers, ids, seconds, int(time.time() * 1000)):
            self._drop(model, "full", len(matrix))
            return
        if model not in self._watched:
            self._watch(model)
        self._some.set()
        if self._backlog.enough:
            self._enough.set()

    async def run(self) -> None:
        """Publish what came, every `log_ms` or when there is a whole batch, until the bus stops."""
        stopping = asyncio.create_task(self._bus.stopping.wait())
        try:
            while not stopping.done():
                await _either(stopping, self._some.wait())
                await _either(stopping, self._enough.wait(), self._every)
                self._some.clear()
                self._enough.clear()
                self._flush = asyncio.create_task(self._publish())
                await asyncio.wait((stopping, self._flush), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait([stopping], timeout=self._busy * self._pause)
                self._busy = 0.0
        finally:
            stopping.cancel()

    async def close(self) -> None:
        """Publish what waits, `CLOSE_SECONDS` at most; the rest is dropped and counted."""
        if self._closed:
            return
        self._closed = True
        ending = asyncio.create_task(self._end())
        await asyncio.wait([ending], timeout=CLOSE_SECONDS)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        for model, rows in self._backlog.waiting.items():
            if rows:
                log.warning("%s: %d answered rows are not in the log: the end came", model, rows)
                self._backlog.settle(model, rows)
                self._drop(model, "closed", rows)

    async def _end(self) -> None:
        if self._flush is not None:
            await self._flush
        await self._publish()

    def _watch(self, model: str) -> None:
        waiting = self._backlog.waiting
        WAITING.labels(model).set_function(lambda: waiting.get(model, 0))
        self._watched.add(model)

    def _drop(self, model: str, reason: str, rows: int) -> None:
        DROPPED.labels(model, reason).inc(rows)

    async def _publish(self) -> None:
        """One round: all that waits. Together its parts wait `shadow_seconds` for the shadows."""
        deadline = asyncio.get_running_loop().time() + self._shadow_seconds
        for part in self._backlog.take():
            try:
                made = await self._made(part, deadline)
            except Exception:  # whatever is wrong with these rows, the next ones are to be logged
                log.exception("%s: %d answered rows are not logged", part.model, part.count)
                self._settle(part, part.count, "failed")
            else:
                for message, rows in made:
                    self._settle(part, rows, await self._say(message))
            self._backlog.free(part)

    async def _made(self, part: Part, deadline: float) -> Made:
        """The messages of a part; their ids are made once, however often they are published."""
        batch_id = f"{self._process}-{next(self._count)}"
        matrix = part.matrix()
        shadows = await self._shadows(part, matrix, batch_id, deadline)
        began = time.perf_counter()
        batch = scored(part.rows(matrix), part.spec.width, part.version, part.answer(), shadows)
        most = self._bus.connection.nc.max_payload
        made = [
            (self._message(part.model, piece, f"scored:{batch_id}:{at}"), piece.num_rows)
            for at, piece in enumerate(pieces(batch, max(most - HEADER_BYTES, most // 2)))
        ]
        self._busy += time.perf_counter() - began
        return made

    async def _shadows(
        self, part: Part, matrix: Matrix, batch_id: str, deadline: float
    ) -> ShadowAnswers:
        """What the shadows say to the batches that are chosen for them."""
        if not chosen(batch_id, part.spec.shadow.share):
            return []
        try:
            live = self._versions.live(part.model)  # who was let go is not loaded for the log
            champion = live.champion if live is not None else None
            if live is None or champion is None or champion.manifest.version != part.version:
                return []  # a shadow is judged against the champion, on rows the champion answered
            if asyncio.get_running_loop().time() < deadline:
                begun = begin(live.shadows, part.spec, matrix)
            else:  # an answer now would be late, whoever gives it: that is no shadow's fault
                begun = [(shadow, "no_time") for shadow in live.shadows]
            return await finish(begun, part.spec, len(matrix), deadline)
        except Exception:  # rows are logged without them
            log.exception("%s: the shadows could not be asked", part.model)
            return []

    def _message(self, model: str, batch: pa.RecordBatch, msg_id: str) -> Outgoing:
        subject, source = subjects.scored(model), self._bus.service
        with traces.entering("log answers", model=model, rows=batch.num_rows) as span:
            origin = Origin(traceparent=span.traceparent)
        return batch_message(
            subject, batch, kind="scored", source=source, msg_id=msg_id, origin=origin
        )

    async def _say(self, message: Outgoing) -> str:
        """Publish until it is acknowledged; why it was dropped, or an empty text."""
        while True:
            try:
                await self._bus.publish([message])
            except Reject as error:
                log.warning("answered rows are not logged: %s", error)
                return "refused"
            except Retry as error:  # full, or away: what comes meanwhile waits, up to the bounds
                log.warning("answered rows wait for the log: %s", error)
                await asyncio.sleep(error.delay)
            except Exception:
                log.exception("%s: answered rows are not logged", message.subject)
                return "failed"
            else:
                return ""

    def _settle(self, part: Part, rows: int, dropped: str) -> None:
        self._backlog.settle(part.model, rows)
        if dropped:
            self._drop(part.model, dropped, rows)
        else:
            LOGGED.labels(part.model).inc(rows)


async def _either(
    stopping: asyncio.Task[bool], other: Awaitable[object], seconds: float | None = None
) -> None:
    """Wait for one of both, `seconds` at most."""
    waiter = asyncio.ensure_future(other)
    await asyncio.wait((stopping, waiter), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
