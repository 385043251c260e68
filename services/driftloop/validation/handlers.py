"""Checks batches of rows against the contract of their model."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, Outgoing, derived_message
from driftloop.contracts import headers, subjects
from driftloop.contracts.subjects import RowState
from driftloop.modelspec.contract import Contract
from driftloop.runtime import metrics

ROWS: Final = metrics.counter(
    "validation_rows",
    "Rows checked: received, and of these valid, quarantined or a duplicate within their batch",
    ["model", "state"],
)

CHECK_ROWS: Final = 16_384
"""Rows checked at once, about: what a column costs is spread over them."""

Read = tuple[Delivered, pa.RecordBatch]
"""A message and the rows in it."""


class RowChecks:
    """Rows as they were received in, valid and quarantined rows out."""

    def __init__(self, bus: Bus, batch_bytes: int) -> None:
        self._bus = bus
        self._batch_bytes = min(batch_bytes, bus.connection.nc.max_payload // 2)
        self._contracts: dict[str, tuple[int, Contract]] = {}

    async def check(self, messages: Sequence[Delivered]) -> list[Outgoing]:
        """What there is to say about a group of batches."""
        said: list[Outgoing] = []
        counts: Counter[tuple[str, str]] = Counter()
        for model, group in groupby(messages, attrgetter("model")):
            contract = await self._contract(model)
            for part in _alike([(message, message.batch()) for message in group]):
                said += self._check(contract, part, counts)
        # Only now: if one batch is refused, the halves of the group come again.
        for (model, state), count in counts.items():
            ROWS.labels(model, state).inc(count)
        return said

    def _check(
        self, contract: Contract, part: Sequence[Read], counts: Counter[tuple[str, str]]
    ) -> Iterator[Outgoing]:
        # The present is when the log took the rows, by the broker's clock: ours may be off.
        now = int(max(message.time for message, _ in part) * 1000)
        each = contract.check_each([rows for _, rows in part], now)
        for (message, rows), checked in zip(part, each, strict=True):
            model = message.model
            yield from self._derived("valid", checked.valid, message)
            yield from self._derived("quarantined", checked.quarantined, message)
            counts[model, "received"] += rows.num_rows
            counts[model, "valid"] += checked.valid.num_rows
            counts[model, "quarantined"] += checked.quarantined.num_rows
            counts[model, "duplicate"] += checked.duplicates

    def _derived(
        self, state: RowState, rows: pa.RecordBatch, cause: Delivered
    ) -> Iterator[Outgoing]:
        """`rows` as messages the bus can carry: reasons may take more room than the rows."""
        lane = subjects.lane_of(cause.subject)
        kind, subject = f"rows.{state}", subjects.rows(cause.model, state, lane)
        for at, part in enumerate(_parts(rows, self._batch_bytes)):
            message = derived_message(
                subject, part, kind=kind, source=self._bus.service, cause=cause
            )
            yield _numbered(message, at) if at else message

    async def _contract(self, model: str) -> Contract:
        registered = await self._bus.spec(model)
        revision, contract = self._contracts.get(model, (0, None))
        if contract is None or revision != registered.revision:
            contract = Contract(registered.spec)
            self._contracts[model] = (registered.revision, contract)
        return contract


def _alike(batches: Sequence[Read]) -> Iterator[list[Read]]:
    """Neighbours of one schema, about `CHECK_ROWS` rows together: they are checked as one."""
    part: list[Read] = []
    count = 0
    for message, rows in batches:
        if part and (rows.schema != part[0][1].schema or count + rows.num_rows > CHECK_ROWS):
            yield part
            part, count = [], 0
        part.append((message, rows))
        count += rows.num_rows
    yield part


def _parts(rows: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    # Cheap to ask, but of a slice it tells the size of the whole.
    large = rows.get_total_buffer_size() > most_bytes
    if rows.num_rows > 1 and large and rows.nbytes > most_bytes:
        half = rows.num_rows // 2
        yield from _parts(rows.slice(0, half), most_bytes)
        yield from _parts(rows.slice(half), most_bytes)
    elif rows.num_rows:
        yield rows


def _numbered(message: Outgoing, at: int) -> Outgoing:
    """The message with an id of its own beside the first one of the same input."""
    own = f"{message.headers[headers.MSG_ID]}:{at}"
    return msgspec.structs.replace(
        message, headers={**message.headers, headers.MSG_ID: own, "ce-id": own}
    )
