"""The spec's loss of a row in SQL: the same numbers as `modelspec.losses` gives in Python."""

from typing import Final

from driftloop.modelspec.spec import Spec

CLIP: Final = 1e-6
"""As in `evidence.losses.clipped_log_loss`."""
RANGE_TOLERANCE: Final = 1e-6
SUM_TOLERANCE: Final = 1e-3
"""What rounding may do to probabilities, as in `evidence.arrays`."""


def loss_sql(spec: Spec, answer: str, label: str = "label") -> str:
    """The loss of the answer (an array) to a row with this label; NULL where there is none.

    An answer of another width, with a number that is not finite, or that is no distribution has no
    loss, and no label has one that is no class.
    """
    if spec.task == "regression":
        return _of_value(spec, answer, label)
    return _of_classes(spec, answer, label)


def shadow_sql(version: str) -> str:
    """The answer of a shadow, an empty array where that version did not answer."""
    return f"shadow_answers[indexOf(shadow_versions, {version})]"


def _of_value(spec: Spec, answer: str, label: str) -> str:
    error = f"abs(toFloat64({answer}[1]) - {label}) / {spec.target.scale!r}"
    least = f"least({error}, 1.)"
    loss = f"{least} * {least}" if spec.loss == "scaled_squared" else least
    return f"if(length({answer}) = 1 AND isFinite({answer}[1]) AND isFinite({label}), {loss}, NULL)"


def _of_classes(spec: Spec, answer: str, label: str) -> str:
    width = spec.width
    low, high = -RANGE_TOLERANCE, 1.0 + RANGE_TOLERANCE
    chances = f"arrayMap(x -> toFloat64(x), {answer})"
    within = f"arrayAll(x -> isFinite(x) AND x >= {low!r} AND x <= {high!r}, {chances})"
    whole = f"abs(arraySum({chances}) - 1) <= {SUM_TOLERANCE!r}"
    known = f"{label} >= 0 AND {label} < {width}"
    clipped = f"arrayMap(x -> least(greatest(x, 0.), 1.), {chances})"
    loss = _LOSSES[spec.loss].format(p=clipped, y=f"toInt64({label})", clip=repr(CLIP))
    if spec.loss == "brier" and width == 2:
        loss = f"pow({clipped}[2] - toInt64({label}), 2)"
    return f"if(length({answer}) = {width} AND {within} AND {whole} AND {known}, {loss}, NULL)"


_LOSSES: Final = {
    "brier": (
        "least(0.5 * arraySum(arrayMap((x, i) -> pow(x - (i = {y} + 1), 2),"
        " {p}, arrayEnumerate({p}))), 1.)"
    ),
    "zero_one": "toFloat64(indexOf({p}, arrayMax({p})) != {y} + 1)",
    "clipped_log_loss": (
        "least(greatest(log(greatest({p}[{y} + 1], {clip})) / log({clip}), 0.), 1.)"
    ),
}
