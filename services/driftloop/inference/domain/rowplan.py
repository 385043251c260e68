"""Rows by feature name straight into numbers, by a decoder compiled from the spec.

It reads what is usual. Whatever it does not read (a number as text, a missing field, a category
nobody knows) is left to the data contract, which reads more and names what it refuses.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from driftloop.inference.domain.plan import Plan
from driftloop.modelspec.columns import UNSEEN
from driftloop.modelspec.spec import Feature

NAN: Final = float("nan")
REFUSED: Final = float("inf")
"""No feature accepts it, so the plan sends such a row to the contract."""
_TYPES: Final[dict[str, Any]] = {
    "number": float,
    "integer": float,
    "category": str,
    "boolean": bool,
}


class Rows(NamedTuple):
    """Flat numbers (rows times features), how many rows, and their event ids (empty: not given)."""

    values: list[float]
    rows: int
    ids: list[str]


class RowPlan:
    """The decoder of one spec, for JSON and MessagePack."""

    def __init__(self, plan: Plan) -> None:
        self._width = plan.width
        row = _row_type(plan)
        body: Any = msgspec.defstruct(
            "Body",
            [("rows", list[row])],  # type: ignore[valid-type]  # made at run time
            forbid_unknown_fields=True,
        )
        self._json = msgspec.json.Decoder(body)
        self._json_list = msgspec.json.Decoder(list[row] | row)  # type: ignore[valid-type]  # as above
        self._msgpack = msgspec.msgpack.Decoder(body)
        self._special = [
            (at, _mapping(feature))
            for at, feature in enumerate(plan.spec.features)
            if feature.type == "category" or feature.nullable
        ]

    def json(self, body: bytes) -> Rows:
        """The rows of a JSON body; raises `msgspec.ValidationError` for what is not usual."""
        if body.startswith(b'{"rows":'):
            return self._rows(self._json.decode(body).rows)
        given = self._json_list.decode(body)
        return self._rows(given if isinstance(given, list) else [given])

    def msgpack(self, body: bytes) -> Rows:
        """The rows of a MessagePack body; raises `msgspec.ValidationError`."""
        return self._rows(self._msgpack.decode(body).rows)

    def _rows(self, rows: Sequence[Any]) -> Rows:
        if not rows:
            raise msgspec.ValidationError("no row")
        width = self._width
        values: list[Any] = []
        for row in rows:
            values += msgspec.structs.astuple(row)[:width]
        for at, (codes, other) in self._special:
            values[at::width] = (
                [codes.get(value, other) for value in values[at::width]]
                if codes
                else [NAN if value is None else value for value in values[at::width]]
            )
        return Rows(values, len(rows), [row.event_id or "" for row in rows])


def _row_type(plan: Plan) -> Any:
    spec = plan.spec
    fields: list[Any] = []
    names: dict[str, str] = {}
    for at, feature in enumerate(spec.features):
        kind = _TYPES[feature.type]
        field = f"f{at}"
        names[field] = feature.name
        fields.append((field, kind | None, None) if feature.nullable else (field, kind))
    known = {spec.columns.event_id: "event_id"}
    others = (spec.columns.event_time, spec.columns.key, spec.target.name)
    for at, other in enumerate(dict.fromkeys(filter(None, others))):
        known.setdefault(other, f"other{at}")
    for name, field in known.items():
        if name not in plan.names:
            names[field] = name
            fields.append((field, str | None if field == "event_id" else Any, None))
    if "event_id" not in names:
        fields.append(("event_id", None, None))
    return msgspec.defstruct(
        "Row",
        fields,
        rename=names,
        kw_only=True,
        gc=False,
        forbid_unknown_fields=spec.unknown_columns == "reject",
    )


def _mapping(feature: Feature) -> tuple[dict[str | None, float], float]:
    """Codes of a category by its text; nothing for a number that may be missing."""
    if feature.type != "category":
        return {}, REFUSED
    codes: dict[str | None, float] = {c: float(at) for at, c in enumerate(feature.categories)}
    if feature.nullable:
        codes[None] = NAN
    return codes, UNSEEN if feature.unseen == "accept" else REFUSED
