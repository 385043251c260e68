"""Stateful services with a second replica: killed or paused, outcomes and alarms stay exact.

Services run as `driftloop up` starts them.
"""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.bus.ownership import Term, partition_of
from driftloop.bus.publish import Conflict
from driftloop.contracts import subjects
from driftloop.contracts.events import DriftDetected
from driftloop.contracts.state import ModelState
from driftloop.feedback.handlers import Feedback
from driftloop.feedback.settings import FeedbackSettings
from driftloop.local.child import Child
from driftloop.local.readiness import unready
from driftloop.local.system import System
from tests.support.flows import eventually, held, register, rows_held
from tests.support.loop import BEGIN_MS, labels, outcomes, scored, spec
from tests.support.replicas import Feed, exact, kill, metric, owner, system, total

SEED = 23
MODEL, CALM = "tide", "calm"


@pytest.mark.fault(2, "the owner of the join is killed")
async def test_a_killed_owner_of_the_join_is_followed_by_another_and_outcomes_are_exact(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, "feedback") as (its, bus):
        await register(bus, spec())
        feed = Feed(bus, MODEL, SEED)
        await feed.send(30)
        first = await owner(its, "feedback")
        await _said_more(bus, 0)
        killing = asyncio.create_task(kill(first))
        await feed.send(30)
        await killing
        await owner(its, "feedback")  # the other one, or the same started again
        await feed.settled()
        await _same_as_undisturbed(bus, feed)


@pytest.mark.fault(10, "the owner of the join is paused for longer than its lease")
async def test_a_paused_owner_of_the_join_stands_down_when_it_wakes_and_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, "feedback") as (its, bus):
        await register(bus, spec())
        feed = Feed(bus, MODEL, SEED)
        await feed.send(20)
        first = await owner(its, "feedback")
        process = _pause(first)
        await feed.send(20)
        await owner(its, "feedback", but=[first])
        await feed.send(20)
        os.kill(process, signal.SIGCONT)
        await feed.send(20)
        await _stands_by(its, first, "feedback")
        await feed.settled()
        assert first.process is not None
        assert first.process.pid == process, "it went on in the same process"
        await _same_as_undisturbed(bus, feed)


async def test_two_owners_at_once_without_any_lease_still_say_everything_once(bus: Bus) -> None:
    await register(bus, spec())
    feed = Feed(bus, MODEL, SEED)
    came_second = 0
    now: dict[str, Term] = {}

    async def own(name: str) -> None:
        nonlocal came_second
        while not bus.stopping.is_set():
            now[name] = Term(0, 1)
            try:
                await Feedback(bus, FeedbackSettings(report_seconds=0.1), now[name]).run()
            except* Conflict:
                came_second += 1

    bus.connection.service = "feedback"
    owners = [asyncio.create_task(own(name)) for name in ("one", "two")]
    await feed.send(60)
    await feed.settled()
    bus.stopping.set()
    for term in now.values():
        term.over.set()
    await asyncio.gather(*owners)
    assert came_second, "they never met"
    await exact(bus, feed)


async def _heard(bus: Bus, feedback: Feedback, *order: tuple[str, int]) -> None:
    """Give messages of the logs to a join in an order of our own."""
    for stream, seq in order:
        message = await bus.log.at_or_after(stream, ">", seq)
        assert message is not None
        await feedback._message(message)


@pytest.mark.parametrize(
    ("label", "order"),
    [
        ("yes", (("LABELS", 2), ("SCORED", 1))),  # one outcome, where the paused one has two
        ("?", (("SCORED", 1), ("LABELS", 1))),
    ],
    ids=["outcomes", "given up"],
)
async def test_an_owner_that_was_overtaken_is_told_so_at_its_first_word(
    bus: Bus, label: str, order: tuple[tuple[str, int], ...]
) -> None:
    bus.connection.service = "feedback"
    await register(bus, spec())
    said = {
        subjects.scored(MODEL): [scored(["e1", "e2"], version=1, chances=[0.5, 0.5])],
        subjects.labels(MODEL): [labels([("e1", label), ("e2", label)]), labels([("e1", label)])],
    }
    for subject, batches in said.items():
        for number, batch in enumerate(batches):
            msg_id = f"{subject}:{number}"
            message = batch_message(subject, batch, kind="x", source="test", msg_id=msg_id)
            await bus.publish([message])
    paused, other = (Feedback(bus, FeedbackSettings(), Term(0, 1)) for _ in range(2))
    await _heard(bus, other, *order)
    with pytest.raises(Conflict):
        await _heard(bus, paused, ("SCORED", 1), ("LABELS", 1))


async def _said_more(bus: Bus, before: int) -> None:
    async def true() -> bool:
        return await total(bus, MODEL) > before

    await eventually(true, f"more than {before} outcomes")


def _pause(child: Child) -> int:
    """SIGSTOP; returns the process's id."""
    assert child.process is not None
    os.kill(child.process.pid, signal.SIGSTOP)
    return child.process.pid


async def _stands_by(its: System, child: Child, service: str) -> None:
    async def true() -> bool:
        return await metric(its, child, f"{service}_partitions") == 0

    await eventually(true, f"{child.name} stands by")
    assert await asyncio.to_thread(unready, its.http(child.name)) is None


async def _same_as_undisturbed(bus: Bus, feed: Feed) -> None:
    """The same rows and labels under another name, undisturbed, have the same outcomes."""
    await exact(bus, feed)
    await register(bus, spec(name=CALM))
    calm = Feed(bus, CALM, SEED)
    await calm.send(feed.wrong)
    await calm.settled()
    found = [await rows_held(bus, "OUTCOMES", subjects.outcomes(model)) for model in (MODEL, CALM)]
    pairs = [sorted((row["event_id"], row["label"]) for row in rows) for rows in found]
    assert pairs[0] == pairs[1]


async def _shifted(bus: Bus, first: int, last: int, shift: float) -> None:
    """Scored rows and outcomes of 200 rows each, whose first feature and labels are shifted."""
    for number in range(first, last):
        drawn = np.random.default_rng(SEED + number)
        features = drawn.normal(loc=(shift, 0.0), size=(200, 2))
        truth = (drawn.random(200) < 0.1 + 0.2 * shift).astype(np.float64)
        times = [BEGIN_MS + 60_000 * (200 * number + at) for at in range(200)]
        ids, chances = [f"b{number}-{at}" for at in range(200)], [0.1] * 200
        its = {"features": features, "version": 1, "chances": chances, "times": times}
        for subject, batch in (
            (subjects.scored(MODEL), scored(ids, **its)),  # type: ignore[arg-type]  # by name
            (subjects.outcomes(MODEL), outcomes(truth, **its)),
        ):
            msg_id = f"{subject}:{number}"
            said = batch_message(subject, batch, kind="x", source="test", msg_id=msg_id)
            await bus.publish([said])


async def _alarms(bus: Bus) -> list[tuple[int, str]]:
    """Row of the log and detector of each alarm of drift that was said."""
    said = await held(bus, "EVENTS", subjects.event(MODEL, DriftDetected.kind))
    found = [m.event() for m in said]
    return [(alarm.seq, alarm.detector) for alarm in found if isinstance(alarm, DriftDetected)]


@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.fault(7, "the owner of the monitors is killed, or paused")
async def test_an_owner_of_the_monitors_is_followed_by_another_and_no_alarm_comes_twice(
    tmp_path: Path, how: str
) -> None:
    async with system(tmp_path, "drift") as (its, bus):
        await register(bus, spec(drift={"reference_rows": 400, "predictions": False}))
        state = ModelState(
            model=MODEL, champion=1, champion_since_scored=1, champion_since_outcomes=1
        )
        await bus.models.write(MODEL, state, 0)
        await _shifted(bus, 0, 6, 0.0)
        await _shifted(bus, 6, 12, 2.0)
        await _alarmed(bus, 1)
        first = await owner(its, "drift")
        if how == "killed":
            await kill(first)
            await owner(its, "drift")  # the other one, or the same started again
        else:
            process = _pause(first)
            await owner(its, "drift", but=[first])
        await _shifted(bus, 12, 18, -1.0)
        await _alarmed(bus, 2)
        if how == "paused":
            os.kill(process, signal.SIGCONT)
        await _shifted(bus, 18, 24, 3.0)
        await _alarmed(bus, 3)
        if how == "paused":
            await _stands_by(its, first, "drift")
        alarms = await _alarms(bus)
        assert len(set(alarms)) == len(alarms) == 3
        assert alarms == sorted(alarms)


async def _alarmed(bus: Bus, count: int) -> None:
    async def true() -> bool:
        return len(await _alarms(bus)) >= count

    await eventually(true, f"{count} alarms")


async def test_two_owners_share_the_models_and_one_takes_all_while_the_other_is_away(
    tmp_path: Path,
) -> None:
    models = [f"model-{at}" for at in range(6)]
    assert {partition_of(model, 2) for model in models} == {0, 1}
    async with system(tmp_path, "feedback", DRIFTLOOP_FEEDBACK_PARTITIONS="2") as (its, bus):
        for model in models:
            await register(bus, spec(name=model))
        feeds = [Feed(bus, model, SEED) for model in models]
        await asyncio.gather(*(feed.send(8) for feed in feeds))
        first, second = its.children.values()
        assert await owner(its, "feedback", but=[second]) is first
        assert await owner(its, "feedback", but=[first]) is second
        process = _pause(first)
        await asyncio.gather(*(feed.send(8) for feed in feeds))

        async def has_all() -> bool:
            return await metric(its, second, "feedback_partitions") == 2

        await eventually(has_all, "the other owns both partitions")
        os.kill(process, signal.SIGCONT)
        await asyncio.gather(*(feed.send(8) for feed in feeds))
        await owner(its, "feedback", but=[second])
        await asyncio.gather(*(feed.settled() for feed in feeds))
        for feed in feeds:
            await exact(bus, feed)
