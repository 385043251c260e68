"""Checks a spec as a whole: every problem at once, with field, value and what is accepted."""

import math
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.names import MODEL_NAME, MODEL_NAME_ACCEPTED
from driftloop.evidence.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES
from driftloop.modelspec import durations
from driftloop.modelspec import spec as spec_of
from driftloop.modelspec.spec import Feature, Spec, Training

_ESTIMATOR: Final = re.compile(r"default\Z|[A-Za-z_][\w.]*[.:][A-Za-z_]\w*\Z")
_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "target": spec_of.Target,
    "columns": spec_of.Columns,
    "features": Feature,
    "training": spec_of.Training,
    "gates": spec_of.Gates,
    "slices": spec_of.Slice,
    "drift": spec_of.Drift,
    "triggers": spec_of.Triggers,
    "shadow": spec_of.Shadow,
    "probation": spec_of.Probation,
    "join": spec_of.Join,
    "limits": spec_of.Limits,
}
_RESERVED: Final = ("features", "answer", "version", "reason", "row")


class SpecError(InvalidInput):
    """One or more fields of a spec are not accepted; one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> Spec:
    """The checked spec in a TOML file; raises `SpecError`."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([f"spec: {error}; accepted: a TOML document in UTF-8"]) from error
    return parse(text)


def parse(text: str) -> Spec:
    """The checked spec in a TOML text; raises `SpecError`."""
    try:
        raw = tomllib.loads(text)
    except RecursionError as error:
        raise SpecError(["spec: nested too deep; accepted: a TOML document"]) from error
    except ValueError as error:  # of TOML, or of Python for a number or a date in it
        raise SpecError([f"spec: {error}; accepted: a TOML document"]) from error
    return from_dict(raw)


def from_dict(raw: dict[str, Any]) -> Spec:
    """The checked spec in a mapping, as TOML has it; raises `SpecError`."""
    try:
        return check(msgspec.convert(raw, Spec))
    except msgspec.ValidationError as error:
        raise SpecError([_structural(str(error), raw)]) from error


def check(spec: Spec) -> Spec:
    """`spec` itself if every field is accepted, else `SpecError` with all the problems."""
    problems = [
        f"{field}: {value!r} {problem}; accepted: {accepted}"
        for field, value, problem, accepted in _problems(spec)
    ]
    if problems:
        raise SpecError(problems)
    return spec


def _structural(message: str, raw: dict[str, Any]) -> str:
    """msgspec's message with the field in front and the value at hand."""
    found = re.search(r"`\$\.?(.*)`\Z", message)
    path = found[1] if found else ""
    value: Any = raw
    for step in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[int(step)] if step.isdigit() else value[step]
        except (KeyError, IndexError, TypeError):
            break
    text = message.split(" - at ")[0]
    shown = "" if isinstance(value, dict | list) else f" (found {value!r})"
    accepted = "the fields and types of the spec reference"
    if "unknown field" in text:
        accepted = ", ".join(_TABLES.get(path.split(".")[0].split("[")[0], Spec).__struct_fields__)
    return f"{path or 'spec'}: {text}{shown}; accepted: {accepted}"


Problem = tuple[str, object, str, str]


def _problems(spec: Spec) -> Iterator[Problem]:
    if not MODEL_NAME.match(spec.name):
        yield "name", spec.name, "is not a model name", MODEL_NAME_ACCEPTED
    yield from _columns(spec)
    yield from _target(spec)
    yield from _features(spec)
    yield from _slices(spec)
    yield from _numbers(spec)
    yield from _windows(spec.training)
    yield from _durations(spec)
    estimator = spec.training.estimator
    if not _ESTIMATOR.match(estimator):
        accepted = "'default', the dotted path of a scikit-learn estimator, or 'module:function'"
        yield "training.estimator", estimator, "is not an estimator", accepted


def _columns(spec: Spec) -> Iterator[Problem]:
    named = (spec.columns.event_id, spec.columns.event_time)
    if not all(named) or named[0] == named[1]:
        yield "columns", list(named), "does not name two columns", "two different names"


def _target(spec: Spec) -> Iterator[Problem]:
    classes = spec.target.classes
    if spec.task == "classification" and (len(classes) < 2 or len(set(classes)) != len(classes)):
        yield (
            "target.classes",
            list(classes),
            "does not name the classes",
            "at least two different class labels",
        )
    if spec.task == "regression" and classes:
        yield "target.classes", list(classes), "makes no sense for a regression", "no classes"
    if spec.target.scale <= 0:
        yield "target.scale", spec.target.scale, "is not a scale", "a number above 0"
    losses = CLASSIFICATION_LOSSES if spec.task == "classification" else REGRESSION_LOSSES
    if spec.loss not in losses:
        yield "shadow.loss", spec.loss, f"is not a loss for {spec.task}", ", ".join(sorted(losses))


def _features(spec: Spec) -> Iterator[Problem]:
    if not spec.features:
        yield "features", [], "is empty", "at least one feature"
    named = [f.name for f in spec.features]
    taken = {*_RESERVED, spec.columns.event_id, spec.columns.event_time, spec.target.name}
    for at, feature in enumerate(spec.features):
        where = f"features[{at}]"
        if not feature.name or feature.name in taken or named.index(feature.name) != at:
            yield (
                f"{where}.name",
                feature.name,
                "cannot name a feature",
                "a name no other column has",
            )
        yield from _feature(where, feature)


def _feature(where: str, feature: Feature) -> Iterator[Problem]:
    bounds = (feature.min, feature.max)
    if feature.type == "category":
        if not feature.categories or len(set(feature.categories)) != len(feature.categories):
            yield (
                f"{where}.categories",
                list(feature.categories),
                "does not list the categories",
                "different texts",
            )
        if bounds != (None, None):
            yield f"{where}.min", bounds, "makes no sense for a category", "no min and max"
        return
    if feature.categories:
        yield (
            f"{where}.categories",
            list(feature.categories),
            f"makes no sense for a {feature.type}",
            "no categories",
        )
    for field, bound in (("min", feature.min), ("max", feature.max)):
        if bound is not None and not math.isfinite(bound):
            yield f"{where}.{field}", bound, "is not a bound", "a finite number"
    if feature.min is not None and feature.max is not None and not feature.min < feature.max:
        yield (
            f"{where}.min",
            feature.min,
            f"is not below max ({feature.max})",
            "a min below the max",
        )


def _slices(spec: Spec) -> Iterator[Problem]:
    features = {f.name: f for f in spec.features}
    for at, part in enumerate(spec.slices):
        feature = features.get(part.feature)
        if feature is None:
            yield f"slices[{at}].feature", part.feature, "is not a feature", ", ".join(features)
        elif feature.type == "category" and part.value not in feature.categories:
            yield (
                f"slices[{at}].value",
                part.value,
                "is not a category",
                ", ".join(feature.categories),
            )


def _numbers(spec: Spec) -> Iterator[Problem]:
    t, s, p, d = spec.training, spec.shadow, spec.probation, spec.drift
    rows = "a whole number of rows above 0"
    for field, value in (
        ("training.window_rows", t.window_rows),
        ("training.min_rows", t.min_rows),
        ("training.min_rows_since_change", t.min_rows_since_change),
        ("training.holdout_rows", t.holdout_rows),
        ("triggers.new_data_rows", spec.triggers.new_data_rows),
        ("shadow.min_rows", s.min_rows),
        ("shadow.max_rows", s.max_rows),
        ("probation.max_rows", p.max_rows),
        ("drift.reference_rows", d.reference_rows),
        ("join.max_rows", spec.join.max_rows),
    ):
        if value < 1:
            yield field, value, "is not a number of rows", rows
    if t.min_rows > t.window_rows:
        yield (
            "training.min_rows",
            t.min_rows,
            "is above training.window_rows",
            f"at most {t.window_rows}",
        )
    if not 0.01 <= t.holdout <= 0.5:
        yield "training.holdout", t.holdout, "is not a share", "a number from 0.01 to 0.5"
    if not 0 < s.level < 0.5:
        yield "shadow.level", s.level, "is not an error level", "a number above 0 and below 0.5"
    if not -1 < s.margin < 1:
        yield "shadow.margin", s.margin, "is not a margin", "a loss difference between -1 and 1"
    if not 0 <= s.non_inferiority < 1 + min(s.margin, 0.0):
        accepted = "a loss difference from 0 to below 1, and above -1 when taken from the margin"
        yield "shadow.non_inferiority", s.non_inferiority, "is not a tolerance", accepted
    if not 0 <= s.share <= 1:
        yield "shadow.share", s.share, "is not a share", "a number from 0 to 1"
    if not 0 < d.alarms_per_million <= 1_000:
        accepted = "a number above 0, up to 1000"
        yield "drift.alarms_per_million", d.alarms_per_million, "is not a budget", accepted


def _windows(t: Training) -> Iterator[Problem]:
    if not t.windows or len(set(t.windows)) != len(t.windows):
        yield (
            "training.windows",
            list(t.windows),
            "does not name the training sets",
            "one or more different ones of newest, since_change, weighted",
        )
    if not 0.01 <= t.half_life <= 10:
        yield "training.half_life", t.half_life, "is not a half-life", "a share from 0.01 to 10"


def _durations(spec: Spec) -> Iterator[Problem]:
    for field, value in (
        ("training.time_limit", spec.training.time_limit),
        ("triggers.cooldown", spec.triggers.cooldown),
        ("triggers.every", spec.triggers.every),
        ("shadow.max_duration", spec.shadow.max_duration),
        ("probation.max_duration", spec.probation.max_duration),
        ("join.predictions_wait", spec.join.predictions_wait),
        ("join.labels_wait", spec.join.labels_wait),
        ("limits.future", spec.limits.future),
        ("limits.stage_deadline", spec.limits.stage_deadline),
        ("limits.approval_deadline", spec.limits.approval_deadline),
    ):
        try:
            durations.seconds(value)
        except ValueError:
            yield field, value, "is not a duration", durations.ACCEPTED
    try:
        datetime.fromisoformat(spec.limits.earliest)
    except ValueError:
        yield (
            "limits.earliest",
            spec.limits.earliest,
            "is not a date",
            "an ISO 8601 date such as 2000-01-01",
        )
