"""What `status` and `models` say of a model that needs a look."""

import time

import pytest

from driftloop.cli.models import summary
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
