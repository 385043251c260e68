import math

import pyarrow as pa
import pytest

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW
from driftloop.ingest.bodies import CSV, JSON, NDJSON, columns, kind_of, objects
from driftloop.runtime.problems import TooLarge, UnsupportedType

MOST = 1000


def rows(kind: str, body: bytes) -> list[dict[str, object]]:
    return [row for batch in columns(kind, body, "rows", MOST) for row in batch.to_pylist()]


def ipc(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def test_a_content_type_may_have_parameters() -> None:
    assert kind_of("Application/JSON; charset=utf-8") == JSON
    with pytest.raises(UnsupportedType, match="'' is not read here; accepted: application/json, "):
        kind_of("")


def test_the_same_rows_come_in_several_shapes() -> None:
    for body in (b'[{"a":1}]', b'{"rows":[{"a":1}]}', b'{"a":1}', b' \n[ {"a" : 1} ]\n'):
        assert rows(JSON, body) == [{"a": 1}]
    assert rows(NDJSON, b'{"a":1}\r\n\n{"a":2}') == [{"a": 1}, {"a": 2}]


def test_an_object_that_has_a_field_rows_beside_others_is_a_row() -> None:
    assert rows(JSON, b'{"rows":3,"a":1}') == [{"rows": 3, "a": 1}]


def test_numbers_no_float_holds_are_infinite() -> None:
    assert rows(JSON, b'[{"a":1e999},{"a":-1e999}]') == [{"a": math.inf}, {"a": -math.inf}]
    assert rows(NDJSON, b'{"a":1e999}\n{"a":1}\n') == [{"a": math.inf}, {"a": 1.0}]
    assert rows(JSON, b'{"a":' + b"1" * 5000 + b"}") == [{"a": math.inf}]


def test_a_csv_keeps_every_value_as_the_text_it_is() -> None:
    read = rows(CSV, b'a,b,c\n007,NaN,"x\ny"\n,1e5,\n')
    assert read == [{"a": "007", "b": "NaN", "c": "x\ny"}, {"a": None, "b": "1e5", "c": None}]


def test_a_position_is_told_where_json_is_broken() -> None:
    for kind, body, told in (
        (JSON, b'[{"a":1},{"b":}]', "byte 14"),
        (JSON, b'[{"a":1},{"b":"x', "ends too early \\(byte 16\\)"),
        (JSON, b'{"a":Infinity}', "byte 5"),
        (NDJSON, b'{"a":1}\n{"b":}\n', "line 2: not JSON.*byte 5"),
    ):
        with pytest.raises(Reject, match=told):
            columns(kind, body, "rows", MOST)


def test_an_index_and_the_value_are_told_where_there_is_no_object() -> None:
    with pytest.raises(InvalidInput, match=r"labels\[1\]: null is no object"):
        objects(JSON, b'{"labels": [{"a":1}, null]}', "labels", MOST)


def test_too_many_rows_are_refused_in_every_format() -> None:
    for kind, body in (
        (JSON, b"[" + b",".join([b'{"a":1}'] * 2000) + b"]"),
        (NDJSON, b'{"a":1}\n' * 1001),
        (CSV, b"a\n" + b"1\n" * 1001),
        (ARROW, batches.encode(pa.RecordBatch.from_pydict({"a": range(1001)}))),
        (ARROW, batches.encode(pa.RecordBatch.from_pydict({"a": pa.nulls(10**9)}))),
    ):
        with pytest.raises(TooLarge, match="accepted: at most 1000"):
            columns(kind, body, "rows", MOST)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_arrow_is_refused_before_it_unpacks(codec: str) -> None:
    zeros = pa.repeat(pa.scalar(0, pa.int64()), 2_000_000)
    bomb = ipc(pa.RecordBatch.from_pydict({"a": zeros}), codec)
    assert len(bomb) < 100_000
    words = pa.array(["x" * 100_000, "y"]).dictionary_encode()
    for payload in (bomb, ipc(pa.RecordBatch.from_pydict({"a": words}), codec)):
        before = pa.total_allocated_bytes()
        with pytest.raises(Reject, match="compressed; accepted: one Arrow IPC stream, uncomp"):
            columns(ARROW, payload, "rows", 10**9)
        assert pa.total_allocated_bytes() - before < 1_000_000


def test_broken_arrow_is_refused() -> None:
    whole = ipc(pa.RecordBatch.from_pydict({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
    assert rows(ARROW, whole)[0] == {"a": 1, "b": "x"}
    for at in range(0, len(whole), 7):
        for payload in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
            try:
                columns(ARROW, payload, "rows", MOST)
            except Reject:
                continue
