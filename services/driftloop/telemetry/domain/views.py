"""A model's views, `<model>_scored` and `<model>_outcomes`: the columns of its spec by name."""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from driftloop.contracts.sql import identifier, text
from driftloop.modelspec.spec import Feature, Spec

SUFFIXES: Final = {"scored": "_scored", "outcomes": "_outcomes"}
UNSEEN: Final = "(unseen)"


class View(NamedTuple):
    """A view: the statement that makes it, or makes it anew, and what tells it from another.

    `digest` is the view's comment, so that those that are up to date can be told without a try.
    """

    name: str
    digest: str
    statement: str


def views(spec: Spec) -> list[View]:
    """The views of a model."""
    made = []
    for table, suffix in SUFFIXES.items():
        statement = _view(spec, table, suffix)
        digest = hashlib.sha256(statement.encode()).hexdigest()[:16]
        made.append(View(spec.name + suffix, digest, f"{statement}\nCOMMENT {text(digest)}"))
    return made


def _view(spec: Spec, table: str, suffix: str) -> str:
    columns = ",\n    ".join(
        f"{expression} AS {identifier(name)}" for name, expression in _columns(spec, table)
    )
    name, model = identifier(spec.name + suffix), text(spec.name)
    return (
        f"CREATE OR REPLACE VIEW {name} AS SELECT\n    {columns}\n"
        f"FROM {table} AS t FINAL WHERE t.model = {model}"
    )


def _columns(spec: Spec, table: str) -> Iterator[tuple[str, str]]:
    """Names and expressions; a column of ours gives way to a feature of the same name."""
    taken: set[str] = set()
    wanted = [*_features(spec), *_ours(spec, table)]
    for name, expression in wanted:
        free = name
        while free in taken:
            free = f"{free}_"
        taken.add(free)
        yield free, expression


def _features(spec: Spec) -> Iterator[tuple[str, str]]:
    for at, feature in enumerate(spec.features, 1):
        yield feature.name, _feature(feature, f"arrayElementOrNull(t.features, {at})")


def _feature(feature: Feature, value: str) -> str:
    known = f"ifNull(isFinite({value}), false)"
    if feature.type == "category":
        names = f"[{', '.join(text(c) for c in feature.categories)}]"
        category = f"arrayElementOrNull({names}, toInt64(assumeNotNull({value})) + 1)"
        return f"multiIf(NOT {known}, NULL, {value} < 0, {text(UNSEEN)}, {category})"
    if feature.type == "boolean":
        return f"if({known}, {value} != 0, NULL)"
    if feature.type == "integer":
        return f"if({known}, toInt64(assumeNotNull({value})), NULL)"
    return f"if({known}, {value}, NULL)"


def _ours(spec: Spec, table: str) -> Iterator[tuple[str, str]]:
    if table == "outcomes":
        yield spec.target.name, _label(spec)
        yield "label_time", "t.label_time"
    for name in ("event_id", "event_time", "key", "version"):
        yield name, f"t.{identifier(name)}"
    for at, answer in enumerate(_answers(spec), 1):
        yield answer, f"arrayElementOrNull(t.answer, {at})"
    for name in ("shadow_versions", "shadow_answers", "seq"):
        yield name, f"t.{name}"
    if table == "scored":
        yield "latency", "t.latency"


def _label(spec: Spec) -> str:
    if spec.task == "regression":
        return "t.label"
    names = f"[{', '.join(text(c) for c in spec.target.classes)}]"
    return f"arrayElementOrNull({names}, toInt64(t.label) + 1)"


def _answers(spec: Spec) -> list[str]:
    return (
        [f"p_{c}" for c in spec.target.classes] if spec.task == "classification" else ["predicted"]
    )
