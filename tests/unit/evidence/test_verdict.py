"""The decision that an interval allows."""

import math

import pytest

from driftloop.evidence import Interval, verdict


@pytest.mark.parametrize(
    ("lower", "upper", "margin", "expected"),
    [
        (0.001, 0.02, 0.0, "better"),
        (-0.02, -0.001, 0.0, "worse"),
        (-0.01, 0.01, 0.0, "undecided"),
        (0.001, 0.02, 0.002, "undecided"),
        (-0.001, 0.02, -0.002, "better"),
        (0.0, 0.02, 0.0, "better"),
        (-0.02, 0.0, 0.0, "worse"),
    ],
)
def test_only_an_interval_clear_of_the_margin_decides(
    lower: float, upper: float, margin: float, expected: str
) -> None:
    assert verdict(Interval(lower, upper, mean=0.0, rows=10), margin) == expected


@pytest.mark.parametrize("margin", [math.nan, math.inf])
def test_a_margin_that_is_not_finite_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"margin is {margin}; accepted is a finite number"):
        verdict(Interval(-1.0, 1.0, mean=0.0, rows=0), margin)
