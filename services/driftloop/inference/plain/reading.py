"""A request body in one of our formats into numbers: the usual way fast, any other thoroughly."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from driftloop.contracts import batches
from driftloop.contracts.batches import Matrix, matrix_of
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.contracts.ipc import refuse_compressed
from driftloop.inference.core.call import row_ids
from driftloop.inference.domain.plan import Plan
from driftloop.inference.domain.prediction import model_input
from driftloop.inference.domain.rowplan import RowPlan
from driftloop.inference.plain.alike import Asked, Shapes
from driftloop.inference.plain.streams import Streams
from driftloop.modelspec.contract import MOST_ID
from driftloop.modelspec.rows import as_text, from_dicts, lenient_json
from driftloop.runtime.problems import UnsupportedType

JSON: Final = "application/json"
ACCEPTED: Final = (JSON, MSGPACK, ARROW)
_FORM: Final = "application/x-www-form-urlencoded"
FEW: Final = 64
"""Up to so many rows stay a list of numbers until their micro-batch is made."""


class _Inputs(msgspec.Struct, forbid_unknown_fields=True):
    """Rows as numbers in the order of the spec's features, in the codes of the matrix."""

    inputs: list[list[float]]
    id: str = ""


_INPUTS: Final = {
    JSON: msgspec.json.Decoder(_Inputs).decode,
    MSGPACK: msgspec.msgpack.Decoder(_Inputs).decode,
}
_ANY: Final[dict[str, Callable[[bytes], Any]]] = {
    JSON: msgspec.json.decode,
    MSGPACK: msgspec.msgpack.decode,
}
_MATRIX_STARTS: Final = (b'{"inputs"', b'{"id"')
_MATRIX_KEYS: Final = (b"\xa6in", b"\xa2id")
"""The beginnings of the same keys in MessagePack, after the byte that says how many there are."""


def kind_of(content_type: str, body: bytes = b"") -> str:
    """The format of a body; without a content type it is told by the body's first byte.

    `curl -d` says of any data that it comes from a form.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ACCEPTED:
        return kind
    if kind and kind != _FORM:
        raise UnsupportedType(
            f"content-type: {kind[:80]!r} is not read here; accepted: {', '.join(ACCEPTED)}"
        )
    return MSGPACK if body[:1] > b"\x7f" else JSON


class Reader:
    """Reads bodies for one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rows = RowPlan(plan)
        self._streams = Streams(plan)
        self._shapes = Shapes(partial(self.read, MSGPACK), plan.width)

    def read(self, kind: str, body: bytes) -> Asked:
        """The numbers of a body; raises `Reject` or `InvalidInput` that says what is wrong."""
        if kind == ARROW:
            return self._arrow(body)
        try:
            if kind == MSGPACK:
                if body[1:4] in _MATRIX_KEYS:
                    return self._inputs(_INPUTS[kind](body))
                return self._usual(*self._rows.msgpack(body))
            if body.startswith(_MATRIX_STARTS):
                return self._inputs(_INPUTS[kind](body))
            return self._usual(*self._rows.json(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.thorough(kind, body)

    def together(self, bodies: Sequence[bytes]) -> Asked | None:
        """The rows of MessagePack bodies of the same length; None: each has to be read alone."""
        return self._shapes.read(bodies)

    def thorough(self, kind: str, body: bytes) -> Asked:
        """The same through the data contract, which accepts more and names what it refuses."""
        if kind == ARROW:
            refuse_compressed(body)
            batch = batches.decode(body)
            if batch.schema.names == ["features"] != list(self._plan.names):
                return self._whole(batch.column(0))
            return self._batch(batch)
        given = _anything(kind, body)
        if isinstance(given, dict) and "inputs" in given and "inputs" not in self._plan.names:
            return self._inputs(_strict(given))
        rows = rows_in(given)
        return self._batch(from_dicts(rows))._replace(form="rows")

    def _usual(self, values: list[float], rows: int, ids: list[str]) -> Asked:
        return Asked(self._values(values), rows, _checked(ids), "rows")

    def _values(self, values: list[float]) -> list[float] | Matrix:
        if len(values) <= FEW * self._plan.width:
            return values
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float32).reshape(-1, self._plan.width)

    def _inputs(self, given: _Inputs) -> Asked:
        width = self._plan.width
        if not given.inputs:
            raise InvalidInput("inputs: there is no row; accepted: at least one")
        values: list[float] = []
        for at, row in enumerate(given.inputs):
            if len(row) != width:
                raise InvalidInput(
                    f"inputs: row {at} has {len(row)} numbers; accepted: {width}, one a feature"
                )
            values += row
        rows = len(given.inputs)
        ids = row_ids(given.id, rows) if given.id else ()
        return Asked(self._values(values), rows, _checked(ids), "matrix")

    def _arrow(self, body: bytes) -> Asked:
        matrix = self._streams.read(body)
        if matrix is None:
            return self.thorough(ARROW, body)
        return Asked(matrix, len(matrix), (), "arrow")

    def _whole(self, column: pa.Array) -> Asked:
        """All features of a row in one list; the plan says what is wrong with the numbers."""
        if column.type != pa.list_(pa.float32(), self._plan.width):
            raise InvalidInput(
                f"features: is {column.type!s:.80}; accepted: "
                f"fixed_size_list<float>[{self._plan.width}], or a column for each feature"
            )
        if not len(column):
            raise InvalidInput("rows: there is none; accepted: at least one row")
        return Asked(matrix_of(column), len(column), (), "arrow")

    def _batch(self, batch: pa.RecordBatch) -> Asked:
        matrix = model_input(self._plan.contract, batch)
        name = self._plan.spec.columns.event_id
        ids: Sequence[str] = ()
        if name in batch.schema.names and name not in self._plan.names:
            ids = as_text(batch.column(name)).fill_null("").to_pylist()
        return Asked(matrix, len(matrix), _checked(ids), "arrow")


def _anything(kind: str, body: bytes) -> Any:
    """The values of a body, whatever they are; raises `Reject` for what has none."""
    try:
        try:
            return _ANY[kind](body)
        except msgspec.ValidationError:  # a number beyond every float: the contract names its field
            if kind != JSON:
                raise
            return lenient_json(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Reject(f"body: not {kind} ({error}); accepted: rows as objects") from error


def _strict(given: dict[str, Any]) -> _Inputs:
    try:
        return msgspec.convert(given, _Inputs)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f'inputs: {error}; accepted: {{"inputs": [[numbers], ...]}}, a list for each row'
        ) from error


def _checked(ids: Sequence[str]) -> Sequence[str]:
    if not any(ids):
        return ()
    if not all(ids):
        raise InvalidInput(
            f"row {list(ids).index('')}: event_id: is missing; accepted: in every row, or in none"
        )
    for id in ids:
        if len(id) > MOST_ID:
            raise InvalidInput(
                f"event_id: {id[:40]!r}... has {len(id)} characters; accepted: at most {MOST_ID}"
            )
    return ids


def reader_of(plan: Plan) -> Reader:
    """The reader of a plan, made at its first request."""
    if plan.reader is None:
        plan.reader = Reader(plan)
    reader: Reader = plan.reader
    return reader


def rows_in(given: Any) -> list[dict[str, Any]]:
    """The rows of `{"rows": [...]}`, `[...]` or one row alone."""
    if isinstance(given, dict):
        rows = given.get("rows")
        given = rows if len(given) == 1 and isinstance(rows, list) else [given]
    if isinstance(given, list):
        if not given:
            raise InvalidInput("rows: there is none; accepted: at least one row")
        odd = next((at for at, row in enumerate(given) if not isinstance(row, dict)), None)
        if odd is None:
            return given
        raise InvalidInput(
            f"row {odd}: {given[odd]!r:.80} is no row; accepted: an object of field and value"
        )
    shown = repr(given)[:80]
    raise InvalidInput(
        f'body: {shown} is not rows; accepted: {{"rows": [...]}}, a list of rows, a row'
    )
