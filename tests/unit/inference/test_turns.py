import math

import pytest

from driftloop.inference.shadowing.turns import (
    ENOUGH,
    OLD,
    QUIET,
    WINDOW,
    WINDOWS,
    Spare,
    Times,
    Turn,
    Wants,
)


def spent(idle: float, nice: float, seconds: float) -> Times:
    """Of a core that was idle, and in use by niced processes, for these shares of the time."""
    return Times(
        round(1_000 * idle * seconds),
        round(1_000 * nice * seconds),
        round(1_000 * seconds),
    )


def seen(*shares: tuple[float, float], seconds: float, own: float = 0.0) -> Spare:
    """Cores with these shares, looked at for so long; shadows took `own` of the time."""
    spare = Spare()
    for at in range(math.ceil(seconds / WINDOW) + 1):
        now = at * WINDOW
        assert spare.due(now)
        times = {core: spent(*its, now) for core, its in enumerate(shares)}
        spare.add(now, times, own * WINDOW)
        assert not spare.due(now + WINDOW / 2)
    return spare


def test_there_is_a_core_once_it_has_had_time_to_spare_for_a_while() -> None:
    assert seen((0.0, 0.0), (0.5, 0.0), seconds=QUIET - WINDOW).core(QUIET - WINDOW) is None
    assert seen((0.0, 0.0), (0.5, 0.0), seconds=QUIET).core(QUIET) == 1
    assert seen((0.1, 0.0), (ENOUGH - 0.05, 0.0), seconds=2 * QUIET).core(2 * QUIET) is None
    assert Spare().core(QUIET) is None


def test_a_core_that_shadows_use_is_to_spare_but_not_idle() -> None:
    spare = seen((0.3, 0.0), (0.0, 1.0), seconds=QUIET, own=1.0)
    assert spare.core(QUIET) == 1
    assert spare.idle_core() == 0
    assert seen((0.1, 0.0), (0.0, 1.0), seconds=QUIET, own=1.0).idle_core() is None
    assert Spare().idle_core() is None


def test_what_services_take_that_give_way_is_not_to_spare() -> None:
    assert seen((0.0, 1.0), seconds=QUIET).core(QUIET) is None
    assert seen((0.1, 0.9), seconds=QUIET, own=ENOUGH - 0.15).core(QUIET) is None
    assert seen((0.1, 0.9), seconds=QUIET, own=ENOUGH).core(QUIET) == 0


def test_one_busy_window_begins_the_wait_anew() -> None:
    spare = seen((0.5, 0.0), seconds=QUIET)
    before = spent(0.5, 0.0, QUIET)
    busy = Times(before.idle, before.nice, before.all + round(1_000 * WINDOW))
    spare.add(QUIET + WINDOW, {0: busy}, 0.0)
    assert spare.core(QUIET + WINDOW) is None
    idle = round(1_000 * QUIET)
    spare.add(2 * QUIET + WINDOW, {0: Times(busy.idle + idle, busy.nice, busy.all + idle)}, 0.0)
    assert spare.core(2 * QUIET + WINDOW) == 0


def test_what_was_seen_long_ago_says_nothing() -> None:
    spare = seen((0.5, 0.0), seconds=QUIET)
    later = QUIET + OLD + 1
    spare.add(later, {0: spent(0.5, 0.0, later)}, 0.0)
    assert spare.core(later) is None
    assert spare.idle_core() is None


@pytest.mark.parametrize(
    ("ran", "waited", "ready", "wants"),
    [
        (0.0, 0.0, False, "nothing"),  # it sleeps
        (1.0, 0.0, True, "nothing"),  # it has a core for itself
        (0.5, 0.5, True, "nothing"),  # it shares one with its like
        (0.2, 0.8, True, "more"),
        (0.01, 0.05, False, "nothing"),  # it wants little
        (0.003, 0.997, True, "anything"),  # a tiny turn now and then
        (0.0, 0.0, True, "anything"),  # not even that
    ],
)
def test_what_a_process_wants(ran: float, waited: float, ready: bool, wants: Wants) -> None:
    turn = Turn(1)
    assert turn.wants(0.0, 5.0, 7.0, ready=True) == "nothing"
    assert not turn.due(WINDOW / 2)
    for at in range(1, WINDOWS + 1):
        now = at * WINDOW
        assert turn.due(now)
        last = turn.wants(now, 5.0 + ran * now, 7.0 + waited * now, ready=ready)
    assert last == wants


def test_one_hungry_window_is_not_starving() -> None:
    turn = Turn(1)
    turn.wants(0.0, 0.0, 0.0, ready=True)
    assert turn.wants(WINDOW, 0.0, 0.0, ready=True) == "more"
    assert turn.wants(2 * WINDOW, WINDOW, 0.0, ready=True) == "nothing"
    assert turn.wants(3 * WINDOW, WINDOW, 0.0, ready=True) == "more"
