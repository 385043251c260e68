import msgspec
import pytest

from driftloop.console.domain.stages import STEPS, picture
from tests.support import synthetic as syn


@pytest.mark.parametrize(
    ("stage", "lit", "done"),
    [("training", "train", 1), ("gating", "gate", 2), ("shadowing", "shadow", 3)],
)
def test_the_present_step_is_lit_and_those_before_are_done(stage: str, lit: str, done: int) -> None:
    steps = picture(syn.run(3, stage))
    assert [s.name for s in steps if s.state == "now"] == [lit]
    assert [s.state for s in steps].count("done") == done


def test_on_probation_the_promotion_is_done() -> None:
    states = {s.name: s.state for s in picture(syn.run(3, "probation"))}
    assert (states["promote"], states["probation"]) == ("done", "now")


def test_a_promoted_run_has_passed_every_step() -> None:
    ended = msgspec.structs.replace(syn.run(3, "probation"), verdict="promoted")
    assert {s.state for s in picture(ended)} == {"done"}


@pytest.mark.parametrize(
    ("stage", "verdict", "step"),
    [
        ("training", "failed", "train"),
        ("gating", "rejected", "gate"),
        ("shadowing", "rejected", "shadow"),
        ("probation", "rolled_back", "probation"),
    ],
)
def test_a_run_that_ended_badly_failed_where_it_stood(stage: str, verdict: str, step: str) -> None:
    ended = msgspec.structs.replace(syn.run(3, stage), verdict=verdict)
    assert [s.name for s in picture(ended) if s.state == "failed"] == [step]


def test_without_a_run_all_steps_are_open() -> None:
    assert [(s.name, s.state) for s in picture(None)] == [(name, "open") for name in STEPS]
