"""SIGTERM under load, and services that hang or die over and over."""

import asyncio
import logging
import os
import random
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from driftloop.local.readiness import unready
from driftloop.local.system import System
from tests.support.faults import Record
from tests.support.rig import rig, until

ENDED = re.compile(r"(\S+) ended \(exit code (\S+)\), starting it again in ([\d.]+) s")
MOST_SECONDS = 15
STREAM = ("ingest", "validation", "inference", "feedback", "telemetry")


@pytest.mark.fault(9, "SIGTERM to each service of the stream under load")
@pytest.mark.slow
async def test_a_service_that_is_told_to_stop_finishes_what_it_has(
    tmp_path: Path, rng: random.Random, record: Record, warnings: pytest.LogCaptureFixture
) -> None:
    slowest = 0.0
    async with rig(tmp_path) as its:
        async with its.busy(each=200):
            for name in rng.sample(STREAM, len(STREAM)):
                sent = its.ledger.size

                async def more(sent: int = sent) -> bool:
                    return its.ledger.size > sent + 2_000

                await until(more, "there is load")
                slowest = max(slowest, await _ended(its.process(name)))
                await its.system.ready()
        counts = await its.check()
    codes = {m[1]: m[2] for m in ENDED.finditer(warnings.text)}
    assert codes == dict.fromkeys(STREAM, "0"), "each has ended by itself, in good order"
    record(injections=len(STREAM), rows=its.ledger.size, seconds=slowest, **counts)


async def _ended(process: psutil.Process) -> float:
    """SIGTERM; the seconds until it is gone, which are few."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, MOST_SECONDS)
    return time.monotonic() - began


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    # Other tests of this process may have made it silent, as the command line does.
    caplog.set_level(logging.WARNING, logger="driftloop")
    return caplog


def alone(folder: Path, hang_seconds: float) -> System:
    """A system of one service."""
    return System(folder, base_port=0, nats_port=0, services=("ingest",), hang_seconds=hang_seconds)


async def test_a_service_that_hangs_is_killed_and_started_again(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    system = alone(tmp_path, hang_seconds=1.0)
    try:
        await system.start()
        child = system.children["ingest"]
        hanging = child.process
        assert hanging is not None

        async def answered() -> bool:
            return child.answered > child.started

        await until(answered, "it was seen to live")
        os.kill(hanging.pid, signal.SIGSTOP)

        async def again() -> bool:
            another = child.process is not hanging
            return another and await asyncio.to_thread(unready, system.http("ingest")) is None

        await until(again, "another process is ready")
        assert hanging.poll() == -signal.SIGKILL
        assert "ingest has not answered for" in warnings.text
    finally:
        await system.stop()


async def test_a_service_that_dies_over_and_over_is_given_longer_pauses(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    system = alone(tmp_path, hang_seconds=0.0)
    try:
        await system.start()
        for deaths in range(1, 4):
            process = system.children["ingest"].process
            assert process is not None
            process.kill()

            async def another(before: object = process) -> bool:
                now = system.children["ingest"].process
                return now is not before and now is not None and now.poll() is None

            await until(another, f"it is started again after death {deaths}")
        pauses = [float(m[3]) for m in ENDED.finditer(warnings.text)]
        assert pauses == [0.0, 0.5, 1.0]
    finally:
        await system.stop()
