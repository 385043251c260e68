"""The queue of one model: whatever waits when the session is free is one run.

There is no timer. A lone request runs in the turn of the event loop that brought it; under load a
turn brings many, and they share one run. A run that takes long is made in a thread, and what comes
meanwhile is the next one.
"""

import asyncio
import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    InvalidInput,
    Overloaded,
    Retry,
)
from driftloop.inference.core.call import Call, Served, joined
from driftloop.inference.core.meters import METERS
from driftloop.inference.domain.prediction import NoAnswer
from driftloop.inference.domain.scored import infinite_rows

log = logging.getLogger(__name__)

INLINE_MICROS: Final = 500.0
"""A run that is expected to take longer is made in a thread, which costs about a fifth of it."""

Log = Callable[[Served, Matrix, Matrix, Sequence[Call], float], None]
"""Hears of every run: who answered, the rows, the answers, the calls, and when it was done."""


class Bounds:
    """Bounds of a queue: rows in it, rows of one run, and seconds a request may wait in it."""

    def __init__(self, queue_rows: int, run_rows: int, queue_seconds: float) -> None:
        self.queue_rows = queue_rows
        self.run_rows = run_rows
        self.queue_seconds = queue_seconds


class Lane:
    """Calls for one model (or one version of it) on their way through its session."""

    def __init__(
        self,
        name: str,
        who: Callable[[], Served | None],
        bounds: Bounds,
        heard: Log,
        threads: Executor,
    ) -> None:
        self._name = name
        self._who = who
        self._bounds = bounds
        self._heard = heard
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._calls: deque[Call] = deque()
        self._rows = 0
        self._due = False
        self._pace = 0.0
        """Seconds a row, from the last runs."""

    def submit(self, call: Call) -> None:
        """Queue a call; raises `Overloaded` when the queue is full."""
        rows = self._rows + call.rows
        most = self._bounds
        too_many = rows > most.queue_rows or rows * self._pace > most.queue_seconds
        if too_many and (self._calls or call.rows > most.queue_rows):
            self._refuse(call.rows)
        self._rows = rows
        self._calls.append(call)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    @property
    def full(self) -> bool:
        """Whether another row would be refused: asked before the trouble of reading a request."""
        most = self._bounds
        return self._rows >= most.queue_rows or self._rows * self._pace > most.queue_seconds

    def overloaded(self) -> Overloaded:
        """The error for a caller who comes when the queue is full."""
        wait = min(30.0, max(1.0, self._rows * self._pace))
        return Overloaded(f"{self._name}: {self._rows} rows wait; try again later", delay=wait)

    def _refuse(self, rows: int) -> None:
        if rows > self._bounds.queue_rows:
            raise InvalidInput(
                f"rows: {rows} in one request; accepted: at most {self._bounds.queue_rows}"
            )
        raise self.overloaded()

    def _turn(self) -> None:
        """Run what waits, at most `run_rows` rows of it."""
        calls = self._take()
        served = self._who()
        if served is None:
            self._refuse_all(calls, Retry(f"{self._name}: nobody answers now", delay=1.0))
        elif calls:
            calls, matrix = self._together(served, calls)
            if calls and self._run(served, calls, matrix):
                return
        self._again()

    def _again(self) -> None:
        self._due = bool(self._calls)
        if self._due:
            self._loop.call_soon(self._turn)

    def _take(self) -> list[Call]:
        if self._rows <= self._bounds.run_rows:
            calls = list(self._calls)
            self._calls.clear()
            self._rows = 0
        else:
            calls, taken = [], 0
            while self._calls and (
                not calls or taken + self._calls[0].rows <= self._bounds.run_rows
            ):
                call = self._calls.popleft()
                taken += call.rows
                calls.append(call)
            self._rows -= taken
        if any(call.deadline for call in calls):
            calls = self._in_time(calls)
        return calls

    def _in_time(self, calls: list[Call]) -> list[Call]:
        now = time.perf_counter()
        late = [call for call in calls if 0 < call.deadline < now]
        if late:
            self._refuse_all(
                late, DeadlineExceeded(f"{self._name}: the deadline passed in the queue")
            )
            calls = [call for call in calls if not 0 < call.deadline < now]
        return calls

    @property
    def busy(self) -> bool:
        """Whether calls are on their way."""
        return self._due

    def _together(self, served: Served, calls: list[Call]) -> tuple[list[Call], Matrix]:
        """The rows of all calls, after those that break the contract were refused one by one."""
        plan = served.plan
        if all(call.plan is plan for call in calls):
            try:
                matrix = joined(calls, plan.width)
            except (OverflowError, struct.error, TypeError, ValueError):
                pass  # a number does not fit float32, or a call is broken: it is found below
            else:
                if plan.fits(matrix):
                    return calls, matrix
        good = [call for call in calls if self._fits(served, call)]
        return good, joined(good, plan.width) if good else matrix_of_none(plan.width)

    def _fits(self, served: Served, call: Call) -> bool:
        plan = served.plan
        try:
            if call.plan is not plan and call.plan.revision != plan.revision:
                raise Retry(f"{self._name}: the spec has just changed; try again", delay=1.0)
            matrix = call.thorough()
            if not plan.fits(matrix):
                plan.check(matrix)
            call.values = matrix
        except Exception as error:
            if not isinstance(error, DriftloopError):  # a bug must not cost the others theirs
                log.exception("%s: a request could not be checked", self._name)
            self._refuse_all([call], error)
            return False
        return True

    def _run(self, served: Served, calls: list[Call], matrix: Matrix) -> bool:
        """Run and answer; whether it goes on in a thread."""
        began = time.perf_counter()
        session = served.champion.session
        if session.cost.micros(len(matrix)) < INLINE_MICROS:
            try:
                answers = session.run(matrix)
            except Exception as error:
                self._failed(served, calls, error)
            else:
                self._answer(served, calls, matrix, answers, began)
            return False
        future = self._loop.run_in_executor(self._threads, session.run, matrix)
        future.add_done_callback(lambda done: self._ran(served, calls, matrix, began, done))
        return True

    def _ran(
        self,
        served: Served,
        calls: list[Call],
        matrix: Matrix,
        began: float,
        done: "asyncio.Future[Matrix]",
    ) -> None:
        try:
            answers = done.result()
        except (Exception, asyncio.CancelledError) as error:
            self._failed(served, calls, error)
        else:
            self._answer(served, calls, matrix, answers, began)
        self._again()

    def _answer(
        self,
        served: Served,
        calls: list[Call],
        matrix: Matrix,
        answers: Matrix,
        began: float,
    ) -> None:
        ran = time.perf_counter()
        rows = len(matrix)
        self._pace += 0.25 * ((ran - began) / rows - self._pace)
        if not np.isfinite(answers).all():
            calls, matrix, answers = self._finite(served, calls, matrix, answers)
            if not calls:
                return
        best = answers.argmax(axis=1).tolist() if served.plan.spec.target.classes else []
        at = 0
        for call in calls:
            end = at + call.rows
            try:
                call.answered(served, answers[at:end], best[at:end])
            except Exception as error:  # a bug in one answer must not cost the others theirs
                log.exception("%s: an answer could not be written", self._name)
                self._refuse_all([call], error)
            at = end
        METERS.ran(calls, began, ran)
        try:
            self._heard(served, matrix, answers, calls, ran)
        except Exception:  # or the lane would stand still
            log.exception("%s: answers could not be logged", self._name)

    def _finite(
        self, served: Served, calls: list[Call], matrix: Matrix, answers: Matrix
    ) -> tuple[list[Call], Matrix, Matrix]:
        """Refuse the calls whose answers hold a number that is not finite."""
        broken = infinite_rows(answers)
        keep = np.ones(len(answers), dtype=np.bool_)
        good: list[Call] = []
        at = 0
        for call in calls:
            end = at + call.rows
            if broken[at:end].any():
                keep[at:end] = False
                row = int(np.flatnonzero(broken[at:end])[0])
                version = served.champion.manifest.version
                self._refuse_all(
                    [call],
                    NoAnswer(
                        f"row {row}: version {version} of {served.plan.spec.name} answered "
                        f"{answers[at + row].tolist()}; expected: finite numbers"
                    ),
                )
            else:
                good.append(call)
            at = end
        return good, matrix[keep], answers[keep]

    def _failed(self, served: Served, calls: list[Call], error: BaseException) -> None:
        version = served.champion.manifest.version
        why = NoAnswer(f"model: version {version} of {served.plan.spec.name} failed: {error}")
        self._refuse_all(calls, why)

    def _refuse_all(self, calls: list[Call], error: Exception) -> None:
        for call in calls:
            METERS.refused(error)
            try:
                call.refused(error)
            except Exception:
                log.exception("%s: an error could not be told", self._name)


def matrix_of_none(width: int) -> Matrix:
    """No rows."""
    return np.empty((0, width), dtype=np.float32)
