"""What `status` and `models` say of a model that needs a look."""

import time

import pytest

from driftloop.cli.models import looks, summary
from driftloop.contracts.state import ModelState, Run

DAY = 86_400.0


def run(number: int, verdict: str, ago: float) -> Run:
    now = time.time()
    return Run(
        id=f"run-{number}",
        trigger="new_data",
        trigger_id="t",
        reason="r",
        version=number,
        stage="probation",
        deadline=0.0,
        started=now - ago - 60,
        cause="t",
        verdict=verdict,  # type: ignore[arg-type]  # texts of the parameters below
        finished=now - ago,
    )


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([run(2, "rolled_back", 60)], "version 2 was rolled back"),
        ([run(2, "rolled_back", DAY + 60)], ""),
        ([run(2, "rolled_back", 600), run(3, "promoted", 60)], ""),
        ([run(2, "rejected", 60)], ""),
    ],
)
def test_a_roll_back_is_told_for_a_day_or_until_the_next_run(runs: list[Run], problem: str) -> None:
    state = ModelState(model="flights", champion=1, history=tuple(runs))
    assert summary(state).problem == problem


def test_who_needs_a_look_is_told_as_people_say_it() -> None:
    assert looks(0, 3) == "no model needs a look"
    assert looks(1, 1) == "1 of 1 model needs a look"
    assert looks(1, 2) == "1 of 2 models needs a look"
    assert looks(1_000, 2_000) == "1,000 of 2,000 models need a look"
