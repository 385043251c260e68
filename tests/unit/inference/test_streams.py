"""A usual Arrow stream gives the matrix that pyarrow gives; any other is left to the contract."""

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.batches import Matrix, encode
from driftloop.inference.domain.plan import Plan
from driftloop.inference.plain import streams
from driftloop.inference.plain.streams import Streams
from driftloop.modelspec.spec import Feature, Registered, Spec, Target

NAMES = ("a", "b", "c")


def plan(names: tuple[str, ...] = NAMES) -> Plan:
    spec = Spec(
        name="m",
        task="classification",
        target=Target(classes=("0", "1")),
        features=tuple(Feature(name=name) for name in names),
    )
    return Plan(Registered(spec=spec, revision=1, by="", at=0.0))


def matrix(rows: int, width: int = 3) -> Matrix:
    return np.linspace(-1, 1, rows * width, dtype=np.float32).reshape(rows, width)


def columns(numbers: Matrix, names: tuple[str, ...] = NAMES) -> pa.RecordBatch:
    made = [pa.array(numbers[:, at]) for at in range(numbers.shape[1])]
    return pa.RecordBatch.from_arrays(made, names=list(names))


def whole(numbers: Matrix) -> pa.RecordBatch:
    flat = pa.array(numbers.ravel())
    made = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])
    return pa.RecordBatch.from_arrays([made], names=["features"])


@pytest.mark.parametrize("make", [columns, whole])
def test_streams_of_any_length_are_read_again_and_again(make: object) -> None:
    reader = Streams(plan())
    for rows in (1, 2, 3, 7, 256, 1, 256, 1_000):
        numbers = matrix(rows) + rows
        found = reader.read(encode(make(numbers)))  # type: ignore[operator]  # one of both above
        assert found is not None
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, numbers)


def test_one_feature_is_a_column_too() -> None:
    numbers = matrix(5, 1)
    found = Streams(plan(("a",))).read(encode(columns(numbers, ("a",))))
    assert found is not None
    np.testing.assert_array_equal(found, numbers)


def unusual() -> dict[str, bytes]:
    numbers = matrix(4)
    missing = pa.RecordBatch.from_arrays(
        [pa.array([1.0, None, 3.0, 4.0], pa.float32()), *columns(numbers).columns[1:]],
        names=list(NAMES),
    )
    sink = pa.BufferOutputStream()
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, columns(numbers).schema, options=packed) as writer:
        writer.write_batch(columns(numbers))
    usual = encode(columns(numbers))
    return {
        "other order": encode(columns(numbers, ("b", "a", "c"))),
        "fewer columns": encode(columns(numbers[:, :2], ("a", "b"))),
        "float64": encode(pa.RecordBatch.from_arrays([[1.0]] * 3, names=list(NAMES))),
        "no row": encode(columns(matrix(0))),
        "missing": encode(missing),
        "missing in a list": encode(
            pa.RecordBatch.from_arrays(
                [pa.array([[1, 2, None]], pa.list_(pa.float32(), 3))], names=["features"]
            )
        ),
        "compressed": sink.getvalue().to_pybytes(),
        "two batches": usual[:-8] + usual[usual.index(b"\xff\xff\xff\xff", 8) :],
        "cut": usual[:-40],
        "text": b"not arrow",
        "nothing": b"",
        "schema alone": usual[: usual.index(b"\xff\xff\xff\xff", 8)],
    }


@pytest.mark.parametrize("what", unusual())
def test_any_other_stream_is_left_alone_before_and_after_it_is_known(what: str) -> None:
    reader = Streams(plan())
    for _ in range(2):
        assert reader.read(unusual()[what]) is None
    usual = encode(columns(matrix(4)))
    assert reader.read(usual) is not None
    assert reader.read(unusual()[what]) is None


@hypothesis.settings(max_examples=500)
@given(st.integers(0, 2_000), st.integers(0, 255), st.booleans())
def test_one_changed_byte_never_gives_other_numbers_than_pyarrow(
    at: int, byte: int, known: bool
) -> None:
    numbers = matrix(9)
    usual = encode(columns(numbers))
    reader = Streams(plan())
    if known:
        reader.read(usual)
    at %= len(usual)
    changed = usual[:at] + bytes([byte]) + usual[at + 1 :]
    found = reader.read(changed)
    if found is not None:
        (batch,) = pa.ipc.open_stream(changed)
        expected = np.stack([c.to_numpy(zero_copy_only=False) for c in batch.columns], axis=1)
        np.testing.assert_array_equal(found, expected)


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_KNOWN", 4)
    reader = Streams(plan())
    for rows in range(1, 40):
        assert reader.read(encode(columns(matrix(rows)))) is not None
        assert len(reader._layouts) <= 4
