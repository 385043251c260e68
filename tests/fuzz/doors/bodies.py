"""Good bodies that the wrong ones are made of, and names in paths and subjects."""

import csv
import io
from functools import cache
from random import Random
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pyarrow as pa

from driftloop.contracts.batches import LABELS, encode, matrix_column
from tests.fuzz import mutate
from tests.fuzz.case import TARGET
from tests.fuzz.scene import NOW_MS, ROWS
from tests.support.serving import matrix_of_rows

ARROW: Final = "application/vnd.apache.arrow.stream"
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
TYPES: Final = (
    JSON,
    NDJSON,
    CSV,
    ARROW,
    MSGPACK,
    "application/octet-stream",
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "APPLICATION/JSON",
    "application/json, text/csv",
    "a" * 300,
)
MODELS: Final = (TARGET,) * 12 + ("bare", "bare", "nobody")


def model(random: Random) -> str:
    """Mostly a model that is there."""
    return random.choice(mutate.NAMES) if random.random() < 0.1 else random.choice(MODELS)


def in_path(random: Random, name: str) -> str:
    """A name as it stands in a path: mostly quoted, sometimes as it is where a line allows it."""
    if random.random() < 0.8 or any(ch in name for ch in "\r\n \0"):
        return quote(name.encode("utf-8", "surrogatepass"), safe="")
    return name


def rows(random: Random, what: str = "rows") -> list[dict[str, Any]]:
    """Good rows with ids, or good labels."""
    first = random.randrange(10**9)
    if what == "labels":
        return [
            {"event_id": f"t{first + at}", "label": ("early", "late")[at % 2]} for at in range(3)
        ]
    return [
        {"event_id": f"t{first + at}", "event_time": NOW_MS + at, **row}
        for at, row in enumerate(ROWS)
    ]


def typed(random: Random, made: list[Any], kind: str) -> bytes:
    """Rows in a format, after their tree was changed; those a format cannot have as text."""
    if kind == NDJSON:
        return b"\n".join(mutate.written(random, row) for row in made)
    if kind == CSV:
        return as_csv(made)
    if kind == ARROW:
        return random.choice(arrows())
    return mutate.written(random, made)


def as_csv(made: list[Any]) -> bytes:
    """Objects as CSV with a header line."""
    objects = [row for row in made if isinstance(row, dict)] or [{"a": 1}]
    names = list(dict.fromkeys(str(name) for row in objects for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for row in objects:
        told = {str(k): v for k, v in row.items()}
        writer.writerow([str(told.get(name, ""))[:1_000] for name in names])
    return out.getvalue().encode("utf-8", "surrogatepass")


def packed(value: Any) -> bytes:
    """MessagePack of a tree; a number it cannot have as text."""
    return msgspec.msgpack.encode(_packable(value))


def _packable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_packable(k): _packable(v) for k, v in value.items() if not isinstance(k, float)}
    if isinstance(value, list | tuple):
        return [_packable(of) for of in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if abs(value) < 10**300 else str(value)[:80]
    return value


@cache
def arrows() -> tuple[bytes, ...]:
    """Arrow streams of rows as producers may send them, of every type of column."""
    plain = pa.RecordBatch.from_pylist(rows(Random(1)))
    columns = pa.RecordBatch.from_arrays(
        [pa.array(c.copy()) for c in matrix_of_rows(ROWS).T], list(ROWS[0])
    )
    matrix = pa.RecordBatch.from_arrays([matrix_column(matrix_of_rows(ROWS))], ["features"])
    odd = plain
    odd = odd.set_column(2, "distance", pa.array(["1", None, "x"]).dictionary_encode())
    odd = odd.set_column(3, "hour", pa.array([[1], [], None]))
    odd = odd.append_column("view", pa.array(["a", "b" * 20, None], pa.string_view()))
    odd = odd.append_column("decimal", pa.array([1, 2, None], pa.decimal128(38, 2)))
    odd = odd.append_column("time", pa.array([1, 2, None], pa.timestamp("ns", tz="Europe/Oslo")))
    odd = odd.append_column("struct", pa.array([{"a": 1}, {"a": 2}, None]))
    odd = odd.append_column("binary", pa.array([b"\xff", b"", None], pa.large_binary()))
    odd = odd.append_column("span", pa.array([1, 2, None], pa.duration("s")))
    labels = pa.RecordBatch.from_pylist(
        [{"event_id": "t1", "label": "early", "label_time": None}], schema=LABELS
    )
    batches = (plain, columns, matrix, odd, labels, plain.slice(0, 0))
    return (*map(encode, batches), _compressed(plain), _several(plain))


def _compressed(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as out:
        out.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _several(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as out:
        out.write_batch(batch)
        out.write_batch(batch.slice(1))
    return bytes(sink.getvalue().to_pybytes())
