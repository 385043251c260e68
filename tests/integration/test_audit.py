"""`driftloop audit` on real services: sums that close to the row, and forged ones that do not."""

import asyncio
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.client.client import Client
from driftloop.contracts import headers, subjects
from driftloop.contracts.stats import JoinStats
from driftloop.local.nats import NatsServer
from driftloop.telemetry.engine import Engine
from driftloop.telemetry.settings import TelemetrySettings
from tests.support.accounting import audited, broken, labels, parts, ready, rows, system, told
from tests.support.flows import Process, held, rain_spec, register
from tests.support.loop import scored
from tests.support.processes import driftloop
from tests.support.telemetry import all_kept, telemetry

MODEL = "rain"


async def _feed(client: Client, killed: list[Process]) -> None:
    """Rows, some twice and some bad; labels early and late, twice, wrong, and of nobody."""
    for step in range(8):
        first = 100 * step
        await client.send_labels(MODEL, labels(first + 90, first + 100))
        await client.send_rows(MODEL, rows(first, first + 100))
        await client.send_rows(MODEL, rows(first, first + 7))
        await client.send_rows(MODEL, rows(first, first + 2, "bad", wind=-1))
        await client.send_labels(MODEL, labels(first, first + 50))
        if step % 3 == 2:
            its = killed.pop()
            await asyncio.to_thread(its.kill)
            its.start()
    await client.send_labels(MODEL, labels(0, 9, "0"))
    await client.send_labels(MODEL, labels(60, 70, "?"))
    await client.send_labels(MODEL, labels(60, 65))
    await client.send_labels(MODEL, labels(0, 4, prefix="nobody"))
    await client.send_labels(MODEL, labels(0, 2, prefix="bad"))


async def test_sums_close_to_the_row_though_services_are_killed_and_a_forged_one_does_not(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, rain_spec())
    names = ("ingest", "validation", "inference", "feedback", "telemetry")
    async with system(nats_server.url, tmp_path, names) as services:
        killed = [services["feedback"], services["validation"]]
        async with Client(nats_server.url, timeout=1.0) as client:
            await _feed(client, killed)
            await ready(services)
            report = await audited(bus, MODEL)
            assert broken(report) == {}, report
            received = {"valid": 800, "quarantined": 16, "duplicate": 56}
            joined = {"joined": 485, "pending": 4, "unmatched": 7, "duplicate": 14}
            assert parts(report, "received") == received
            assert parts(report, "valid") == {"scored": 800}
            assert parts(report, "labels") == joined
            assert parts(report, "predictions") == {"joined": 485, "pending": 315}
            await _no_copy_counts(bus, received, joined)
            await _part_of_it_closes_too(bus, client)
        await _a_message_that_is_gone_is_missed(bus, nats_server.url)


async def _no_copy_counts(bus: Bus, received: dict[str, int], joined: dict[str, int]) -> None:
    """A batch that is stored again long after leads to nothing but copies."""
    copied = Counter[str]()
    for kind, stream, subject in (
        ("received", "ROWS", subjects.rows(MODEL, "received")),
        ("valid", "ROWS", subjects.rows(MODEL, "valid")),
        ("scored", "SCORED", subjects.scored(MODEL)),
        ("labels", "LABELS", subjects.labels(MODEL)),
    ):
        copied[kind] = await _copied(bus, stream, subject, most=15)
    report = await audited(bus, MODEL)
    assert broken(report) == {}, report
    more = {"duplicate": received["duplicate"] + copied["received"]}
    assert parts(report, "received") == received | more
    # The labels that were given up may come again, too: an event id still counts once.
    assert parts(report, "labels") == joined | {"duplicate": 14 + copied["labels"]}
    assert min(copied.values()) > 0


async def _part_of_it_closes_too(bus: Bus, client: Client) -> None:
    between = time.time()
    await client.send_rows(MODEL, rows(790, 810))
    await client.send_labels(MODEL, labels(795, 805))
    late = await audited(bus, MODEL, since=between)
    assert broken(late) == {}, late
    assert datetime.fromisoformat(late.since).timestamp() == pytest.approx(between, abs=0.001)
    assert parts(late, "received") == {"valid": 20}
    assert parts(late, "valid") == {"scored": 20}


async def _a_message_that_is_gone_is_missed(bus: Bus, url: str) -> None:
    last = (await held(bus, "SCORED", subjects.scored(MODEL)))[-1]
    await bus.connection.js.delete_msg("SCORED", last.seq)
    code, found = await told(url, "audit", "--model", MODEL)
    sums = {one["sum"]: one for one in found["sums"] if not one["closes"]}
    assert (code, found["closes"]) == (1, False)
    assert sums["valid"]["missing"] == 10  # the other ten had been sent before
    assert sums["stream scored"]["extra"] == 10


async def _copied(bus: Bus, stream: str, subject: str, most: int) -> int:
    """Store messages of a subject again, as after the de-duplication window; their rows."""
    count = 0
    for message in (await held(bus, stream, subject))[:most]:
        again = {**message.headers, headers.MSG_ID: f"again:{message.position}"}
        await bus.publish([Outgoing(subject=subject, payload=message.payload, headers=again)])
        count += message.batch().num_rows
    return count


async def test_a_row_that_left_a_table_is_missed(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, rain_spec())
    rows_given = pa.RecordBatch.from_pydict({"event_id": [f"e{at}" for at in range(50)]})
    subject = subjects.rows(MODEL, "received")
    said = batch_message(subject, rows_given, kind="rows", source="test", msg_id="1")
    [ack] = await bus.publish([said])
    await _say_valid_and_scored(bus, f"ROWS:{ack.seq}", [f"e{at}" for at in range(50)])
    async with telemetry(nats_server.url, tmp_path):
        await all_kept(bus)
        assert broken(await audited(bus, MODEL)) == {}
    engine = Engine(TelemetrySettings(path=str(tmp_path)))
    await engine.open()
    await engine.command(
        "ALTER TABLE scored DELETE WHERE event_id = 'e7' SETTINGS mutations_sync=1"
    )
    await engine.close()
    async with telemetry(nats_server.url, tmp_path):
        assert broken(await audited(bus, MODEL)) == {"stream scored": (1, 0)}


async def _say_valid_and_scored(bus: Bus, cause: str, ids: list[str]) -> None:
    """What validation and inference say of received rows."""
    answered = scored(ids)
    valid = answered.select(["event_id", "event_time", "key", "features"])
    for kind, subject, batch in (
        ("valid", subjects.rows(MODEL, "valid"), valid),
        ("scored", subjects.scored(MODEL), answered),
    ):
        extra = {headers.INPUT: cause}
        message = batch_message(subject, batch, kind=kind, source="test", msg_id=kind, extra=extra)
        [ack] = await bus.publish([message])
        cause = f"ROWS:{ack.seq}"
    said = JoinStats(
        about=MODEL,
        outcomes_total=0,
        waiting_predictions=len(ids),
        waiting_labels=0,
        scored_seq=ack.seq,
        labels_seq=0,
        data_time=0,
    )
    await bus.stat(said)
    await bus.connection.nc.flush()


async def test_an_audit_that_cannot_be_made_says_so(bus: Bus, nats_server: NatsServer) -> None:
    await register(bus, rain_spec())
    code, _, err = await driftloop(nats_server.url, "audit")
    assert (code, "no service answers" in err) == (3, True)
    code, _, err = await driftloop(nats_server.url, "audit", "--since", "soon")
    assert (code, "--since: 'soon' is not a duration" in err) == (2, True)
    code, _, err = await driftloop(nats_server.url, "audit", "--model", "fog")
    assert (code, "'fog' is not registered" in err) == (2, True)
