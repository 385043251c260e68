"""What waits in the log for each stage: batches as the stage before it makes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from driftloop.bus.messages import Outgoing
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import (
    LABELS,
    VERSION,
    Matrix,
    encode,
    matrix_column,
    valid_schema,
    with_column,
)
from driftloop.local import demo
from driftloop.modelspec import check
from driftloop.modelspec.spec import Feature, Spec

FEATURES: Final = 20
DISTINCT: Final = 64
"""Payloads that are told apart by their message id only, where a stage does not look at ids."""
START_MS: Final = 1_760_000_000_000
BAD_SHARE: Final = 0.01


def flights_spec(name: str) -> Spec:
    """The spec of the demo: 13 numbers, most of which may be missing, and 3 categories."""
    spec = check.load(Path(demo.__file__).with_name("flights.toml"))
    return msgspec.structs.replace(spec, name=name)


def received(
    model: str, count: int, rows: int, run: str, bad: float = BAD_SHARE, corrupt: int = 0
) -> Iterator[Outgoing]:
    """Batches as ingest publishes them, of `flights_spec`; a share of `bad` rows breaks it.

    With `corrupt` above 0 there is beside each so many batches one that is no Arrow at all.
    """
    subject = subjects.rows(model, "received")
    for at, payload in _some(count, lambda at: encode(_flights(rows, at, bad))):
        yield _message(subject, payload, "rows.received", f"{run}:{at}", rows)
        if corrupt and at % corrupt == 0:
            yield _message(subject, payload[::-1], "rows.received", f"{run}:corrupt:{at}", rows)


def valid(model: str, count: int, rows: int, run: str) -> Iterator[Outgoing]:
    """Batches as validation publishes them, of 20 numbers."""
    for at, payload in _some(count, lambda at: encode(_valid(rows, at, f"{at}"))):
        yield _message(subjects.rows(model, "valid"), payload, "rows.valid", f"{run}:{at}", rows)


def scored(model: str, count: int, rows: int, run: str) -> Iterator[Outgoing]:
    """Batches as inference publishes them; every row has an id of its own."""
    for at in range(count):
        batch = with_column(
            _valid(rows, at, f"{run}-{at}"), VERSION.name, pa.array(np.ones(rows, np.int32))
        )
        batch = with_column(batch, "answer", matrix_column(_answers(rows, at)))
        subject = subjects.scored(model)
        yield _message(subject, encode(batch), "scored", f"{run}:{at}", rows)


def labels(model: str, count: int, rows: int, run: str) -> Iterator[Outgoing]:
    """The labels of the rows of `scored`."""
    for at in range(count):
        told = np.where(_answers(rows, at)[:, 1] > 0.5, "1", "0")
        times = pa.array(np.full(rows, START_MS), pa.int64()).cast(LABELS.field(2).type)
        columns = [_ids(rows, f"{run}-{at}"), pa.array(told.astype(object), pa.string()), times]
        batch = pa.RecordBatch.from_arrays(columns, schema=LABELS)
        subject = subjects.labels(model)
        yield _message(subject, encode(batch), "labels.received", f"{run}:{at}", rows)


def single(subject: str, count: int, run: str) -> Iterator[Outgoing]:
    """Messages of one row, in MessagePack."""
    rows = _matrix(min(count, 4_096), 0).tolist()
    made = [msgspec.msgpack.encode(row) for row in rows]
    for at in range(count):
        yield _message(subject, made[at % len(made)], "row", f"{run}:{at}", 1)


def _some(count: int, make: object) -> Iterator[tuple[int, bytes]]:
    made = [make(at) for at in range(min(count, DISTINCT))]  # type: ignore[operator]  # a function
    for at in range(count):
        yield at, made[at % len(made)]


def _message(subject: str, payload: bytes, kind: str, id: str, rows: int) -> Outgoing:
    made = headers.headers(
        kind=kind,
        source="bench",
        subject=subject,
        msg_id=f"{kind}:{id}",
        content_type=headers.ARROW,
    )
    made[headers.ROWS] = str(rows)
    return Outgoing(subject=subject, payload=payload, headers=made)


def _matrix(rows: int, seed: int) -> Matrix:
    made: Matrix = np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype(np.float32)
    return made


def _answers(rows: int, seed: int) -> Matrix:
    first = np.random.default_rng(seed + 1).random(rows, dtype=np.float32)
    return np.stack([1 - first, first], axis=1)


def _ids(rows: int, prefix: str) -> pa.Array:
    return pa.array([f"{prefix}-{row}" for row in range(rows)])


def _valid(rows: int, seed: int, prefix: str) -> pa.RecordBatch:
    schema = valid_schema(FEATURES)
    times = pa.array(np.full(rows, START_MS), pa.int64()).cast(schema.field(1).type)
    columns = [_ids(rows, prefix), times, pa.nulls(rows, pa.string())]
    return pa.RecordBatch.from_arrays([*columns, matrix_column(_matrix(rows, seed))], schema=schema)


def _flights(rows: int, seed: int, bad: float) -> pa.RecordBatch:
    some = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {"event_id": _ids(rows, f"{seed}")}
    times = pa.array(np.full(rows, START_MS), pa.int64())
    columns["event_time"] = times.cast(pa.timestamp("ms", tz="UTC"))
    for feature in flights_spec("m").features:
        columns[feature.name] = _column(feature, rows, some)
    broken = np.array(columns["hour"].to_numpy(zero_copy_only=False))
    broken[some.random(rows) < bad] = 9_999
    columns["hour"] = pa.array(broken)
    return pa.RecordBatch.from_pydict(columns)


def _column(feature: Feature, rows: int, some: np.random.Generator) -> pa.Array:
    missing = some.random(rows) < (0.1 if feature.nullable else 0.0)
    if feature.type == "category":
        names: Sequence[str] = feature.categories
        return pa.array(np.array(names, object)[some.integers(len(names), size=rows)], mask=missing)
    assert feature.min is not None
    assert feature.max is not None
    if feature.type == "integer":
        whole = some.integers(int(feature.min), int(feature.max) + 1, size=rows)
        return pa.array(whole, mask=missing)
    return pa.array(some.uniform(feature.min, feature.max, rows), mask=missing)
