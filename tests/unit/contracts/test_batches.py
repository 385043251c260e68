import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts import batches
from driftloop.contracts.errors import Reject


def _plain(values: list[int]) -> pa.RecordBatch:
    return pa.record_batch({"a": pa.array(values, pa.int64())})


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_a_batch_comes_back_as_it_was(values: list[int]) -> None:
    assert batches.decode(batches.encode(_plain(values))).equals(_plain(values))


def stream(*parts: pa.RecordBatch) -> bytes:
    """What pyarrow's own writer makes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, parts[0].schema) as writer:
        for part in parts:
            writer.write_batch(part)
    made: bytes = sink.getvalue().to_pybytes()
    return made


WORDS = pa.array(["a", "b", "a"]).dictionary_encode()
BATCHES = {
    "numbers": _plain([1, 2, 3]),
    "a slice": _plain([1, 2, 3, 4]).slice(1, 2),
    "no rows": _plain([]),
    "texts": pa.record_batch({"t": ["x", None, "yy"], "l": [[1], None, []]}),
    "a dictionary": pa.record_batch({"d": WORDS}),
    "a dictionary within": pa.record_batch({"s": pa.StructArray.from_arrays([WORDS], ["d"])}),
    "an extension": pa.record_batch(
        {"u": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16)))}
    ),
    "metadata": _plain([1]).replace_schema_metadata({"who": "me"}),
}


@pytest.mark.parametrize("kind", list(BATCHES))
def test_what_is_written_and_read_is_what_arrow_writes_and_reads(kind: str) -> None:
    batch = BATCHES[kind]
    assert batches.encode(batch) == stream(batch)
    for _ in range(2):  # with a schema that is new, and one that is known
        made = batches.decode(stream(batch))
        assert made.equals(batch)
        assert made.schema.equals(batch.schema, check_metadata=True)


def test_a_stream_of_a_known_schema_may_hold_anything() -> None:
    one = stream(_plain([1, 2]))
    assert batches.decode(one).num_rows == 2
    assert batches.decode(stream(_plain([1, 2]), _plain([3]))).equals(_plain([1, 2, 3]))
    assert batches.decode(one[:-8]).equals(_plain([1, 2]))  # without an end
    assert batches.decode(one + b"more").equals(_plain([1, 2]))  # which is after the end
    with pytest.raises(Reject, match="not an Arrow IPC stream"):
        batches.decode(one[:-16])


def test_several_batches_of_a_stream_become_one() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _plain([]).schema) as writer:
        for values in ([1], [2, 3], []):
            writer.write_batch(_plain(values))
    assert batches.decode(sink.getvalue().to_pybytes()).equals(_plain([1, 2, 3]))


def test_a_stream_without_a_batch_has_no_rows() -> None:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, _plain([]).schema).close()
    made = batches.decode(sink.getvalue().to_pybytes())
    assert (made.num_rows, made.schema) == (0, _plain([]).schema)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_arrow_are_rejected(data: bytes) -> None:
    with pytest.raises(Reject, match="not an Arrow IPC stream"):
        batches.decode(data)


@given(st.data())
def test_a_damaged_batch_is_rejected_or_read_but_never_crashes(data: st.DataObject) -> None:
    payload = bytearray(batches.encode(pa.record_batch({"a": ["x", "yy", None], "b": [1, 2, 3]})))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Reject):
        batches.decode(bytes(payload))


@given(st.integers(0, 5), st.integers(1, 4))
def test_a_matrix_travels_as_a_column(count: int, width: int) -> None:
    matrix = np.arange(count * width, dtype=np.float32).reshape(count, width)
    column = batches.matrix_column(matrix)
    assert column.type == pa.list_(pa.float32(), width)
    np.testing.assert_array_equal(batches.matrix_of(column), matrix)


def test_a_matrix_is_read_without_a_copy_and_from_a_slice() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    column = batches.matrix_column(matrix)
    assert np.shares_memory(batches.matrix_of(column), matrix)
    np.testing.assert_array_equal(batches.matrix_of(column.slice(2, 3)), matrix[2:5])


def test_rows_that_are_null_become_nan() -> None:
    column = pa.array([[1, 2], None, [3, None]], pa.list_(pa.float32(), 2))
    nan = np.nan
    np.testing.assert_array_equal(batches.matrix_of(column), [[1, 2], [nan, nan], [3, nan]])
    np.testing.assert_array_equal(batches.matrix_of(column.slice(1)), [[nan, nan], [3, nan]])
    assert np.isnan(batches.matrix_of(batches.null_answers(3, 2))).all()


def test_the_shadows_of_a_batch_are_told_by_its_columns() -> None:
    assert batches.shadow_versions(
        pa.schema([("answer", pa.int8()), ("shadow_v12", pa.int8())])
    ) == [12]
