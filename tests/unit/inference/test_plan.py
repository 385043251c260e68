import re

import numpy as np
import pytest

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.domain.plan import SHOWN, Plan
from driftloop.modelspec.spec import Feature, Registered, Spec, Target

NAN, INF = float("nan"), float("inf")
LARGEST = float(np.finfo(np.float32).max)


def plan(*features: Feature) -> Plan:
    spec = Spec(
        name="m", task="classification", target=Target(classes=("a", "b")), features=features
    )
    return Plan(Registered(spec=spec, revision=7, by="t", at=0.0))


def fits(feature: Feature, value: float) -> bool:
    return plan(feature).fits(np.array([[value]], np.float32))


CASES = [
    (Feature(name="f"), (0.0, -LARGEST, LARGEST, 1e-45), (NAN, INF, -INF)),
    (Feature(name="f", nullable=True), (0.0, NAN), (INF, -INF)),
    (Feature(name="f", min=-1, max=2.5), (-1.0, 2.5, 0.1), (-1.001, 2.501, NAN, INF)),
    (Feature(name="f", min=0.1), (0.1, 5.0), (0.09, NAN, INF)),
    (Feature(name="f", type="integer"), (0.0, -7.0, 16_777_216.0), (0.5, NAN, INF, -INF)),
    (
        Feature(name="f", type="integer", min=1, max=3, nullable=True),
        (1.0, 3.0, NAN),
        (0.0, 4.0, 2.5),
    ),
    (Feature(name="f", type="boolean"), (0.0, 1.0), (0.5, 2.0, -1.0, NAN, INF)),
    (Feature(name="f", type="boolean", nullable=True), (0.0, 1.0, NAN), (2.0,)),
    (
        Feature(name="f", type="category", categories=("x", "y")),
        (0.0, 1.0),
        (-1.0, 2.0, 0.5, NAN, INF),
    ),
    (
        Feature(name="f", type="category", categories=("x", "y"), unseen="accept"),
        (-1.0, 0.0, 1.0),
        (-2.0, -0.5, 2.0, NAN),
    ),
    (
        Feature(name="f", type="category", categories=("x",), nullable=True),
        (0.0, NAN),
        (-1.0, 1.0, INF),
    ),
]


@pytest.mark.parametrize(("feature", "good", "bad"), CASES)
def test_a_value_fits_exactly_when_the_contract_accepts_it(
    feature: Feature, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    assert [value for value in good if not fits(feature, value)] == []
    assert [value for value in bad if fits(feature, value)] == []


@pytest.mark.parametrize(("low", "high"), [(-1e300, 1e300), (None, 1e39), (-1e39, None)])
def test_bounds_beyond_float32_let_no_infinite_value_in(
    low: float | None, high: float | None
) -> None:
    feature = Feature(name="f", min=low, max=high)
    assert fits(feature, LARGEST)
    assert fits(feature, -LARGEST)
    assert not fits(feature, INF)
    assert not fits(feature, -INF)


def test_a_bound_that_float32_does_not_hold_is_rounded_like_the_values() -> None:
    feature = Feature(name="f", max=0.1)  # as float32 a little more than 0.1
    assert fits(feature, 0.1)
    assert fits(feature, 0.1 + 1e-10)  # the same float32; rows by name refuse it
    assert not fits(feature, 0.1 + 1e-8)


def test_check_is_silent_when_all_fits() -> None:
    plan(Feature(name="f"), Feature(name="g", nullable=True)).check(
        np.array([[1.0, NAN]], np.float32)
    )


def test_check_names_row_feature_value_and_what_is_accepted() -> None:
    made = plan(
        Feature(name="n", min=0, max=1),
        Feature(name="c", type="category", categories=("x", "y"), unseen="accept"),
        Feature(name="b", type="boolean", nullable=True),
    )
    matrix = np.array([[0, 0, 0], [7, 5, 3], [NAN, -1, NAN]], np.float32)
    with pytest.raises(InvalidInput) as raised:
        made.check(matrix)
    first, second = str(raised.value).splitlines()
    assert first.startswith("row 1: n: 7 is not accepted; accepted: a finite number from 0 to 1;")
    assert "c: 5 is not accepted; accepted: -1 (any other) or the position in x, y" in first
    assert "b: 3 is not accepted; accepted: 0 or 1, or NaN" in first
    assert second == "row 2: n: is missing (NaN); accepted: a finite number from 0 to 1"


def test_many_bad_rows_are_told_up_to_a_bound_and_the_rest_is_counted() -> None:
    matrix = np.full((SHOWN + 30, 1), NAN, np.float32)
    with pytest.raises(InvalidInput) as raised:
        plan(Feature(name="f")).check(matrix)
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (SHOWN + 1, "and 30 more bad rows")


def test_a_wide_bad_row_is_told_by_its_first_features() -> None:
    made = plan(*(Feature(name=f"f{at}") for at in range(500)))
    with pytest.raises(InvalidInput) as raised:
        made.check(np.full((1, 500), INF, np.float32))
    assert len(re.findall(r"f\d+: inf", str(raised.value))) == 3


def test_a_feature_may_take_the_name_of_the_matrix() -> None:
    assert plan(Feature(name="X")).has_matrix_name
    assert not plan(Feature(name="x")).has_matrix_name
