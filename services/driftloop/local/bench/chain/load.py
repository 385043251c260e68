"""The producer of the chain, as a process: batches at a rate, and when each came out again.

A batch of rows is sent at its time whatever became of those before it, as the world does not wait;
its labels follow a second later. Its first event id says which batch a scored message was made of.
In a spike the producer is a good client instead: a batch that is refused is sent again until it is
taken, and those after it wait.
"""

import asyncio
import sys
import time
from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import uvloop

from driftloop.bus.bus import Bus
from driftloop.client.sending import insist
from driftloop.contracts import batches, headers, requests, subjects
from driftloop.contracts.batches import LABELS
from driftloop.contracts.errors import DriftloopError, Reject, Retry
from driftloop.local.bench.bodies import NAMES
from driftloop.local.bench.samples import quantile

LABELS_AFTER: Final = 1.0
"""Seconds from a row to its label."""
DISTINCT: Final = 32
ASK_SECONDS: Final = 5.0
MOST_UNDER_WAY: Final = 256
"""Requests to ingest at a time: above it the producer is held up, and falls behind its schedule."""


SPIKE_UNDER_WAY: Final = 512
"""More than ingest takes: it has to say so."""


class ChainJob(msgspec.Struct, frozen=True, kw_only=True):
    """Send to `model` over `url` batches of `rows` rows, `rate` rows a second, for `seconds`."""

    url: str
    model: str
    rate: float
    rows: int
    seconds: float
    run: str
    drain: float
    """Seconds after which everything has to be out, or it is late."""
    keys: str = ""
    user: str = ""
    """Who logs in, with a key of the folder `keys`."""
    spike: bool = False
    """More than can be taken: send what is, and end by the clock."""
    bad: float = 0.0
    """Share of rows that break the contract."""
    corrupt: int = 0
    """Beside every so many batches goes one that cannot be read; 0: none."""


class ChainTold(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent and came out: rows, latencies from sent to scored (ms), backlogs (rows)."""

    sent: int
    scored: int
    joined: int
    refused: int
    again: int
    """How often a batch of a spike was told to come again."""
    p50_ms: float
    p99_ms: float
    backlogs: list[int]
    """Rows sent and not scored, at the end of each second."""
    drain_seconds: float
    """From the last row sent until all were scored and joined; infinite if they were not."""
    behind_seconds: float
    client_cores: float
    bad: int = 0
    """Rows sent that break the contract."""
    corrupt: int = 0
    """Batches that could not be read, and were refused."""


class Producer:
    """Sends, and hears what comes out."""

    def __init__(self, job: ChainJob, bus: Bus) -> None:
        self._job = job
        self._bus = bus
        self._sent: dict[str, float] = {}
        self._latencies: list[float] = []
        self._rows = self._scored = self._joined = self._refused = self._again = 0
        self._bad = self._corrupt = 0
        self._rows_end = False
        self._moved = asyncio.Event()
        self._under_way = asyncio.Semaphore(SPIKE_UNDER_WAY if job.spike else MOST_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind = 0.0
        some = np.random.default_rng(1)
        matrix = some.normal(size=(DISTINCT, job.rows, len(NAMES)))
        broken = some.random((DISTINCT, job.rows)) < job.bad
        matrix[broken, 0] = np.inf
        self._broken = broken.sum(axis=1).tolist()
        self._columns = [
            [pa.array(part[:, at].astype(np.float32)) for at in range(len(NAMES))]
            for part in matrix
        ]
        self._numbers = [f"-{row}" for row in range(job.rows)]

    async def run(self) -> ChainTold:
        """All of it."""
        model, began, cpu = self._job.model, time.perf_counter(), time.process_time()
        await self._bus.hear(subjects.scored(model), self._hear_scored)
        await self._bus.hear(subjects.outcomes(model), self._hear_joined)
        await self._bus.connection.nc.flush()
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(self._send("rows", 0.0), self._send("labels", LABELS_AFTER))
        last = time.perf_counter()
        cores = (time.process_time() - cpu) / (last - began)
        watch.cancel()
        drained = await self._drained(last)
        self._latencies.sort()
        return ChainTold(
            sent=self._rows,
            scored=self._scored,
            joined=self._joined,
            refused=self._refused,
            again=self._again,
            p50_ms=1e3 * quantile(self._latencies, 0.5),
            p99_ms=1e3 * quantile(self._latencies, 0.99),
            backlogs=self._backlogs,
            drain_seconds=drained,
            behind_seconds=self._behind,
            client_cores=cores,
            bad=self._bad,
            corrupt=self._corrupt,
        )

    async def _send(self, what: str, after: float) -> None:
        job = self._job
        began = time.perf_counter() + after
        subject = requests.send(job.model, "rows" if what == "rows" else "labels")
        for number, at in self._schedule(began):
            wait = at - time.perf_counter()
            self._behind = max(self._behind, -wait)
            if wait > 0:
                await asyncio.sleep(wait)
            if job.spike and await self._over(what, number, began):
                break
            await self._under_way.acquire()
            name = f"{job.run}-{number}"
            batch = self._batch(name, number) if what == "rows" else self._labels(name, number)
            if what == "rows":
                self._sent[name] = time.perf_counter()
                self._rows += job.rows
                self._bad += self._broken[number % DISTINCT]
                self._moved.set()
            payload = batches.encode(batch)
            self._begin(self._ask(subject, name, payload))
            if what == "rows" and job.corrupt and number % job.corrupt == 0:
                self._begin(self._ask_corrupt(subject, f"{name}-corrupt", payload[::-1]))
        if what == "rows":
            self._rows_end = True
            self._moved.set()

    def _begin(self, asking: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _over(self, what: str, number: int, began: float) -> bool:
        """Whether a spike has ended: by the clock, or there are labels of all rows."""
        if what == "rows":
            return time.perf_counter() - began > self._job.seconds
        while number * self._job.rows >= self._rows and not self._rows_end:
            self._moved.clear()
            await self._moved.wait()
        return number * self._job.rows >= self._rows

    def _schedule(self, began: float) -> Iterator[tuple[int, float]]:
        job = self._job
        each = job.rows / job.rate
        for number in count():
            if number * each >= job.seconds:
                return
            yield number, began + number * each

    async def _ask(self, subject: str, name: str, payload: bytes) -> None:
        sent = {"content-type": headers.ARROW, requests.BATCH_ID: name}

        async def ask() -> None:
            try:
                await self._bus.ask(subject, payload, headers=sent, timeout=ASK_SECONDS)
            except Retry:
                self._again += 1
                raise

        try:
            await (insist(ask, self._job.drain) if self._job.spike else ask())
        except DriftloopError:
            self._refused += self._job.rows
        finally:
            self._under_way.release()

    async def _ask_corrupt(self, subject: str, name: str, payload: bytes) -> None:
        """Send what cannot be read; to be refused is its only good end."""
        sent = {"content-type": headers.ARROW, requests.BATCH_ID: name}
        try:
            await self._bus.ask(subject, payload, headers=sent, timeout=ASK_SECONDS)
        except Reject:
            self._corrupt += 1

    def _batch(self, name: str, number: int) -> pa.RecordBatch:
        now = pa.array(np.full(self._job.rows, int(time.time() * 1000)), pa.int64())
        times = now.cast(pa.timestamp("ms", tz="UTC"))
        columns = [self._ids(name), times, *self._columns[number % DISTINCT]]
        return pa.RecordBatch.from_arrays(columns, names=["event_id", "event_time", *NAMES])

    def _labels(self, name: str, number: int) -> pa.RecordBatch:
        told = pa.array(["1" if (row + number) % 3 == 0 else "0" for row in range(self._job.rows)])
        now = pa.array(np.full(self._job.rows, int(time.time() * 1000)), pa.int64())
        columns = [self._ids(name), told, now.cast(LABELS.field(2).type)]
        return pa.RecordBatch.from_arrays(columns, schema=LABELS)

    def _ids(self, name: str) -> pa.Array:
        return pa.array([name + number for number in self._numbers])

    async def _hear_scored(self, message: Any) -> None:
        now = time.perf_counter()
        batch = batches.decode(message.data)
        name, _, _ = batch.column(0)[0].as_py().rpartition("-")
        sent = self._sent.pop(name, None)
        if sent is not None:
            self._latencies.append(now - sent)
        self._scored += batch.num_rows

    async def _hear_joined(self, message: Any) -> None:
        self._joined += int(message.headers[headers.ROWS])

    async def _watch(self) -> None:
        self._backlogs: list[int] = []
        while True:
            await asyncio.sleep(1.0)
            self._backlogs.append(self._rows - self._bad - self._scored)

    async def _drained(self, last: float) -> float:
        """Seconds until all is out; infinite if that takes longer than the job allows."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        while min(self._scored, self._joined) < self._rows - self._bad - self._refused:
            if time.perf_counter() - last > self._job.drain:
                return float("inf")
            await asyncio.sleep(0.02)
        return time.perf_counter() - last


async def main() -> None:
    """Do the job on standard input; what came of it on standard output."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=ChainJob)
    bus = await Bus.open(job.url, "producer", keys=job.keys, user=job.user)
    told = await Producer(job, bus).run()
    sys.stdout.buffer.write(msgspec.msgpack.encode(told))
    await bus.close()


if __name__ == "__main__":
    uvloop.run(main())
