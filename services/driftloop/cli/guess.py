"""A first spec guessed from the columns of a data file; pure, and it says what it guessed."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from driftloop.cli.profile import Profile
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.spec import FeatureType, Task

MOST_CLASSES: Final = 20
MOST_CATEGORIES: Final = 50
FEWEST_ROWS: Final = 50
LABEL_TIME: Final = "label_time"
_TARGETS: Final = ("label", "target", "y", "class", "outcome")
_IDS: Final = ("event_id", "id", "uuid", "row_id")
_DAY_MS: Final = 86_400_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the user said; an empty text is to be guessed."""

    name: str = ""
    target: str = ""
    event_time: str = ""
    event_id: str = ""
    key: str = ""


class GuessedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature and, in words, what was seen of it."""

    name: str
    type: FeatureType
    seen: str
    min: float | None = None
    max: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """The guessed spec: its parts, and remarks for the person who will edit it."""

    name: str
    task: Task
    target: str
    classes: tuple[str, ...]
    scale: float
    event_id: str
    event_time: str
    key: str
    features: tuple[GuessedFeature, ...]
    dropped: tuple[str, ...]
    rows: int
    labelled: int
    wait_days: int
    earliest: str
    remarks: tuple[str, ...]

    @property
    def first_model_rows(self) -> int:
        """Labelled rows before a first model: so few that this very file suffices."""
        return max(FEWEST_ROWS, int(0.6 * self.labelled))


def guess(columns: Sequence[Profile], stem: str, wanted: Wanted) -> Guess:
    """The first spec for a file with these columns; raises `InvalidInput`."""
    by_name = {column.name: column for column in columns}
    _known(wanted, by_name)
    remarks: list[str] = []
    time = _event_time(columns, wanted, remarks)
    identity = _event_id(columns, wanted, remarks)
    target = _target(columns, wanted, {time, identity, wanted.key, LABEL_TIME}, remarks)
    label = by_name[target]
    task, classes, scale = _task(label, remarks)
    rest = [c for c in columns if c.name not in {time, identity, wanted.key, target, LABEL_TIME}]
    features = [made for made in map(_feature, rest) if isinstance(made, GuessedFeature)]
    dropped = [f"{c.name} ({_why_not(c)})" for c in rest if _feature(c) is None]
    if not features:
        raise InvalidInput(
            f"FILE: no column is left that can be a feature; found: {', '.join(by_name)}"
        )
    remarks += [f"left out: {one}" for one in dropped]
    moments = by_name.get(time)
    made = Guess(
        name=wanted.name or _model_name(stem),
        task=task,
        target=target,
        classes=classes,
        scale=scale,
        event_id=identity or "event_id",
        event_time=time or "event_time",
        key=wanted.key,
        features=tuple(features),
        dropped=tuple(dropped),
        rows=label.rows,
        labelled=label.rows - label.missing,
        wait_days=max(30, math.ceil(2 * (moments.high - moments.low) / _DAY_MS) + 1)
        if moments
        else 30,
        earliest=_earliest(moments),
        remarks=(),
    )
    remarks += _sizes(made, moments)
    return msgspec.structs.replace(made, remarks=tuple(remarks))


def _known(wanted: Wanted, by_name: dict[str, Profile]) -> None:
    for option, column in (
        ("--target", wanted.target),
        ("--event-time", wanted.event_time),
        ("--id", wanted.event_id),
        ("--key", wanted.key),
    ):
        if column and column not in by_name:
            raise InvalidInput(
                f"{option}: {column!r} is not a column; accepted: {', '.join(by_name)}"
            )


def _event_time(columns: Sequence[Profile], wanted: Wanted, remarks: list[str]) -> str:
    found = wanted.event_time or next(
        (c.name for c in columns if c.kind == "time" and not c.missing and c.name != LABEL_TIME), ""
    )
    if wanted.event_time:
        return found
    said = (
        f"event time: {found} (the first column of times)"
        if found
        else "event time: no column of times;"
    )
    remarks.append(said if found else f"{said} each row gets the time it is sent")
    return found


def _event_id(columns: Sequence[Profile], wanted: Wanted, remarks: list[str]) -> str:
    if wanted.event_id:
        return wanted.event_id
    can = {c.name.lower(): c.name for c in columns if c.unique and c.kind in ("text", "integer")}
    named = [name for name in can if name in _IDS or name.endswith(("_id", "uuid"))]
    best = min(named, key=lambda n: _IDS.index(n) if n in _IDS else len(_IDS), default="")
    if best:
        remarks.append(f"event id: {can[best]} (its values are unique)")
        return can[best]
    remarks.append("event id: no unique column named like one; rows are numbered by file and line")
    return ""


def _target(columns: Sequence[Profile], wanted: Wanted, taken: set[str], remarks: list[str]) -> str:
    if wanted.target:
        return wanted.target
    free = [c.name for c in columns if c.name not in taken and c.kind not in ("empty", "time")]
    if not free:
        raise InvalidInput("--target: no column is left to predict; accepted: the name of a column")
    lower = {name.lower(): name for name in free}
    named = next((lower[name] for name in _TARGETS if name in lower), "")
    remarks.append(f"target: {named or free[-1]} ({'by its name' if named else 'the last column'})")
    return named or free[-1]


def _task(label: Profile, remarks: list[str]) -> tuple[Task, tuple[str, ...], float]:
    if 2 <= label.distinct <= MOST_CLASSES and label.values:
        remarks.append(
            f"task: classification ({label.distinct} different values: {', '.join(label.values)})"
        )
        return "classification", label.values, 1.0
    if label.numeric and label.distinct > 1:
        scale = _round(label.p95 - label.p05, math.ceil) or 1.0
        remarks.append(
            f"task: regression ({label.distinct} different numbers; scale of errors {scale:g})"
        )
        return "regression", (), scale
    raise InvalidInput(
        f"--target: {label.name!r} has {label.distinct} different values ({label.kind});"
        f" accepted: a column with 2 to {MOST_CLASSES} different values, or one of numbers"
    )


def _feature(column: Profile) -> GuessedFeature | None:
    missing = f", {column.missing:,} missing" if column.missing else ""
    if _why_not(column):
        return None
    if column.kind == "boolean":
        return GuessedFeature(
            name=column.name,
            type="boolean",
            seen=f"true and false{missing}",
            nullable=column.missing > 0,
        )
    if column.kind == "text":
        return GuessedFeature(
            name=column.name,
            type="category",
            seen=f"{column.distinct} texts{missing}",
            categories=column.values,
            nullable=column.missing > 0,
        )
    low, high = slack(column.low, column.high)
    return GuessedFeature(
        name=column.name,
        type="integer" if column.kind == "integer" else "number",
        seen=f"{column.low:g} to {column.high:g}{missing}",
        min=math.floor(low) if column.kind == "integer" else low,
        max=math.ceil(high) if column.kind == "integer" else high,
        nullable=column.missing > 0,
    )


def _why_not(column: Profile) -> str:
    """Why a column is no feature; empty when it is one."""
    if column.kind == "empty":
        return "it is empty"
    if column.kind == "time":
        return "a second column of times"
    if column.distinct < 2:
        return "always the same value"
    if column.kind == "text" and (not column.values or column.distinct > max(2, column.rows // 2)):
        return f"{column.distinct:,} different texts; at most {MOST_CATEGORIES} make a category"
    return ""


def slack(low: float, high: float) -> tuple[float, float]:
    """The range with half its width to spare on either side, but no sign that was never seen."""
    spare = 0.5 * (high - low) or max(abs(high), 1.0)
    bottom, top = _round(low - spare, math.floor), _round(high + spare, math.ceil)
    if low >= 0:
        bottom = max(0.0, bottom)
    elif high <= 0:
        top = min(0.0, top)
    if bottom < top:
        return bottom, top
    return 0.0 if low >= 0 else low - 1.0, 0.0 if high <= 0 else high + 1.0


def _round(value: float, way: Callable[[float], int]) -> float:
    """Two significant digits, up or down."""
    if abs(value) < 1e-300 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{way(value / unit) * unit:.6g}")


def _model_name(stem: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:63] or "model"


def _earliest(moments: Profile | None) -> str:
    """The start of the century, or of the century before the oldest row's."""
    if moments is None:
        return "2000-01-01"
    year = datetime.fromtimestamp(moments.low / 1000, UTC).year
    return "2000-01-01" if year > 2000 else f"{max(1, year - 1):04d}-01-01"


def _sizes(made: Guess, moments: Profile | None) -> list[str]:
    said = [f"first model: after {made.first_model_rows:,} labelled rows of {made.labelled:,}"]
    if made.labelled < FEWEST_ROWS:
        said.append(f"too few: {made.labelled} labelled rows; a first model needs {FEWEST_ROWS}")
    if moments is not None and not moments.ordered:
        said.append(
            f"order: the rows are not in the order of {moments.name}; the newest rows judge a model"
        )
    return said
