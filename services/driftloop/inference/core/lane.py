"""The queue of one model: whatever waits when the session is free is one run.

There is no timer. A request that comes after a rest runs where it is submitted; under load a turn
of the event loop brings many, and they share one run. A run that takes long is made in a thread,
and what comes meanwhile is the next one.
"""

import asyncio
import logging
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import repeat
from typing import Final

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    Overloaded,
    Retry,
)
from driftloop.inference.core.away import Away, Ran, timed
from driftloop.inference.core.cache import AnswerCache, keep
from driftloop.inference.core.call import Call, Served, apart, flat, joined, packed
from driftloop.inference.core.finite import all_finite, best_of, finite
from driftloop.inference.core.meters import METERS
from driftloop.inference.core.queue import Bounds, Queue
from driftloop.inference.domain.prediction import NoAnswer

log = logging.getLogger(__name__)

INLINE_MICROS: Final = 500.0
"""A run that is expected to take longer is made in a thread, unless the loop is so busy that the
answers would wait there longer than the run takes."""

REST_SECONDS: Final = 0.001
"""After so long without an answer a request is taken for a lone one, and runs at once."""

FORGET: Final = 0.99
"""What is left of a lag after a run that was made in the loop because of it."""

Log = Callable[[Served, Matrix, Matrix, Sequence[Call], float], None]
"""Hears of every run: who answered, the rows, the answers, the calls, and when it was done."""


class Lane:
    """Calls for one model (or one version of it) on their way through its session."""

    def __init__(
        self,
        name: str,
        who: Callable[[], Served | None],
        bounds: Bounds,
        heard: Log,
        threads: Executor,
        cache: AnswerCache | None = None,
        rest: float = REST_SECONDS,
    ) -> None:
        self._cache = cache
        self._rest = rest
        self._name = name
        self.who = who
        """Who answers now, or None."""
        self._heard = heard
        self._away = Away(threads)
        self._loop = asyncio.get_running_loop()
        self.queue = Queue(name, bounds)
        self._lag = 0.0
        """Seconds that the last run in a thread waited for the loop to take its answers."""
        self._answered = 0.0
        """When the last answers were given, by `time.perf_counter`."""
        self.busy = False
        """Whether calls are on their way."""

    def submit(self, call: Call) -> None:
        """Queue a call, which may be answered before this returns; raises `Overloaded`."""
        self.queue.add(call)
        if not self.busy:
            self.busy = True
            if call.queued - self._answered > self._rest:
                self._turn()
            else:
                self._loop.call_soon(self._turn)

    def full(self) -> bool:
        """Whether another row would be refused: asked before the trouble of reading a request.

        If it would, a run may have ended that the loop has not heard of, and it is not any more.
        """
        if self.queue.full:
            self._away.look()
        return self.queue.full

    def overloaded(self) -> Overloaded:
        """The error for a caller who comes when the queue is full."""
        return self.queue.overloaded()

    def _turn(self) -> None:
        """Run what waits, at most `run_rows` rows of it."""
        calls, late = self.queue.take()
        self._refuse_all(late, DeadlineExceeded(f"{self._name}: the deadline passed in the queue"))
        in_thread = False
        try:
            in_thread = self._serve(calls)
        except Exception as error:  # a bug of ours: without this the lane would stand still
            log.exception("%s: a run went wrong", self._name)
            self._refuse_all(calls, error)
        finally:
            if not in_thread:
                self._again()

    def _serve(self, calls: list[Call]) -> bool:
        """Answer or refuse each call; whether that goes on in a thread."""
        served = self.who()
        if served is None:
            self._refuse_all(calls, Retry(f"{self._name}: nobody answers now", delay=1.0))
            return False
        if not calls:
            return False
        if self._cache is not None:
            calls = apart(calls)
        calls, matrix = self._together(served, calls)
        if self._cache is not None and calls:
            calls, matrix = self._known(self._cache, served, calls, matrix)
        return bool(calls) and self._run(served, calls, matrix)

    def _again(self) -> None:
        self.busy = bool(self.queue)
        if self.busy:
            self._loop.call_soon(self._turn)

    def _together(self, served: Served, calls: list[Call]) -> tuple[list[Call], Matrix]:
        """The rows of all calls, after those that break the contract were refused one by one."""
        plan = served.plan
        if not [call for call in calls if call.plan is not plan]:
            try:
                numbers = flat(calls)
                matrix = packed(numbers, plan.width) if numbers else joined(calls, plan.width)
            except (OverflowError, struct.error, TypeError, ValueError):
                pass  # a number does not fit float32, or a call is broken: it is found below
            else:
                if (numbers and plan.takes(numbers)) or plan.fits(matrix):
                    return calls, matrix
        good = [call for call in apart(calls) if self._fits(served, call)]
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

    def _known(
        self, cache: AnswerCache, served: Served, calls: list[Call], matrix: Matrix
    ) -> tuple[list[Call], Matrix]:
        """Answer what was asked before; the rest has to be run."""
        left: list[Call] = []
        at = 0
        for call in calls:
            end = at + call.rows
            kept = cache.get(served, matrix[at:end])
            if kept is None:
                left.append(call)
            else:
                self._tell(served, [call], matrix[at:end], kept.answers, kept.best)
            at = end
        if len(left) == len(calls):
            return calls, matrix
        return left, joined(left, served.plan.width) if left else matrix_of_none(matrix.shape[1])

    def _run(self, served: Served, calls: list[Call], matrix: Matrix) -> bool:
        """Run and answer; whether it goes on in a thread."""
        session = served.champion.session
        micros = self.queue.expected(session.cost, len(matrix))
        if micros > max(INLINE_MICROS, self._lag * 1e6):
            self.queue.running = len(matrix)
            self._away.begin(session, matrix, partial(self._ran, served, calls, matrix))
            return True
        self._lag *= FORGET
        try:
            ran = timed(session, matrix)
        except Exception as error:
            self._failed(served, calls, error)
        else:
            self.queue.took(session.cost, len(matrix), ran.ended - ran.began)
            self._answer(served, calls, matrix, ran)
        return False

    def _ran(
        self, served: Served, calls: list[Call], matrix: Matrix, ran: Ran | BaseException
    ) -> None:
        """A run in a thread has ended. The next one begins before these answers are written."""
        self.queue.running = 0
        if isinstance(ran, Ran):
            self._lag = time.perf_counter() - ran.ended
            self.queue.took(served.champion.session.cost, len(matrix), ran.ended - ran.began)
        self._turn()
        if isinstance(ran, Ran):
            self._answer(served, calls, matrix, ran)
        else:
            self._failed(served, calls, ran)

    def _answer(self, served: Served, calls: list[Call], matrix: Matrix, ran: Ran) -> None:
        answers = ran.answers
        if not all_finite(answers):
            calls, matrix, answers, broken = finite(served, apart(calls), matrix, answers)
            for call, error in broken:
                self._refuse_all([call], error)
            if not calls:
                return
        best = best_of(answers) if served.plan.spec.target.classes else []
        if self._cache is not None:
            keep(self._cache, served, calls, matrix, answers, best)
        self._tell(served, calls, matrix, answers, best, (ran.began, ran.ended))

    def _tell(
        self,
        served: Served,
        calls: list[Call],
        matrix: Matrix,
        answers: Matrix,
        best: list[int],
        times: tuple[float, float] | None = None,
    ) -> None:
        """Give each call its answers; `times` are begin and end of the run, if there was one."""
        if len(calls) == len(matrix):
            for call, row, top in zip(calls, answers.tolist(), best or repeat(0), strict=False):
                try:
                    call.answered_one(served, row, top)
                except Exception as error:
                    self._not_told(call, error)
        else:
            at = 0
            for call in calls:
                end = at + call.rows
                try:
                    call.answered(served, answers[at:end], best[at:end])
                except Exception as error:
                    self._not_told(call, error)
                at = end
        self._answered = ended = time.perf_counter()
        began, ran = times or (ended, ended)
        METERS.ran(calls, began, ran, ended)
        try:
            self._heard(served, matrix, answers, calls, ended)
        except Exception:  # or the lane would stand still
            log.exception("%s: answers could not be logged", self._name)

    def _not_told(self, call: Call, error: Exception) -> None:
        """A bug in one answer must not cost the others theirs."""
        log.exception("%s: an answer could not be written", self._name)
        self._refuse_all([call], error)

    def _failed(self, served: Served, calls: list[Call], error: BaseException) -> None:
        version = served.champion.manifest.version
        why = NoAnswer(f"model: version {version} of {served.plan.spec.name} failed: {error}")
        self._refuse_all(calls, why)

    def _refuse_all(self, calls: list[Call], error: Exception) -> None:
        for call in calls:
            try:
                call.refused(error)
            except Exception:
                log.exception("%s: an error could not be told", self._name)


def matrix_of_none(width: int) -> Matrix:
    """No rows."""
    return np.empty((0, width), dtype=np.float32)
