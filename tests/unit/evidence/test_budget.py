"""The false-alarm budget of a model, split over its detectors."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.evidence import split_alarm_budget


def test_one_alarm_in_a_million_rows_is_split_over_checks_and_detectors() -> None:
    assert split_alarm_budget(1.0, detectors=1, clock=1) == pytest.approx(1e-6)
    assert split_alarm_budget(2.0, detectors=20, clock=32) == pytest.approx(3.2e-6)


@given(
    budget=st.floats(1e-6, 100.0),
    detectors=st.integers(1, 1000),
    clock=st.integers(1, 1000),
)
def test_the_expected_alarms_of_all_checks_are_the_budget(
    budget: float, detectors: int, clock: int
) -> None:
    delta = split_alarm_budget(budget, detectors, clock)
    assert 0 < delta < 1
    assert detectors * (1e6 / clock) * delta == pytest.approx(budget)


@pytest.mark.parametrize(
    ("budget", "detectors", "clock", "named"),
    [
        (0.0, 1, 32, "alarms_per_million is 0.0"),
        (-1.0, 1, 32, "alarms_per_million is -1.0"),
        (math.nan, 1, 32, "alarms_per_million is nan"),
        (math.inf, 1, 32, "alarms_per_million is inf"),
        (31_250.0, 1, 32, r"1 detectors checking every 32 rows check 31250 times"),
        (1.0, 0, 32, "detectors is 0; accepted is an integer of at least 1"),
        (1.0, 1.5, 32, "detectors is 1.5"),
        (1.0, True, 32, "detectors is True"),
        (1.0, 1, 0, "clock is 0"),
    ],
)
def test_a_budget_that_cannot_be_split_is_refused(
    budget: float, detectors: Any, clock: Any, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        split_alarm_budget(budget, detectors, clock)
