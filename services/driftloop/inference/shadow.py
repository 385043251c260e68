"""A shadow answers in a thread of its own, one batch at a time, and never holds up the champion."""

import asyncio
import contextlib
import queue
import threading
from typing import NamedTuple

from driftloop.contracts.batches import Matrix
from driftloop.contracts.events import Manifest
from driftloop.inference.domain.lineup import Answers


class Job(NamedTuple):
    """A batch for the shadow, and where its answers go."""

    matrix: Matrix
    answers: asyncio.Future[Matrix]


class Shadow:
    """One version that answers beside the champion."""

    def __init__(self, manifest: Manifest, session: Answers) -> None:
        self.manifest = manifest
        self._session = session
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._last: asyncio.Future[Matrix] | None = None
        self._closed = False
        # A daemon, since a model that hangs cannot be stopped and must not keep the process alive.
        thread = threading.Thread(
            target=self._work, name=f"shadow-v{manifest.version}", daemon=True
        )
        thread.start()

    def begin(self, matrix: Matrix) -> asyncio.Future[Matrix] | None:
        """Start on a batch; None while the one before is still being worked on."""
        if self._closed or (self._last is not None and not self._last.done()):
            return None
        self._last = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(matrix, self._last))
        return self._last

    def close(self) -> None:
        """Take no more batches; the thread ends after the present one."""
        self._closed = True
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                answers = self._session.run(job.matrix)
            except Exception as error:
                self._tell(job, None, error)
            else:
                self._tell(job, answers, None)

    def _tell(self, job: Job, answers: Matrix | None, error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            job.answers.get_loop().call_soon_threadsafe(_resolve, job.answers, answers, error)


def _resolve(
    future: asyncio.Future[Matrix], answers: Matrix | None, error: Exception | None
) -> None:
    if future.done():
        return
    if answers is not None:
        future.set_result(answers)
        return
    future.set_exception(error or RuntimeError("no answer"))
    future.exception()  # whoever waited may have gone; asyncio need not say that nobody looked
