"""Which columns a batch has: looked at where a batch becomes state, so that none spoils it."""

from typing import Final

import pyarrow as pa

from driftloop.contracts.batches import (
    EVENT_ID,
    EVENT_TIME,
    KEY,
    LABEL,
    LABEL_TIME,
    LABELS,
    SHADOW_PREFIX,
    VERSION,
)
from driftloop.contracts.errors import Reject

_LISTS: Final = ("features", "answer")


def check_scored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` if it can be one of scored rows, else `Reject` that names the column."""
    _check_ids(batch)
    for field in (EVENT_TIME, KEY, VERSION):
        _check(batch, field, field.type)
    _check_no_nulls(batch, EVENT_TIME)
    for name in batch.schema.names:
        if name.startswith(SHADOW_PREFIX):
            if not name.removeprefix(SHADOW_PREFIX).isdecimal():
                raise Reject(f"{name}: is no column; accepted: {SHADOW_PREFIX} and a version")
            _check_list(batch, name)
    for name in _LISTS:
        _check_list(batch, name)
    return batch


def check_outcomes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same of scored rows with their labels."""
    check_scored(batch)
    for field in (LABEL, LABEL_TIME):
        _check(batch, field, field.type)
    _check_no_nulls(batch, LABEL)
    return batch


def check_labels(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same of labels: these three columns, in this order."""
    _check_ids(batch)
    for at, field in enumerate(LABELS):
        _check(batch, field, field.type)
        if batch.schema.get_field_index(field.name) != at:
            raise Reject(f"{field.name}: is not column {at}; accepted: {', '.join(LABELS.names)}")
    return batch


def check_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same of any rows whose first column is their event id."""
    _check_ids(batch)
    return batch


def _check_ids(batch: pa.RecordBatch) -> None:
    _check(batch, EVENT_ID, EVENT_ID.type)
    _check_no_nulls(batch, EVENT_ID)
    if batch.schema.get_field_index(EVENT_ID.name) != 0:
        raise Reject(f"{EVENT_ID.name}: is not the first column; accepted: the first")


def _check(batch: pa.RecordBatch, field: pa.Field, kind: pa.DataType) -> None:
    at = batch.schema.get_field_index(field.name)
    if at < 0:
        raise Reject(f"{field.name}: is not there, or twice; accepted: a column of {kind}")
    if batch.schema.field(at).type != kind:
        raise Reject(f"{field.name}: is {batch.schema.field(at).type}; accepted: {kind}")


def _check_no_nulls(batch: pa.RecordBatch, field: pa.Field) -> None:
    if batch.column(field.name).null_count:
        raise Reject(f"{field.name}: is null in some row; accepted: a value in each")


def _check_list(batch: pa.RecordBatch, name: str) -> None:
    at = batch.schema.get_field_index(name)
    kind = batch.schema.field(at).type if at >= 0 else pa.null()
    fits = pa.types.is_fixed_size_list(kind) and kind.list_size > 0
    if not fits or kind.value_type != pa.float32():
        raise Reject(f"{name}: is {kind}; accepted: one column of fixed-size lists of float")
