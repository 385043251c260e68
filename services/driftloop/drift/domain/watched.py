"""What is watched of a model: its features, answers, labels and losses, as signals."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from driftloop.drift.domain.categories import NAMED, Categories
from driftloop.drift.domain.cells import Cells, Matrix
from driftloop.drift.domain.losses import Losses
from driftloop.drift.domain.numbers import Numbers
from driftloop.drift.domain.signals import Signal
from driftloop.modelspec.spec import Feature, Spec

MOST_CLASSES: Final = 8
"""Classes whose probabilities are watched at most, the last ones."""
TRUTHS: Final = ("false", "true")


def features(spec: Spec) -> list[tuple[int, Signal]]:
    """Position in the matrix and signal of each feature that is monitored."""
    return [(at, _feature(feature)) for at, feature in enumerate(spec.features) if feature.monitor]


def answers(spec: Spec) -> list[tuple[int, Signal]]:
    """Column of the answer and signal; of two classes the last probability says it all."""
    width = spec.width
    if width <= 2:
        return [(width - 1, _number("prediction", "prediction", nullable=False))]
    classes = list(enumerate(spec.target.classes))[-MOST_CLASSES:]
    return [(at, _number(f"prediction:{c}", "prediction", nullable=False)) for at, c in classes]


def labels(spec: Spec) -> Signal:
    """The labels themselves, of the rows that the champion answered."""
    if spec.task == "classification":
        return _category("label", "label", spec.target.classes, nullable=False, unseen=False)
    return _number("label", "label", nullable=False)


def losses() -> Signal:
    """The champion's losses."""
    return Signal("loss", "loss", _losses, 1)


def _losses(reference: Matrix) -> Cells:
    return Losses("loss", reference)


def _feature(feature: Feature) -> Signal:
    name, nullable = feature.name, feature.nullable
    if feature.type == "category":
        unseen = feature.unseen == "accept"
        return _category(name, "covariate", feature.categories, nullable=nullable, unseen=unseen)
    if feature.type == "boolean":
        return _category(name, "covariate", TRUTHS, nullable=nullable, unseen=False)
    return _number(name, "covariate", nullable=nullable)


def _number(name: str, shift: str, *, nullable: bool) -> Signal:
    return Signal(name, shift, partial(_numbers, name, nullable), 2 + nullable)


def _numbers(name: str, nullable: bool, reference: Matrix) -> Cells:
    return Numbers(name, reference, nullable=nullable)


def _category(
    name: str, shift: str, names: Sequence[str], *, nullable: bool, unseen: bool
) -> Signal:
    learn = partial(_categories, name, tuple(names), nullable, unseen)
    alone = min(NAMED, len(names)) + 1 if len(names) > 2 else 1
    return Signal(name, shift, learn, alone + nullable + unseen)


def _categories(
    name: str, names: Sequence[str], nullable: bool, unseen: bool, reference: Matrix
) -> Cells:
    return Categories(name, reference, names, nullable=nullable, unseen=unseen)
