"""The transport-free core: a lane for each model, and the answers they give."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from driftloop.contracts.batches import Matrix
from driftloop.inference.core.awake import Awake
from driftloop.inference.core.cache import AnswerCache
from driftloop.inference.core.call import Answered, Call, CallBack, Served, into
from driftloop.inference.core.intake import Intake
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.queue import Bounds
from driftloop.inference.core.serving import Serving, new_ids
from driftloop.inference.domain.answered import Ids
from driftloop.inference.prediction_log import PredictionLog

THREADS: Final = 4
"""Long runs at a time, of different models."""


class Engine:
    """Takes calls of every protocol to the model they are for."""

    def __init__(
        self,
        serving: Serving,
        bounds: Bounds,
        log: PredictionLog,
        cache_bytes: int = 0,
        busy_poll: float = 0.0,
    ) -> None:
        self._awake = Awake(busy_poll) if busy_poll else None
        self._cache_bytes = cache_bytes
        self.serving = serving
        self.ids = new_ids()
        self.intake = Intake()
        self._bounds = bounds
        self._log = log
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="run")
        self._tasks: set[asyncio.Task[None]] = set()

    def here(self, model: str, version: int = 0) -> tuple[Lane, Served] | None:
        """The lane of a model (0: its champion) and who answers, if that is known already."""
        served = self.serving.now(model, version)
        if served is None:
            return None
        return self._lanes.get((model, version)) or self._new_lane(model, version), served

    async def lane_of(self, model: str, version: int = 0) -> tuple[Lane, Served]:
        """The same, after reading and loading what is needed; raises why nobody answers."""
        served = self.serving.now(model, version) or await self.serving.of(model, version)
        return self._lanes.get((model, version)) or self._new_lane(model, version), served

    async def answer(
        self,
        model: str,
        version: int,
        matrix: Matrix,
        *,
        ids: Sequence[str] = (),
        began: float,
        deadline: float = 0.0,
    ) -> Answered:
        """The answers to `matrix` (rows, features) float32; `began` by `time.perf_counter`."""
        lane, served = await self.lane_of(model, version)
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        call = CallBack(served.plan, matrix, len(matrix), next(self.ids), began, deadline)
        call.ids = ids
        call.done = into(future)
        lane.submit(call)
        return await future

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that a protocol cannot wait for; the task is kept until it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _new_lane(self, model: str, version: int) -> Lane:
        for key in [key for key in self._lanes if self.serving.now(*key) is None]:
            if not self._lanes[key].busy:
                del self._lanes[key]
        name = f"{model} version {version}" if version else model
        lane = Lane(
            name,
            self.serving.looker(model, version),
            self._bounds,
            self._ran,
            self._threads,
            AnswerCache(self._cache_bytes) if self._cache_bytes else None,
        )
        self._lanes[model, version] = lane
        return lane

    def _ran(
        self, served: Served, matrix: Matrix, answers: Matrix, calls: Sequence[Call], ended: float
    ) -> None:
        """Log what was answered: a row each, with its event id and latency."""
        if self._awake is not None:
            self._awake.keep()
        self.intake.answered(len(matrix), len(calls))
        plan = served.plan
        if not self._log.room(plan.spec.name, len(matrix)):
            return
        if len(calls) == len(matrix):
            ids: Sequence[Ids] = [call.ids[0] if call.ids else call.id for call in calls]
            seconds = [ended - call.began for call in calls]
        else:
            ids, seconds = several(calls, ended)
        self._log.add(plan.spec.name, plan.spec, served.champion, matrix, answers, ids, seconds)


def several(calls: Sequence[Call], ended: float) -> tuple[list[Ids], list[float]]:
    """Event ids and latencies of calls of several rows: one for each call that has one id."""
    ids: list[Ids] = []
    seconds: list[float] = []
    for call in calls:
        took = ended - call.began
        if call.ids:
            ids += call.ids
            seconds += [took] * call.rows
        else:
            ids.append(call.id if call.rows == 1 else (call.id, call.rows))
            seconds.append(took)
    return ids, seconds
