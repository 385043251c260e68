import pytest

from driftloop.ingest.pace import ALONE_SECONDS, MOST_SECONDS, PATIENCE, SLOW, STEP_SECONDS, Pace


def balance(pace: Pace, slow: int, prompt: int, now: float = 10.0) -> float:
    """What a flood waits after so many slow and prompt live batches, during a flood."""
    pace.flood(now)
    for _ in range(slow):
        pace.live(1.0, now)
    for _ in range(prompt):
        pace.live(0.0, now)
    return pace.flood(now)


def test_a_flood_waits_longer_while_live_batches_are_slow() -> None:
    pace = Pace()
    assert balance(pace, 1, 0) == pytest.approx(STEP_SECONDS)
    assert balance(pace, 2, 0) == pytest.approx(3 * STEP_SECONDS)


def test_a_flood_waits_for_no_longer_than_the_bound() -> None:
    assert balance(Pace(), 1_000, 0) == MOST_SECONDS


def test_one_slow_batch_weighs_as_much_as_some_prompt_ones() -> None:
    assert balance(Pace(), 3, int(3 * PATIENCE)) == pytest.approx(0.0)
    assert balance(Pace(), 3, int(2 * PATIENCE)) == pytest.approx(STEP_SECONDS)


def test_a_flood_does_not_wait_for_nobody() -> None:
    pace = Pace()
    assert balance(pace, 5, 0, now=10.0) > 0
    assert pace.flood(10.0 + ALONE_SECONDS) == 0.0


def test_what_is_slow_is_learned_while_there_is_no_flood() -> None:
    """A log that is written to three machines takes its time always."""
    pace = Pace()
    for at in range(200):
        pace.live(0.02, float(at))
    pace.flood(200.0)
    pace.live(0.02 * SLOW * 0.9, 200.0)
    assert pace.flood(200.0) == 0.0
    pace.live(0.02 * SLOW * 1.1, 200.0)
    assert pace.flood(200.0) > 0.0


def test_what_a_flood_slows_down_is_not_taken_for_usual() -> None:
    pace = Pace()
    for at in range(200):
        pace.flood(at / 10)
        pace.live(0.5, at / 10)
    assert pace.flood(20.0) > 0.0
    pace.live(0.5, 20.0)
    assert pace.flood(20.0) == MOST_SECONDS
