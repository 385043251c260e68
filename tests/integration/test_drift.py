"""The monitors on the real bus: alarms said once, whenever the service dies."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.contracts.headers import MSG_ID
from driftloop.contracts.state import ModelState
from driftloop.drift.domain.monitor import Monitor
from driftloop.drift.domain.snapshot import decode, encode
from driftloop.drift.store import Snapshots
from driftloop.local.nats import NatsServer
from tests.support.flows import eventually, held, process, register
from tests.support.loop import BEGIN_MS, outcomes, scored, spec

MODEL = "tide"
ROWS = 200
DRIFTED = subjects.event(MODEL, "drift.detected")
DEGRADED = subjects.event(MODEL, "performance.degraded")


async def feed(bus: Bus, first: int, last: int, shift: float) -> None:
    """Scored rows and outcomes whose first feature and labels are shifted."""
    for number in range(first, last):
        drawn = np.random.default_rng(number)
        features = drawn.normal(size=(ROWS, 2))
        features[:, 0] += shift
        labels = (drawn.random(ROWS) < 0.1 + 0.2 * shift).astype(np.float64)
        times = [BEGIN_MS + 60_000 * (ROWS * number + at) for at in range(ROWS)]
        ids = [f"b{number}-{at}" for at in range(ROWS)]
        half = [0.1] * ROWS
        rows = scored(ids, features=features, version=1, chances=half, times=times)
        joined = outcomes(labels, features=features, version=1, chances=half, times=times)
        for subject, batch in (
            (subjects.scored(MODEL), rows),
            (subjects.outcomes(MODEL), joined),
        ):
            said = batch_message(
                subject, batch, kind="x", source="test", msg_id=f"{subject}:{number}"
            )
            await bus.publish([said])


@pytest.mark.fault(7, "drift is killed after an alarm that the log has forgotten the id of")
async def test_a_restarted_monitor_says_no_alarm_twice_and_goes_on(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec(drift={"reference_rows": 400, "predictions": False}))
    state = ModelState(model=MODEL, champion=1, champion_since_scored=1, champion_since_outcomes=1)
    await bus.models.write(MODEL, state, 0)
    await feed(bus, 0, 6, 0.0)
    await feed(bus, 6, 12, 2.0)

    async def alarms(count: int) -> bool:
        said = [await held(bus, "EVENTS", subject) for subject in (DRIFTED, DEGRADED)]
        return min(map(len, said)) >= count

    with process("drift", nats_server.url, tmp_path) as service:
        await eventually(lambda: alarms(1), "drift is detected and performance degraded")
        service.kill()
    # The stream compares ids for ten minutes only: what is said again must not count on it.
    for subject in (DRIFTED, DEGRADED):
        (message,) = await held(bus, "EVENTS", subject)
        await bus.connection.js.delete_msg("EVENTS", message.seq)
        again = {**message.headers, MSG_ID: f"another id of {subject}"}
        await bus.connection.js.publish(subject, message.payload, headers=again)
    await feed(bus, 12, 22, -1.0)
    with process("drift", nats_server.url, tmp_path):
        await eventually(lambda: alarms_of(bus, 2), "the shift back is detected")
    drifted = [m.event() for m in await held(bus, "EVENTS", DRIFTED)]
    assert [getattr(found, "feature", "") for found in drifted] == ["a", "a"]
    assert len({found.event_id() for found in drifted}) == 2
    first, second = (found for found in drifted if isinstance(found, e.DriftDetected))
    minute = 60_000
    assert abs((first.since_time - BEGIN_MS) / minute - 6 * ROWS) <= ROWS
    assert abs((second.since_time - BEGIN_MS) / minute - 12 * ROWS) <= ROWS
    (degraded,) = [m.event() for m in await held(bus, "EVENTS", DEGRADED)]
    assert isinstance(degraded, e.PerformanceDegraded)
    assert degraded.before < degraded.after


async def alarms_of(bus: Bus, count: int) -> bool:
    return len(await held(bus, "EVENTS", DRIFTED)) >= count


@pytest.mark.fault(7, "drift is killed, and the log it read is purged")
async def test_a_restarted_monitor_goes_on_from_its_snapshot_when_the_log_is_gone(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec(drift={"reference_rows": 400, "predictions": False}))
    state = ModelState(model=MODEL, champion=1, champion_since_scored=1, champion_since_outcomes=1)
    await bus.models.write(MODEL, state, 0)
    await feed(bus, 0, 6, 0.0)

    async def kept() -> bool:
        found = (await bus.monitors.read(MODEL)).value
        return found is not None and decode(found).next_seq == {"SCORED": 7, "OUTCOMES": 7}

    with process(
        "drift", nats_server.url, tmp_path, DRIFTLOOP_DRIFT_SNAPSHOT_SECONDS="0.1"
    ) as service:
        await eventually(kept, "the monitor is kept, with all that it was fed")
        service.kill()
    for stream in ("SCORED", "OUTCOMES"):
        await bus.connection.js.purge_stream(stream)
    await feed(bus, 6, 8, 2.0)
    with process("drift", nats_server.url, tmp_path):
        await eventually(lambda: alarms_of(bus, 1), "the shift is detected by what was learned")
    (found,) = [m.event() for m in await held(bus, "EVENTS", DRIFTED)]
    assert isinstance(found, e.DriftDetected)
    assert found.feature == "a"
    assert abs((found.since_time - BEGIN_MS) / 60_000 - 6 * ROWS) <= 40
    assert found.before == pytest.approx(0.0, abs=0.2)


async def test_a_snapshot_that_is_damaged_half_way_leaves_a_new_monitor(bus: Bus) -> None:
    """What was taken from it before the damage was found must not stay."""
    made = spec(drift={"reference_rows": 400})
    await register(bus, made)
    registered = await bus.spec(MODEL)
    monitor = Monitor(made, 1)
    features = np.random.default_rng(0).normal(size=(1_000, 2))
    ids = [f"e{at}" for at in range(1_000)]
    list(monitor.scored(scored(ids, features=features, version=1, chances=[0.5] * 1_000), 1))
    whole = monitor.snapshot(registered.revision, {"SCORED": 2, "OUTCOMES": 1})
    for kept, fits in ((whole, True), (replace(whole, estimates=b"broken"), False)):
        entry = await bus.monitors.read(MODEL)
        await bus.monitors.write(MODEL, encode(kept), entry.revision)
        found, positions = await Snapshots(bus).monitor(registered, 1)
        assert positions == (whole.next_seq if fits else {})
        assert bool(list(found.standing("SCORED"))) == fits
