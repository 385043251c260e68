from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from driftloop.contracts.events import AnyEvent, RetrainRequested, RunFinished, TriggerDeclined
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import Deferred, ModelState, Pending, Run, Stage
from driftloop.registry import counting
from driftloop.registry.counting import StageClock, Standing

MODEL = "counted"
NOTHING = ModelState(model=MODEL)


def run(stage: Stage = "training", name: str = "run-1", deadline: float = 50.0) -> Run:
    return Run(
        id=name,
        trigger="drift",
        trigger_id="drift.detected:1",
        reason="",
        version=1,
        stage=stage,
        deadline=deadline,
        started=0.0,
        cause="",
    )


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"driftloop_{name}", {"model": MODEL} | labels)


def after(*events: AnyEvent, **fields: Any) -> ModelState:
    said = tuple(Pending(event=event, origin=Origin()) for event in events)
    return msgspec.structs.replace(NOTHING, outbox=said, **fields)


def test_triggers_and_runs_are_counted_by_what_is_said() -> None:
    clock = StageClock()
    Standing().now(MODEL, NOTHING)
    began = RetrainRequested(
        model=MODEL, run="run-1", trigger="drift", reason="", version=1, spec_revision=1
    )
    ended = RunFinished(
        model=MODEL, run="run-1", trigger="drift", version=1, verdict="promoted", reason=""
    )
    declined = TriggerDeclined(model=MODEL, trigger="new_data", trigger_id="x", reason="")
    kept = Deferred(trigger="drift", trigger_id="y", reason="", since_time=0, data_time=0)
    for said in (after(began), after(ended), after(declined), after(deferred=kept)):
        clock.moved(NOTHING, said)
    assert told("runs_started_total", trigger="drift") == 1
    assert told("runs_finished_total", verdict="promoted") == 1
    assert [told("triggers_total", decision=d) for d in counting.DECISIONS] == [1, 1, 1]


def test_a_stage_is_timed_from_its_begin_to_the_next_and_not_if_it_began_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("driftloop.registry.counting.time.monotonic", lambda: now[0])

    def spent(stage: str) -> float:
        return REGISTRY.get_sample_value("driftloop_run_stage_seconds_sum", {"stage": stage}) or 0

    before = spent("training"), spent("gating")
    clock, states = StageClock(), [NOTHING, after(run=run()), after(run=run("gating")), NOTHING]
    for old, new, took in zip(states, states[1:], (30.0, 7.0, 0.0), strict=False):
        clock.moved(old, new)
        now[0] += took
    assert (spent("training"), spent("gating")) == (before[0] + 30, before[1] + 7)
    StageClock().moved(states[1], states[2])  # after a restart
    assert spent("training") == before[0] + 30


def test_a_model_stands_where_its_state_says_and_nowhere_else() -> None:
    standing = Standing()
    standing.now(MODEL, after(run=run("gating")))
    assert told("run_deadline_timestamp_seconds", stage="gating") == 50
    standing.now(MODEL, after(run=run("shadowing", deadline=60.0)))
    assert told("run_deadline_timestamp_seconds", stage="gating") is None
    assert told("run_deadline_timestamp_seconds", stage="shadowing") == 60
    assert told("model_paused") == 0
    standing.now(MODEL, None)
    assert told("run_deadline_timestamp_seconds", stage="shadowing") is None
    assert told("model_paused") is None
