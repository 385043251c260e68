"""`kill -9` at the worst moment: when something is done and not yet acknowledged."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import batch_message
from driftloop.bus.provision import ARTIFACTS_BUCKET
from driftloop.client.client import Client
from driftloop.contracts import events as e
from driftloop.contracts import subjects
from driftloop.local.nats import NatsServer
from driftloop.modelspec.rows import from_dicts
from tests.integration.test_trainer import FAST, asked
from tests.integration.test_trainer import feed as feed_outcomes
from tests.support.crashes import Fault, Faulty
from tests.support.faults import Record
from tests.support.flows import Process, eventually, held, process, rain_row, rain_spec, register
from tests.support.ledger import Asking, compared, in_log, in_table
from tests.support.loop import spec
from tests.support.scored import scored_batch
from tests.support.serving import decide
from tests.support.telemetry import all_kept, telemetry_process
from tests.support.tiny_models import classifier, manifest, state
from tests.support.tiny_models import spec as flights_spec
from tests.unit.registry.keeper import MODEL as KEPT
from tests.unit.registry.keeper import Keeper

ROWS = 50
"""In each batch."""


@contextlib.contextmanager
def faulty(
    name: str, server: NatsServer, folder: Path, fault: Fault, **settings: str
) -> Iterator[Faulty]:
    """A started service with a fault; its successor is a plain `Process`."""
    made = Faulty(name, server.url, folder / f"{name}-faulty.log", fault, settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def received(rng: random.Random, batches: int) -> list[pa.RecordBatch]:
    """Rows of `rain`, some of them for the quarantine."""
    return [
        from_dicts([rain_row(n, wind=rng.choice((n % 100, 999.0))) for n in range(at, at + ROWS)])
        for at in range(0, batches * ROWS, ROWS)
    ]


def ids_of(batches: list[pa.RecordBatch]) -> list[str]:
    return [name for batch in batches for name in batch.column("event_id").to_pylist()]


@pytest.mark.fault(1, "ingest is killed when the log has a batch and the producer no answer")
async def test_a_batch_that_was_stored_and_not_answered_is_there_once(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    await register(bus, rain_spec())
    batches = received(rng, 20)
    fault = Fault(at="driftloop.bus.bus:Bus.publish", dies_after=rng.randrange(1, 20))
    with faulty("ingest", nats_server, tmp_path, fault) as first:
        first.wait()
        async with Client(nats_server.url, timeout=0.5, window=2) as client:
            sending = asyncio.create_task(
                client.send_rows("rain", pa.Table.from_batches(batches), batch_rows=ROWS)
            )
            await first.died()
            with process("ingest", nats_server.url, tmp_path):
                sent = await sending
    assert sent.rows == 20 * ROWS
    assert sent.duplicate >= ROWS, "what was stored and not answered was sent again"
    found = await in_log(bus, "ROWS", subjects.rows("rain", "received", "*"))
    books = compared(found, ids_of(batches)).require()
    record(rows=len(found), **books.counts)


@pytest.mark.fault(2, "validation is killed between saying a batch and acknowledging its input")
@pytest.mark.slow
async def test_rows_that_were_checked_and_not_acknowledged_are_there_once(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    await register(bus, rain_spec())
    batches = received(rng, 30)
    subject = subjects.rows("rain", "received")
    said = [
        batch_message(subject, batch, kind="rows.received", source="test", msg_id=f"r:{at}")
        for at, batch in enumerate(batches)
    ]
    dies_after = rng.randrange(1, 4)
    fault = Fault(at="driftloop.bus.work:publish_all", dies_after=dies_after)
    with faulty("validation", nats_server, tmp_path, fault, DRIFTLOOP_VALIDATION_GROUP="4") as one:
        one.wait()
        await bus.publish(said)
        await one.died()
    with process("validation", nats_server.url, tmp_path):

        async def done() -> bool:
            return not await bus.log.lag("ROWS", "validation-rows")

        await eventually(done, "all rows are checked and acknowledged")
    found = await in_log(bus, "ROWS", subjects.rows("rain", "valid", "*"))
    found += await in_log(bus, "ROWS", subjects.rows("rain", "quarantined", "*"))
    books = compared(found, ids_of(batches)).require()
    record(rows=len(found), **books.counts)


@pytest.mark.fault(4, "the trainer is killed when the model is stored and not yet told of")
@pytest.mark.slow
async def test_a_model_that_was_stored_and_not_told_of_is_one_candidate(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    await register(bus, spec(training={**FAST, "parameters": {"max_iter": 10}}))
    await feed_outcomes(bus, 0, 6)
    stored = rng.choice((1, 3, 4))  # the model alone, all but its manifest, all
    fault = Fault(at="driftloop.artifacts.store:Artifacts.put", dies_after=stored)
    with faulty("trainer", nats_server, tmp_path, fault) as first:
        first.wait()
        await bus.emit(asked())
        await first.died()
    assert not await events_of(bus, "tide", "candidate.trained")
    kept = await artifacts(bus)
    await feed_outcomes(bus, 6, 9)  # newer rows, which the second attempt must not take
    with process("trainer", nats_server.url, tmp_path):
        await eventually(
            partial(some, bus, "tide", "candidate.trained", 1), "a candidate after the crash"
        )
    (candidate,) = await events_of(bus, "tide", "candidate.trained")
    assert isinstance(candidate, e.CandidateTrained)
    assert candidate.version == 1
    assert candidate.manifest.model_sha256 in kept
    assert (await artifacts(bus)).issuperset(kept)
    assert len(await events_of(bus, "tide", "training.started")) == 1
    record()


@pytest.mark.fault(5, "the registry is killed between writing a decision and saying it")
@pytest.mark.slow
async def test_a_decision_that_was_written_and_not_said_is_said_once(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    await register(bus, spec())
    fault = Fault(at="driftloop.bus.kv:Bucket.write", saying="RetrainRequested(", dies_after=1)
    with faulty("registry", nats_server, tmp_path, fault) as first:
        first.wait()
        await bus.emit(Keeper().accumulated(100))
        await first.died()
    written = (await bus.models.read(KEPT)).value
    assert written is not None
    assert [type(p.event) for p in written.outbox] == [e.RetrainRequested]
    assert not await events_of(bus, KEPT, "retrain.requested")
    with process("registry", nats_server.url, tmp_path):
        await eventually(
            partial(some, bus, KEPT, "retrain.requested", 1), "what was written is said"
        )

        async def settled() -> bool:
            now = (await bus.models.read(KEPT)).value
            lag = await bus.log.lag("EVENTS", "registry")
            return now is not None and not now.outbox and not lag

        await eventually(settled, "the trigger that came again is acknowledged")
    now = (await bus.models.read(KEPT)).value
    assert now is not None
    assert now.run == written.run
    assert len(await events_of(bus, KEPT, "retrain.requested")) == 1
    record(lost=0, doubled=0)


@pytest.mark.fault(6, "inference is killed while it changes the champion; a replica answers")
@pytest.mark.slow
async def test_a_killed_change_of_champion_ends_with_the_champion_of_the_state(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, record: Record
) -> None:
    old, new = classifier(1), classifier(2)
    await register(bus, flights_spec())
    for made in (old, new):
        await Artifacts(bus).put(made.onnx)
    manifests = [manifest(1, old.onnx), manifest(2, new.onnx)]
    await decide(bus, state(1, *manifests))
    fault = Fault(
        at="driftloop.inference.loading:Loader.champion", saying="version=2", dies_after=1
    )
    settings = {"DRIFTLOOP_INFERENCE_GRPC_PORT": "-1", "DRIFTLOOP_INFERENCE_REFRESH_SECONDS": "0.2"}
    stop = asyncio.Event()
    with (
        process("inference", nats_server.url, tmp_path, **settings) as other,
        faulty("inference", nats_server, tmp_path, fault, **settings) as first,
    ):
        first.wait()
        async with Client(nats_server.url, timeout=0.5) as client:
            questions = Asking.over_nats(client, "flights", {"a": 0.1, "b": 0.2, "c": 0.3})
            asking = asyncio.create_task(questions.run(stop))
            await eventually(partial(answered, questions, 1), "version 1 answers")
            await decide(bus, state(2, *manifests))
            await first.died()
            with process("inference", nats_server.url, tmp_path, **settings) as again:
                await eventually(partial(answered, questions, 2), "version 2 answers")
                for one in (other, again):
                    await eventually(partial(champion_is, one, 2), "the champion of the state")
            stop.set()
            await asking
    assert questions.failed == []
    assert set(questions.versions) == {1, 2}
    record(rows=questions.versions.total(), lost=0, seconds=max(questions.seconds))


@pytest.mark.fault(8, "telemetry is killed between inserting and acknowledging")
@pytest.mark.slow
async def test_rows_that_were_inserted_and_not_acknowledged_are_counted_once(
    bus: Bus, nats_server: NatsServer, tmp_path: Path, rng: random.Random, record: Record
) -> None:
    folder = tmp_path / "clickhouse"
    settings = {"DRIFTLOOP_TELEMETRY_PATH": str(folder), "DRIFTLOOP_TELEMETRY_FLUSH_SECONDS": "0.2"}
    dies_after = rng.randrange(1, 6)
    fault = Fault(
        at="driftloop.telemetry.engine:Engine.insert", saying="'scored'", dies_after=dies_after
    )
    with faulty("telemetry", nats_server, tmp_path, fault, **settings) as first:
        first.wait()
        sending = asyncio.create_task(say_scored(bus, 60, ROWS))
        await first.died()
    with telemetry_process(nats_server.url, folder):
        await sending
        await all_kept(bus)
        found = await in_table(bus, "scored", "flights")
    books = compared(found, [f"e{at}" for at in range(60 * ROWS)]).require()
    record(rows=len(found), **books.counts)


async def say_scored(bus: Bus, batches: int, rows: int) -> None:
    """Scored rows, each batch twice under two ids."""
    for at in range(batches):
        batch = scored_batch(rows, rows * at)
        await bus.publish(
            [
                batch_message(
                    subjects.scored("flights"), batch, kind="x", source="t", msg_id=f"{at}-{copy}"
                )
                for copy in "ab"
            ]
        )
        await asyncio.sleep(0.02)


async def events_of(bus: Bus, model: str, kind: str) -> list[e.AnyEvent]:
    return [m.event() for m in await held(bus, "EVENTS", subjects.event(model, kind))]


async def some(bus: Bus, model: str, kind: str, count: int) -> bool:
    return len(await events_of(bus, model, kind)) >= count


async def artifacts(bus: Bus) -> set[str]:
    """The digests that are kept."""
    store = await bus.connection.js.object_store(ARTIFACTS_BUCKET)
    return {str(found.name) for found in await store.list()}


async def answered(questions: Asking, version: int) -> bool:
    return questions.versions[version] > 0


async def champion_is(one: Process, version: int) -> bool:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{one.base}/v1/models/flights")
    return bool(answer.json()["champion"] == version)
