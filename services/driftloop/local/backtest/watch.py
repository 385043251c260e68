"""How long a backtest took, and how much of that went into fits and gates."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Stopwatch:
    """Seconds since it was made, on the wall and of this process, and those spent `aside`."""

    def __init__(self) -> None:
        self._began = (time.perf_counter(), time.process_time())
        self._aside = (0.0, 0.0)
        self._beside = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done here is training or a gate; what is done `beside` it meanwhile is not."""
        wall, cpu = time.perf_counter(), time.process_time() - self._beside
        try:
            yield
        finally:
            more = (time.perf_counter() - wall, time.process_time() - self._beside - cpu)
            self._aside = (self._aside[0] + more[0], self._aside[1] + more[1])

    def beside(self, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Work of another thread, which belongs to no training or gate."""
        began = time.thread_time()
        try:
            return work(*args, **named)
        finally:
            with self._lock:
                self._beside += time.thread_time() - began

    @property
    def fitting(self) -> float:
        """Wall seconds of trainings and gates."""
        return self._aside[0]

    @property
    def playing(self) -> tuple[float, float]:
        """Wall and CPU seconds of everything else."""
        wall, cpu = time.perf_counter(), time.process_time()
        return (
            wall - self._began[0] - self._aside[0],
            cpu - self._began[1] - self._aside[1],
        )
