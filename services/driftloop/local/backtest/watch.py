"""How long a backtest took, and how much of that went into fits and gates."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds since it was made, on the wall and of this process, and those spent `aside`."""

    def __init__(self) -> None:
        self._began = (time.perf_counter(), time.process_time())
        self._aside = (0.0, 0.0)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done here is training or a gate."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            more = (time.perf_counter() - wall, time.process_time() - cpu)
            self._aside = (self._aside[0] + more[0], self._aside[1] + more[1])

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
