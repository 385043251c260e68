"""The false-alarm budget of a model, shared by groups of detectors."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.evidence import split_alarm_budget


def test_one_group_has_the_whole_budget() -> None:
    assert split_alarm_budget(1.0, {"loss": 0.3}) == {"loss": pytest.approx(1e6)}
    assert split_alarm_budget(4.0, {"loss": 0.3}) == {"loss": pytest.approx(250_000)}


@given(
    budget=st.floats(1e-6, 1000.0),
    weights=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=9),
)
def test_the_expected_alarms_of_all_groups_are_the_budget(
    budget: float, weights: list[float]
) -> None:
    parts = {str(at): weight for at, weight in enumerate(weights)}
    rows = split_alarm_budget(budget, parts)
    assert sum(1e6 / each for each in rows.values()) == pytest.approx(budget)


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf, 62_501.0])
def test_a_budget_that_cannot_be_kept_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match=f"alarms_per_million is {budget}"):
        split_alarm_budget(budget, {"loss": 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"weight of loss is {weight}"):
        split_alarm_budget(1.0, {"features": 1.0, "loss": weight})
