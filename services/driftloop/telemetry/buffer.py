"""Rows wait here for each other, so that ClickHouse gets few large inserts, not many small ones.

A write returns when its rows are in ClickHouse, and only then is the message acknowledged: what
waits here when the process dies is delivered again.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from driftloop.contracts.errors import Overloaded, Reject, Retry
from driftloop.runtime import metrics, traces
from driftloop.telemetry.domain.rows import Rows
from driftloop.telemetry.engine import Engine

log = logging.getLogger(__name__)

ROWS = metrics.counter("telemetry_rows", "Rows inserted, copies included", ["table"])
INSERTS = metrics.counter("telemetry_inserts", "Inserts made", ["table"])
FAILED = metrics.counter("telemetry_failed_inserts", "Inserts that failed", ["table"])
SECONDS = metrics.histogram("telemetry_insert_seconds", "Duration of an insert", ["table"])
WAITING = metrics.gauge("telemetry_waiting_bytes", "Bytes that wait for an insert")

HURRY_SECONDS: Final = 0.05
"""How long rows wait for others while there is a backlog: it fills the inserts by itself."""


class Write(NamedTuple):
    """Rows of some messages, and who waits for them; the result is a reason a refused message.

    `traced` has the trace contexts of the messages of each of `rows`, or nothing at all.
    """

    rows: Sequence[Rows]
    done: asyncio.Future[list[str]]
    traced: Sequence[Sequence[str]] = ()


class Buffer:
    """Gathers writes and inserts them a table at a time."""

    def __init__(self, engine: Engine, *, rows: int, seconds: float, limit: int) -> None:
        self._engine = engine
        self._most_rows = rows
        self._seconds = seconds
        self._limit = limit
        self._waiting: list[Write] = []
        self._rows = 0
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._flushes: set[asyncio.Task[bool]] = set()
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether so much waits that messages have to stay in the log."""
        return self._bytes >= self._limit

    async def room(self, seconds: float) -> None:
        """Wait until the buffer is not full; raises `Overloaded` after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.full:  # again, when others that waited were first
                    await self._room.wait()
        self._check()

    async def write(
        self, rows: Sequence[Rows], traced: Sequence[Sequence[str]] = (), *, hurry: bool = False
    ) -> list[str]:
        """Wait until `rows` are in ClickHouse; why each one was refused, or an empty text.

        `traced` is as in `Write`.
        Raises `Overloaded` when the buffer is full and `Retry` when ClickHouse is away.
        """
        if not rows:
            return []
        self._check()
        done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Write(rows, done, traced))
        self._rows += sum(batch.num_rows for _, batch in rows)
        self._weigh(sum(batch.nbytes for _, batch in rows))
        self._arm(min(HURRY_SECONDS, self._patience()) if hurry else self._patience())
        return await done

    async def flush(self) -> bool:
        """Insert all that waits; those who wait for it hear how it went. True if it went well."""
        async with self._turn:
            taken, self._waiting, self._rows, self._due = self._waiting, [], 0, math.inf
            try:
                reasons = await self._insert_all(taken)
            except Exception as error:
                for write in taken:
                    if not write.done.done():
                        write.done.set_exception(error)
                return False
            finally:
                self._weigh(-sum(b.nbytes for w in taken for _, b in w.rows))
                if self._waiting:
                    self._schedule()
            for write, said in zip(taken, reasons, strict=True):
                if not write.done.done():
                    write.done.set_result(said)
            return True

    def _check(self) -> None:
        if self.full:
            raise Overloaded(f"{self._bytes >> 20} MB wait for ClickHouse", delay=2.0)

    def _patience(self) -> float:
        """Seconds to wait for more rows: the more there are, the less is gained by others."""
        share = max(self._rows / self._most_rows, self._bytes / self._limit)
        return self._seconds * max(0.0, 1.0 - share) ** 2

    def _weigh(self, added: int) -> None:
        self._bytes += added
        if self.full:
            self._room.clear()
        else:
            self._room.set()
        WAITING.set(self._bytes)

    def _arm(self, seconds: float) -> None:
        due = asyncio.get_running_loop().time() + seconds
        if due < self._due:
            self._due = due
            self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._due, self._start)

    def _start(self) -> None:
        self._timer = None
        if self._turn.locked():
            return  # what is under way schedules the next when it is done
        task = asyncio.get_running_loop().create_task(self.flush())
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _insert_all(self, taken: Sequence[Write]) -> list[list[str]]:
        reasons = [[""] * len(write.rows) for write in taken]
        tables: dict[str, list[tuple[int, int, pa.RecordBatch]]] = {}
        for at, write in enumerate(taken):
            for place, (table, batch) in enumerate(write.rows):
                tables.setdefault(table, []).append((at, place, batch))
        for table, found in tables.items():
            inputs = [t for at, place, _ in found for t in _traced(taken[at], place)]
            rows = sum(batch.num_rows for _, _, batch in found)
            with traces.span(f"INSERT {table}", *inputs, kind="client", rows=rows):
                said = await self._insert(table, [batch for _, _, batch in found])
            for (at, place, _), reason in zip(found, said, strict=True):
                reasons[at][place] = reason
        return reasons

    async def _insert(self, table: str, found: Sequence[pa.RecordBatch]) -> list[str]:
        """One insert; if a value is refused, one a message, so that only the guilty one is lost."""
        started = time.perf_counter()
        try:
            rows = pa.Table.from_batches(found)
            if rows.num_rows:
                await self._engine.insert(table, rows)
        except (Reject, pa.ArrowInvalid) as error:
            FAILED.labels(table).inc()
            if len(found) == 1:
                return [str(error)]
            log.warning("%s: refused rows of %d messages: %s", table, len(found), error)
            return [(await self._insert(table, [batch]))[0] for batch in found]
        except Retry:
            FAILED.labels(table).inc()
            raise
        ROWS.labels(table).inc(rows.num_rows)
        INSERTS.labels(table).inc()
        SECONDS.labels(table).observe(time.perf_counter() - started)
        return [""] * len(found)


def _traced(write: Write, place: int) -> Sequence[str]:
    return write.traced[place] if write.traced else ()
