"""Bodies of anything in every format are rows, or refused by an error of ours."""

import contextlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contracts.batches import encode
from driftloop.contracts.errors import Reject
from driftloop.contracts.headers import ARROW
from driftloop.ingest import bodies
from driftloop.ingest.codings import unpack
from tests.support.thorough import examples

GOOD = {
    bodies.JSON: b'[{"event_id": "a", "x": 1.5}, {"event_id": "b", "x": null}]',
    bodies.NDJSON: b'{"event_id": "a", "x": 1.5}\n{"event_id": "b", "x": null}\n',
    bodies.CSV: b"event_id,x\na,1.5\nb,\n",
    ARROW: encode(pa.record_batch({"event_id": ["a", "b"], "x": [1.5, None]})),
}
damage = st.lists(
    st.tuples(st.integers(0, 2_000), st.sampled_from("sdi"), st.binary(max_size=6)), max_size=4
)


@examples(150)
@given(st.sampled_from(list(GOOD)), st.sampled_from(list(GOOD)), damage)
def test_a_damaged_body_is_rows_or_refused(
    kind: str, told: str, changes: list[tuple[int, str, bytes]]
) -> None:
    made = bytearray(GOOD[kind])
    for place, how, filling in changes:
        at = place % (len(made) + 1)
        made[at : at + {"s": len(filling), "d": 5, "i": 0}[how]] = b"" if how == "d" else filling
    with contextlib.suppress(Reject):
        for batch in bodies.columns(told, bytes(made), "rows", 10, ("event_id", "x")):
            assert all(isinstance(name, str) for name in batch.schema.names)
    if told in bodies.OBJECTS:
        with contextlib.suppress(Reject):
            rows = bodies.objects(told, bytes(made), "rows", 10)
            assert all(type(row) is dict for row in rows)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (bodies.NDJSON, b"9" * 400),
        (bodies.JSON, b"[" + b"9" * 400 + b"]"),
        (bodies.JSON, b"[1e999]"),
        (bodies.CSV, b"event_id,lab\x86\na,b\n"),
        (bodies.CSV, b"\x00\x00\x80\r\n"),
    ],
    ids=["a number as a line", "a number", "infinite", "a name not in UTF-8", "zeros"],
)
def test_what_is_no_row_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(Reject, match="accepted"):
        bodies.columns(kind, body, "rows", 10)
    if kind in bodies.OBJECTS:
        with pytest.raises(Reject, match="accepted"):
            bodies.objects(kind, body, "rows", 10)


@examples(100)
@given(st.binary(max_size=200), st.sampled_from(["gzip", "zstd"]))
def test_packed_nonsense_is_refused(body: bytes, coding: str) -> None:
    with contextlib.suppress(Reject):
        assert len(unpack(coding, body, 1_000)) <= 1_000
