import math

import numpy as np
import pytest

from driftloop.runtime.pace import (
    ALONE_SECONDS,
    FIRST_WAIT_SECONDS,
    MOST_SECONDS,
    SHARE,
    SLOW,
    STEP_SECONDS,
    UNIT,
    Pace,
)


def under_way(pace: Pace, now: float) -> None:
    """A flood has been going on for a while."""
    pace.flood(UNIT, now - 1.5 * ALONE_SECONDS)
    pace.flood(UNIT, now - 0.75 * ALONE_SECONDS)


def balance(pace: Pace, slow: int, prompt: int, now: float = 10.0) -> float:
    """What a flood waits after so many slow and prompt live batches, during a flood."""
    under_way(pace, now)
    for _ in range(slow):
        pace.live(1.0, now)
    for _ in range(prompt):
        pace.live(0.0, now)
    return pace.flood(UNIT, now)


def test_a_flood_waits_longer_while_live_batches_are_slow() -> None:
    pace = Pace()
    assert balance(pace, 1, 0) == pytest.approx(STEP_SECONDS)
    assert balance(pace, 2, 0) == pytest.approx(3 * STEP_SECONDS)


def test_a_flood_waits_for_no_longer_than_the_bound() -> None:
    assert balance(Pace(), round(MOST_SECONDS / STEP_SECONDS) + 1, 0) == MOST_SECONDS


def test_one_slow_batch_weighs_as_much_as_some_prompt_ones() -> None:
    assert balance(Pace(), 3, int(3 / SHARE)) == pytest.approx(0.0)
    assert balance(Pace(), 3, int(2 / SHARE)) == pytest.approx(STEP_SECONDS)


def test_a_flood_waits_by_its_rows() -> None:
    pace = Pace()
    wait = balance(pace, 3, 0)
    assert pace.flood(UNIT // 4, 10.0) == pytest.approx(wait / 4)
    assert pace.flood(3 * UNIT, 10.0) == pytest.approx(3 * wait)


def test_a_flood_does_not_wait_for_nobody() -> None:
    pace = Pace()
    assert pace.flood(UNIT, 1.0) == 0.0
    assert balance(pace, 5, 0, now=10.0) > 0
    assert pace.flood(UNIT, 10.0 + ALONE_SECONDS) == 0.0


def test_a_flood_begins_slowly_whatever_it_costs() -> None:
    pace = Pace()
    pace.live(0.0, 10.0)
    assert pace.flood(UNIT, 10.1) == FIRST_WAIT_SECONDS
    pace.live(0.0, 10.8)
    assert pace.flood(UNIT, 10.9) == FIRST_WAIT_SECONDS
    pace.live(0.0, 11.1)
    assert pace.flood(UNIT, 11.2) == 0.0
    pace.live(0.0, 20.0)
    assert pace.flood(UNIT, 20.1) == FIRST_WAIT_SECONDS


def test_the_slowest_in_a_hundred_are_learned_while_there_is_no_flood() -> None:
    """A log that is written to three machines takes its time always, and now and then longer."""
    pace = Pace()
    for at, took in enumerate(np.random.default_rng(7).exponential(0.02, 5_000)):
        pace.live(took, float(at))
    usual = 0.02 * math.log(1 / SHARE)
    under_way(pace, 6_000.0)
    pace.live(usual * SLOW * 0.7, 6_000.0)
    assert pace.flood(UNIT, 6_000.0) == 0.0
    pace.live(usual * SLOW * 1.3, 6_000.0)
    assert pace.flood(UNIT, 6_000.0) > 0.0


def test_what_a_flood_slows_down_is_not_taken_for_usual() -> None:
    pace = Pace()
    for at in range(12):
        pace.flood(UNIT, at / 10)
        pace.live(0.5, at / 10)
        assert at < 10 or pace.flood(UNIT, at / 10) == pytest.approx((at + 1) * STEP_SECONDS)


def test_what_is_slow_although_a_flood_waits_as_long_as_it_may_is_taken_for_usual() -> None:
    """The machine is slower than it was, or nothing was learned before the flood."""
    pace = Pace()
    for at in range(2_000):
        pace.flood(UNIT, at / 100)
        pace.live(0.5, at / 100)
    assert pace.flood(UNIT, 20.0) == pytest.approx(0.0)
    pace.live(0.7, 20.0)
    assert pace.flood(UNIT, 20.0) == pytest.approx(STEP_SECONDS)
