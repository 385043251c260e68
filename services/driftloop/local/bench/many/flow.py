"""Rows of many models through ingest, validation and inference: none lost, each answered right."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered
from driftloop.client.sending import insist
from driftloop.contracts import requests
from driftloop.contracts.batches import encode
from driftloop.contracts.batches import matrix_of as matrix
from driftloop.contracts.headers import ARROW
from driftloop.local.bench.answers import TOLERANCE
from driftloop.local.bench.many.models import Known

SENDERS: Final = 16
WINDOW: Final = 64
"""Batches on their way at a time: what waits beyond them would be the bench's own queue."""
PATIENCE: Final = 120.0
"""Seconds a batch is tried."""
SILENCE: Final = 20.0
"""Seconds without a scored row after which the rest is given up for lost."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them; `ms` from the send to SCORED, of each batch, by the row."""

    sent: int
    scored: int
    twice: int
    lost: int
    wrong: int
    unanswered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    problem: str = ""


class Ledger:
    """What was sent, and what came of it."""

    def __init__(self, models: Iterable[Known]) -> None:
        self._models = {model.name: model for model in models}
        self._sent: dict[str, tuple[float, int]] = {}
        self._seen: dict[str, int] = {}
        self._ms: list[tuple[float, int]] = []
        self._wrong = self._unanswered = self._twice = 0
        self._problem = ""
        self.left = 0
        """Batches sent of which not every row is scored."""
        self.free = asyncio.Semaphore(WINDOW)

    def sending(self, batch: str, rows: int) -> None:
        """A batch is sent now."""
        self._sent[batch] = (time.time(), rows)
        self.left += 1

    def heard(self, message: Delivered) -> None:
        """Rows were scored."""
        batch = message.batch()
        ids = batch.column("event_id").to_pylist()
        whose = ids[0].partition(":")[0]
        if whose not in self._sent:
            return  # answered on request, or of somebody else
        began, rows = self._sent[whose]
        before = self._seen.get(whose, 0)
        self._seen[whose] = before + len(ids)
        self._ms.append((1e3 * (message.time - began), len(ids)))
        self._twice += max(0, before + len(ids) - rows)
        if before < rows <= before + len(ids):
            self.left -= 1
            self.free.release()
        self._check(message.model, batch)

    def _check(self, name: str, batch: object) -> None:
        column = batch.column("answer")  # type: ignore[attr-defined]  # an Arrow batch
        if column.null_count:
            self._unanswered += column.null_count
            self._problem = f"{name}: {column.null_count} rows without an answer"
            return
        features = matrix(batch.column("features"))  # type: ignore[attr-defined]  # as above
        gap = np.abs(matrix(column)[:, 1] - self._models[name].expected(features))
        wrong = int((gap > TOLERANCE).sum())
        if wrong:
            self._wrong += wrong
            self._problem = f"{name}: differs from numpy by {gap.max():.2g}"

    def result(self, wanted: int, seconds: float) -> Flow:
        """The sums, of so many rows that were to be sent."""
        ms = np.repeat([ms for ms, _ in self._ms] or [0.0], [n for _, n in self._ms] or [1])
        scored = sum(self._seen.values())
        return Flow(
            sent=wanted,
            scored=scored,
            twice=self._twice,
            lost=wanted - (scored - self._twice),
            wrong=self._wrong,
            unanswered=self._unanswered,
            seconds=seconds,
            p50_ms=float(np.percentile(ms, 50)),
            p99_ms=float(np.percentile(ms, 99)),
            problem=self._problem,
        )


Piece = tuple[Known, str, int, int]
"""A model, the name of a batch, its rows, and the seed of its numbers."""


def pieces(models: Sequence[Known], rows: int, size: int, run: str) -> Iterator[Piece]:
    """Batches of `size` rows, `rows` for each model, the models in turn."""
    for first in range(0, rows, size):
        for model in models:
            count = min(size, rows - first)
            yield model, f"{run}-{model.name}-{first}", count, first


async def send(bus: Bus, ledger: Ledger, piece: Piece) -> None:
    """Send one batch until the log has it."""
    model, name, count, seed = piece
    ids = [f"{name}:{at}" for at in range(count)]
    payload = encode(model.batch(model.rows(count, seed), ids, int(time.time() * 1000)))
    headers = {"content-type": ARROW, requests.BATCH_ID: name}
    subject = requests.send(model.name, "rows")
    ledger.sending(name, count)
    await insist(
        lambda: bus.ask(subject, payload, headers=headers, timeout=PATIENCE), deadline=PATIENCE
    )


async def flow(bus: Bus, models: Sequence[Known], rows: int, size: int, run: str) -> Flow:
    """Send `rows` rows of each model in batches of `size`, and look at every scored one."""
    ledger, left = Ledger(models), pieces(models, rows, size, run)
    done, given_up = asyncio.Event(), asyncio.Event()
    start = await bus.log.last_seq("SCORED") + 1

    async def sender() -> None:
        for piece in left:
            await ledger.free.acquire()
            if given_up.is_set():
                ledger.free.release()
                return
            await send(bus, ledger, piece)

    async def listen() -> None:
        follow, heard = bus.follow("SCORED", ("scored.*.*",), start), time.monotonic()
        while not (done.is_set() and not ledger.left):
            for message in await follow.read(most=256, timeout=0.2):
                ledger.heard(message)
                heard = time.monotonic()
            if time.monotonic() - heard > SILENCE:
                given_up.set()
                ledger.free.release()
                break
        await follow.close()

    began = time.perf_counter()
    listening = asyncio.create_task(listen())
    async with asyncio.TaskGroup() as tasks:
        for _ in range(SENDERS):
            tasks.create_task(sender())
    done.set()
    await listening
    return ledger.result(rows * len(models), time.perf_counter() - began)
