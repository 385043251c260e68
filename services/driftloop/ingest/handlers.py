"""Takes rows and labels in: read, prepare, publish, and say yes once the log has them."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final
from weakref import WeakValueDictionary

import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.bus.stored import Ack
from driftloop.contracts import subjects
from driftloop.contracts.batches import to_batch
from driftloop.contracts.errors import DriftloopError, InvalidInput, Overloaded, Retry
from driftloop.contracts.headers import Origin
from driftloop.contracts.names import new_id
from driftloop.contracts.requests import Accepted
from driftloop.contracts.subjects import LIVE, Lane
from driftloop.ingest import bodies
from driftloop.ingest.domain.labels import labels
from driftloop.ingest.domain.rows import named, pieces, usual_names
from driftloop.ingest.lanes import Lanes
from driftloop.ingest.level import Level, What
from driftloop.ingest.settings import IngestSettings
from driftloop.ingest.sharing import Brought, Shared
from driftloop.modelspec.rows import check_names, from_dicts
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics, traces

ROWS: Final = metrics.counter("ingest_rows", "Rows or labels the log has", ["model", "what"])
DUPLICATES: Final = metrics.counter(
    "ingest_duplicates", "Rows or labels sent again, which the log had already", ["model", "what"]
)
BATCHES: Final = metrics.counter("ingest_batches", "Batches published", ["model", "what"])
REFUSED: Final = metrics.counter("ingest_refused", "Requests refused", ["what", "error"])
SECONDS: Final = metrics.histogram(
    "ingest_request_seconds", "Time from a request to its answer, once the log has it", ["what"]
)

INLINE_BYTES: Final = 256 << 10
"""Larger bodies are read in a thread."""
JOINED_BYTES: Final = 64 << 10
"""Objects in smaller bodies without a key share a batch with others that come at once."""
PACED_SECONDS: Final = 2.0
"""So long the batches of one request wait for the rows of others, at most."""
SILENT_SECONDS: Final = 1.0
"""After the log has not acknowledged a request in time, others are told so at once for so long."""
_KEY: Final = re.compile(r"[!-~]{1,128}\Z")


@contextlib.contextmanager
def counted(what: What) -> Iterator[None]:
    """Time a request that is accepted, and count one that is refused."""
    began = time.perf_counter()
    try:
        yield
        SECONDS.labels(what).observe(time.perf_counter() - began)
    except DriftloopError as error:
        REFUSED.labels(what, type(error).__name__).inc()
        raise


def refused(what: What) -> None:
    """Count a request that was one too many at the door."""
    REFUSED.labels(what, Overloaded.__name__).inc()


class Intake:
    """What both doors, HTTP and NATS, lead to."""

    def __init__(
        self,
        bus: Bus,
        settings: IngestSettings,
        lanes: Lanes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._lanes = lanes
        self._levels: dict[What, Level] = {
            "rows": Level(bus, "rows", lanes.unchecked),
            "labels": Level(bus, "labels"),
        }
        self._silent_until = 0.0
        self._clock = clock
        carried = bus.connection.nc.max_payload // 2  # leaves room for the schema
        self._turns: WeakValueDictionary[tuple[What, str], asyncio.Lock] = WeakValueDictionary()
        self._most = (settings.batch_rows, min(settings.batch_bytes, carried))
        self._rows = Shared(self._publish_rows, *self._most, settings.queue_rows)
        self._label_batches = Shared(self._publish_labels, *self._most, settings.queue_rows)

    async def accept(
        self,
        what: What,
        model: str,
        content_type: str,
        body: bytes,
        key: str = "",
        trace: str = "",
    ) -> Accepted:
        """Put what is in `body` into the log.

        `key` is the producer's id of the batch: sent again under it, a batch is stored once.
        `trace` is the trace context of the request.
        """
        kind = bodies.kind_of(content_type)
        if not key and kind in bodies.OBJECTS and len(body) <= JOINED_BYTES:
            return await self._join(what, await self._spec(what, model), kind, body, trace)
        # One after the other: batches of a model lie in the log in the order in which they came.
        turn = self._turns.setdefault((what, model), asyncio.Lock())
        async with turn:
            spec = await self._spec(what, model)
            return await self._accept(what, spec, kind, body, key, trace)

    def problem(self) -> str:
        """Why nothing is accepted now; empty when it is."""
        return "; ".join(filter(None, (level.problem() for level in self._levels.values())))

    async def watch(self, seconds: float) -> None:
        """Look every so often how full the streams are, until the service stops."""
        while not self._bus.stopping.is_set():
            for level in self._levels.values():
                await level.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bus.stopping.wait(), seconds)

    async def _spec(self, what: What, model: str) -> Spec:
        """The model's spec; raises `Retry` when nothing can be accepted now."""
        if time.monotonic() < self._silent_until:
            raise Retry("the log does not answer; accepted: when it does again", delay=1.0)
        spec = (await self._bus.spec(model)).spec
        self._levels[what].check()
        if what == "rows":
            self._lanes.check(model)
        return spec

    async def _accept(
        self, what: What, spec: Spec, kind: str, body: bytes, key: str, trace: str
    ) -> Accepted:
        batch = _check_key(key) if key else new_id()
        if len(body) <= INLINE_BYTES:
            parts = self._parts(what, spec, kind, body, batch)
        else:
            parts = await asyncio.to_thread(self._parts, what, spec, kind, body, batch)
        duplicate = await self._publish(what, spec.name, batch, parts, [trace])
        return Accepted(accepted=_rows(parts), duplicate=duplicate, batch=batch)

    def _parts(
        self, what: What, spec: Spec, kind: str, body: bytes, batch: str
    ) -> list[pa.RecordBatch]:
        read = bodies.columns(kind, body, what, self._settings.max_rows, usual_names(spec))
        made = named(spec, batch, read) if what == "rows" else self._labels(spec, read)
        return list(pieces(list(made), *self._most))

    def _labels(self, spec: Spec, read: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first, now = 0, int(self._clock() * 1000)
        for part in read:
            yield labels(spec, part, now, first)
            first += part.num_rows

    async def _join(self, what: What, spec: Spec, kind: str, body: bytes, trace: str) -> Accepted:
        """Publish a small request together with others that come at the same time."""
        objects = bodies.objects(kind, body, what, self._settings.max_rows)
        size = (len(objects), len(body))
        if what == "rows":
            names = frozenset(chain.from_iterable(objects))
            check_names(list(names))
            batch = await self._rows.publish(spec.name, Brought(objects, *size, names, trace))
        else:
            (made,) = self._labels(spec, [from_dicts(objects)])
            its = Brought(made, *size, trace=trace)
            batch = await self._label_batches.publish(spec.name, its)
        return Accepted(accepted=len(objects), duplicate=0, batch=batch)

    async def _publish_rows(self, model: str, brought: list[Brought[list[bodies.Row]]]) -> str:
        spec, batch = (await self._bus.spec(model)).spec, new_id()
        joined = from_dicts(list(chain.from_iterable(each.content for each in brought)))
        parts = pieces(list(named(spec, batch, [joined])), *self._most)
        await self._publish("rows", model, batch, list(parts), [each.trace for each in brought])
        return batch

    async def _publish_labels(self, model: str, brought: list[Brought[pa.RecordBatch]]) -> str:
        batch = new_id()
        joined = to_batch(pa.Table.from_batches([each.content for each in brought]))
        parts, requests = pieces([joined], *self._most), [each.trace for each in brought]
        await self._publish("labels", model, batch, list(parts), requests)
        return batch

    async def _publish(
        self,
        what: What,
        model: str,
        batch: str,
        parts: Sequence[pa.RecordBatch],
        requests: Sequence[str],
    ) -> int:
        """Publish a batch of one producer; returns the rows of it that the log had already.

        `requests` are the trace contexts of those who brought it.
        """
        rows = _rows(parts)
        with traces.span(
            f"publish {what}", *requests, kind="producer", model=model, rows=rows
        ) as span:
            return await self._published(what, model, batch, parts, span.traceparent)

    async def _published(
        self, what: What, model: str, batch: str, parts: Sequence[pa.RecordBatch], trace: str
    ) -> int:
        rows = _rows(parts)
        lane = await self._lanes.choose(model, rows) if what == "rows" else LIVE
        origin = Origin(traceparent=trace)
        messages = [
            _message(what, model, lane, batch, at, part, self._bus.service, origin)
            for at, part in enumerate(parts)
        ]
        duplicate = at = 0
        while at < len(messages):
            window = slice(at, at + self._lanes.at_once(lane))
            at, began = window.stop, time.perf_counter()
            acks = await self._acknowledged(what, messages[window])
            sizes = [int(part.num_rows) for part in parts[window]]
            duplicate += sum(n for n, ack in zip(sizes, acks, strict=True) if ack.duplicate)
            if what == "rows":
                took = time.perf_counter() - began
                sent = [(ack.seq, n) for n, ack in zip(sizes, acks, strict=True)]
                await self._lanes.sent(model, lane, sent, took, PACED_SECONDS / len(messages))
        ROWS.labels(model, what).inc(rows - duplicate)
        DUPLICATES.labels(model, what).inc(duplicate)
        BATCHES.labels(model, what).inc(len(messages))
        return duplicate

    async def _acknowledged(self, what: What, messages: Sequence[Outgoing]) -> list[Ack]:
        """Publish, and wait until the log has it."""
        try:
            acks = await self._bus.publish(messages, self._settings.publish_seconds)
        except Overloaded:
            raise
        except Retry:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            raise
        size = sum(len(message.payload) for message in messages)
        await self._levels[what].wrote(size)
        return acks


def _rows(parts: Sequence[pa.RecordBatch]) -> int:
    return sum(int(part.num_rows) for part in parts)


def _message(
    what: What,
    model: str,
    lane: Lane,
    batch: str,
    at: int,
    part: pa.RecordBatch,
    source: str,
    origin: Origin,
) -> Outgoing:
    rows = what == "rows"
    subject = subjects.rows(model, "received", lane) if rows else subjects.labels(model)
    kind = f"{what}.received"
    msg_id = f"{kind}:{model}:{batch}:{at}"
    return batch_message(subject, part, kind=kind, source=source, msg_id=msg_id, origin=origin)


def _check_key(key: str) -> str:
    if not _KEY.match(key):
        raise InvalidInput(
            f"Idempotency-Key: {key[:80]!r} is no key;"
            " accepted: 1 to 128 printable ASCII characters without spaces"
        )
    return key
