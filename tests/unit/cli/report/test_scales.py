"""Axes: round numbers within the range, whatever it is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.cli.report.scales import DAY, HOUR, Scale, around, moments, ticks

FEBRUARY = 1_360_000_000_000
NUMBERS = st.floats(-1e9, 1e9)


def test_a_number_lies_in_proportion_and_at_the_edge_beyond() -> None:
    scale = Scale(10.0, 20.0, 0.0, 100.0)
    assert [scale.at(value) for value in (10.0, 12.5, 20.0)] == [0.0, 25.0, 100.0]
    assert [scale.within(value) for value in (0.0, 99.0)] == [0.0, 100.0]
    assert Scale(5.0, 5.0, 0.0, 100.0).at(5.0) == 50.0


@given(st.lists(NUMBERS))
def test_a_range_holds_all_its_numbers(values: list[float]) -> None:
    low, high = around(values)
    assert low < high
    assert all(low <= value <= high for value in values)


@given(NUMBERS, st.floats(1e-6, 1e9))
def test_ticks_are_few_ordered_and_within(low: float, span: float) -> None:
    span = max(span, 1e-6 * abs(low))  # a range narrower than that is not a range in floats
    high = low + span
    found = ticks(low, high)
    assert len(found) <= 7
    assert found == sorted(set(found))
    room = span * 1e-3
    assert all(low - room <= value <= high + room for value in found)


@pytest.mark.parametrize(
    "span", [5_000, HOUR, 30 * HOUR, 9 * DAY, 90 * DAY, 800 * DAY, 9_000 * DAY]
)
def test_times_are_few_and_round(span: int) -> None:
    found = moments(FEBRUARY, FEBRUARY + span)
    assert 1 <= len(found) <= 9
    assert all(FEBRUARY <= at <= FEBRUARY + span for at, _ in found)
    if span > 4 * DAY:
        assert all(datetime.fromtimestamp(at / 1000, UTC).hour == 0 for at, _ in found)
