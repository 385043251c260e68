"""Nodes whose clocks are an hour off: order is that of the log, and nothing is given up early."""

import contextlib
import time
from functools import partial
from pathlib import Path

import pytest

from driftloop.bus.bus import Bus
from driftloop.client.client import Client
from driftloop.contracts import codec, subjects
from driftloop.contracts.stats import JoinStats
from driftloop.local.nats import NatsServer
from tests.integration.test_feedback import DEAD, MODEL, OUTCOMES, say_labels, say_scored
from tests.support.crashes import Fault, Faulty
from tests.support.faults import Record
from tests.support.flows import eventually, held, rain_row, rain_spec, register, rows_held
from tests.support.ledger import compared, in_log
from tests.support.loop import spec

HOUR = 3_600.0
REPORTS = 5
"""Looks of feedback at what waits for too long, before the prediction comes."""


@pytest.mark.fault(27, "the clock of feedback is an hour ahead, or behind, while a label waits")
@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
async def test_a_label_waits_by_the_clock_of_the_log(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, ahead: float, record: Record
) -> None:
    await register(bus, spec(join={"labels_wait": "20m"}))
    settings = {"DRIFTLOOP_FEEDBACK_REPORT_SECONDS": "0.1"}
    fault = Fault(clock=ahead)
    service = Faulty("feedback", nats_server.url, tmp_path / "feedback.log", fault, settings)
    service.start()
    try:
        service.wait()
        await say_labels(bus, "1", [("e1", "yes")])

        async def waits(reports: int) -> bool:
            messages = await held(bus, "STATS", subjects.stats(JoinStats.kind, MODEL))
            said = [codec.decode_stat(message.payload) for message in messages]
            return sum(isinstance(s, JoinStats) and s.labels_seq == 1 for s in said) >= reports

        await eventually(partial(waits, REPORTS), "feedback has looked at what waits for too long")
        await say_scored(bus, "1", ["e0", "e1"])
        await say_labels(bus, "2", [("e0", "no")])

        async def decided() -> bool:
            return (
                len(await rows_held(bus, "OUTCOMES", OUTCOMES) or [])
                + len(await rows_held(bus, "DEAD", DEAD))
                >= 2
            )

        await eventually(decided, "both labels are joined or given up")
    finally:
        service.stop()
    assert await rows_held(bus, "DEAD", DEAD) == []
    books = compared(await in_log(bus, "OUTCOMES", OUTCOMES), ["e0", "e1"]).require()
    record(rows=4, **books.counts)


@pytest.mark.fault(27, "the clock of ingest is an hour ahead, that of validation an hour behind")
async def test_rows_pass_in_the_order_of_the_log_whatever_the_clocks_say(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    await register(bus, rain_spec())
    with contextlib.ExitStack() as stack:
        for name, ahead in (("ingest", HOUR), ("validation", -HOUR)):
            fault = Fault(clock=ahead)
            service = Faulty(name, nats_server.url, tmp_path / f"{name}.log", fault)
            service.start()
            stack.callback(service.stop)
            service.wait()
        now = int(time.time() * 1_000)
        rows = [rain_row(n, event_time=now + n) for n in range(1_000)]
        async with Client(nats_server.url, window=1) as client:
            await client.send_rows("rain", rows, batch_rows=50)

        async def done() -> bool:
            return not await bus.log.lag("ROWS", "validation-rows")

        await eventually(done, "all rows are checked")
    found = [row["event_id"] for row in await rows_held(bus, "ROWS", VALID)]
    books = compared(await in_log(bus, "ROWS", VALID), [f"e{n}" for n in range(1_000)]).require()
    assert found == [f"e{n}" for n in range(1_000)]
    record(injections=2, rows=1_000, **books.counts)


VALID = subjects.rows("rain", "valid", "*")
