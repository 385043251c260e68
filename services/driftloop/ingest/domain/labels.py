"""Labels on their way into the log: event id, label as text, and when it became known."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftloop.contracts.batches import LABELS
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.columns import to_event_time
from driftloop.modelspec.rows import as_text, plain
from driftloop.modelspec.spec import Spec

_TIME: Final = pa.timestamp("ms", tz="UTC")
MOST_LABEL: Final = 256
"""Characters of an event id or a label."""


def labels(spec: Spec, batch: pa.RecordBatch, now_ms: int, first: int = 0) -> pa.RecordBatch:
    """`batch` as labels; `first` is the index of its first row in the request.

    `event_id` and `label` may also be named as the spec names them; other columns of the model's
    rows are ignored. A label without a time became known now. Labels of a classification are
    written as its classes are: with the classes "0" and "1", each of 1, 1.0, true and "1" is "1".
    Whether a label is one of the classes is for the join to say.
    """
    batch = plain(batch)
    names = _names(spec, batch)
    ids = _given(batch, names["event_id"], first)
    texts = _given(batch, names["label"], first)
    if spec.task == "classification":
        texts = _as_classes(texts, spec.target.classes)
    times = _times(batch, names.get("label_time"), now_ms, first)
    return pa.RecordBatch.from_arrays([ids, texts, times], schema=LABELS)


def _names(spec: Spec, batch: pa.RecordBatch) -> dict[str, str]:
    """Which column holds what."""
    known = {spec.columns.event_time, spec.columns.key, *(f.name for f in spec.features)}
    meant = {"event_id": "event_id", "label": "label", "label_time": "label_time"}
    meant |= {spec.columns.event_id: "event_id", spec.target.name: "label"}
    found: dict[str, str] = {}
    for name in batch.schema.names:
        if name in meant:
            found[meant[name]] = name
        elif name not in known:
            raise InvalidInput(
                f"labels: the column {name[:80]!r} is unknown; accepted: {', '.join(meant)}"
            )
    for needed in ("event_id", "label"):
        if needed not in found:
            raise InvalidInput(f"labels[0]: {needed} is missing; accepted: {', '.join(meant)}")
    return found


def _given(batch: pa.RecordBatch, name: str, first: int) -> pa.Array:
    texts = as_text(batch.column(name))
    empty = pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False)
    _refuse(empty, texts, name, first, "is missing", "a text or a number")
    long = pc.greater(pc.utf8_length(texts), MOST_LABEL).to_numpy(zero_copy_only=False)
    _refuse(long, texts, name, first, "is too long", f"at most {MOST_LABEL} characters")
    return texts


def _times(batch: pa.RecordBatch, name: str | None, now_ms: int, first: int) -> pa.Array:
    now = pa.scalar(now_ms, pa.int64()).cast(_TIME)
    if name is None:
        return pa.repeat(now, batch.num_rows)
    column = batch.column(name)
    times = to_event_time(column)
    unread = pc.and_(column.is_valid(), times.is_null()).to_numpy(zero_copy_only=False)
    _refuse(
        unread,
        as_text(column),
        name,
        first,
        "is not a time",
        "ISO 8601, or milliseconds since 1970",
    )
    return times.fill_null(now)


def _refuse(
    bad: NDArray[np.bool_], texts: pa.Array, name: str, first: int, what: str, accepted: str
) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        value = f"{texts[at].as_py()!r:.80} "
        raise InvalidInput(f"labels[{first + at}]: {name}: {value}{what}; accepted: {accepted}")


def _as_classes(texts: pa.Array, classes: tuple[str, ...]) -> pa.Array:
    """Each text as the class it means, itself where it means none; decided once for each text."""
    encoded = texts.dictionary_encode()
    written = [_as_class(text, classes) for text in encoded.dictionary.to_pylist()]
    return pa.array(written, pa.string()).take(encoded.indices)


def _as_class(text: str, classes: tuple[str, ...]) -> str:
    if text in classes:
        return text
    plain_text = text.strip()
    meant = {"true": "1", "false": "0"}.get(plain_text.lower(), "")
    for other in (
        plain_text,
        plain_text.lower(),
        plain_text.capitalize(),
        meant,
        _whole(plain_text),
    ):
        if other and other in classes:
            return other
    return text


def _whole(text: str) -> str:
    """`1.0` and `1e0` as `1`; an empty text for what is no whole number."""
    try:
        number = float(text)
    except ValueError:
        return ""
    return str(int(number)) if number.is_integer() else ""
