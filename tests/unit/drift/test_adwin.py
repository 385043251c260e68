import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.drift import ADWIN

from driftloop.drift.domain.adwin import Adwin
from driftloop.drift.domain.detector import CLOCK


def steps(seed: int, rows: int) -> list[float]:
    """Numbers in [0, 1] whose mean jumps now and then."""
    drawn = np.random.default_rng(seed)
    means = np.repeat(drawn.random(rows // 300 + 1), 300)[:rows]
    numbers: list[float] = np.clip(means + drawn.normal(scale=0.1, size=rows), 0, 1).tolist()
    return numbers


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 3_000),
    st.sampled_from([1, 5, 32, 256]),
    st.sampled_from([CLOCK, 1]),
)
def test_it_is_rivers_adwin_updated_value_by_value(
    seed: int, rows: int, batch: int, clock: int
) -> None:
    river, ours = ADWIN(delta=1e-4, clock=clock), Adwin(1e-4, clock)
    numbers = steps(seed, rows)
    for start in range(0, rows, batch):
        part = numbers[start : start + batch]
        expected = []
        for at, number in enumerate(part):
            river.update(number)
            if river.drift_detected:
                expected.append(at)
        found, left = [], list(reversed(part))
        while left and ours.to_next_change(left.pop() for _ in range(len(left))):
            found.append(len(part) - len(left) - 1)
        assert found == expected
        assert (ours.rows, ours.mean) == (river.width, river.estimation)  # to the last bit


def test_a_window_stays_as_it_is_until_the_value_after_a_change() -> None:
    ours, river = Adwin(1e-4, CLOCK), ADWIN(delta=1e-4, clock=CLOCK)
    numbers = iter([0.0] * 500 + [1.0] * 500)
    assert ours.to_next_change(numbers)
    for number in [0.0] * 500 + [1.0] * 500:
        river.update(number)
        if river.drift_detected:
            break
    assert (ours.rows, ours.mean) == (river.width, river.estimation)
    ours.to_next_change(iter([0.25]))
    assert ours.rows == 1
    assert ours.mean == pytest.approx(0.25)
