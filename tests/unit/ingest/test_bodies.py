import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contracts import batches
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW
from driftloop.ingest import bodies
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


def told(body: bytes, names: tuple[str, ...]) -> Any:
    """Types and values of each batch by name, since the order of columns means nothing."""
    try:
        read = columns(NDJSON, body, "rows", MOST, names)
    except (Reject, InvalidInput) as error:
        return repr(error)
    return [
        {name: (str(batch[name].type), str(batch[name].to_pylist())) for name in batch.schema.names}
        for batch in read
    ]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.lists(st.integers(0, 3), max_size=2)
    | st.sampled_from(["2024-01-01", "NaN", "1", "\ud800"])
)
LINES = st.dictionaries(st.sampled_from(["a", "b", "c", "\u00e4"]), VALUES, max_size=4).map(
    json.dumps
)
ODD = st.sampled_from(
    [
        "",
        " ",
        "{}",
        "null",
        "5",
        "[1]",
        "{",
        '{"a":1}{"a":2}',
        '{"a":1,"a":2}',
        '{"a":1e999}',
        '{"a":NaN}',
        '{"a":01}',
    ]
)


@given(
    st.lists(LINES | LINES | LINES | ODD, min_size=1, max_size=9), st.sampled_from(["\n", "\r\n"])
)
@settings(deadline=None, max_examples=300)
def test_lines_read_fast_are_what_they_are_read_slowly(lines: list[str], end: str) -> None:
    body = end.join(lines).encode()
    assert told(body, ("a", "b", "c")) == told(body, ())


def test_lines_with_the_names_of_the_spec_are_read_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> Any:
        raise AssertionError

    monkeypatch.setattr(bodies, "_ndjson", never)
    body = b'{"a":1,"b":"x"}\n{"b":null}\n\n{"b":"y","a":2.5}\n'
    (batch,) = columns(NDJSON, body, "rows", MOST, ("a", "b", "c"))
    assert batch.to_pydict() == {"a": [1.0, None, 2.5], "b": ["x", None, "y"]}


def test_names_no_decoder_can_have_are_read_slowly() -> None:
    for names in (('a"b', "a"), tuple(f"f{n}" for n in range(1500))):
        (batch,) = columns(NDJSON, b'{"a":1}\n', "rows", MOST, names)
        assert batch.to_pydict() == {"a": [1]}


@pytest.mark.parametrize("look", [1, 10, 1000])
def test_long_bodies_are_read_in_chunks_whose_lines_are_counted_on(
    monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(bodies, "CHUNK_ROWS", 3)
    monkeypatch.setattr(bodies, "_LOOK_BYTES", look)
    lines = [b'{"a":%d}' % number for number in range(8)]
    for names in ((), ("a",)):
        read = columns(NDJSON, b"\n".join(lines), "rows", MOST, names)
        assert [batch.column("a").to_pylist() for batch in read] == [[0, 1, 2], [3, 4, 5], [6, 7]]
        lines[4] = b'{"a":"gale"}'
        read = columns(NDJSON, b"\n".join(lines) + b"\n\n\n\n", "rows", MOST, names)
        assert [str(batch.column("a").type) for batch in read] == ["int64", "string", "int64"]
        with pytest.raises(Reject, match="rows line 7: not JSON"):
            columns(NDJSON, b"\n".join([*lines[:6], b"{", *lines[6:]]), "rows", MOST, names)
        lines[4] = b'{"a":4}'


def test_a_stream_of_several_arrow_batches_is_read_whole() -> None:
    table = pa.table({"a": range(900), "b": [str(number) for number in range(900)]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    assert rows(ARROW, sink.getvalue().to_pybytes()) == table.to_pylist()
