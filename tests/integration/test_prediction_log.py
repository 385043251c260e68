"""The prediction log on a real broker: all that was answered is in it, or counted as dropped."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.log import rows_total
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.bus.stored import Ack
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import matrix_of
from driftloop.contracts.errors import Overloaded, Retry
from driftloop.contracts.state import ModelState, Shadow
from driftloop.drift.domain.monitor import Monitor
from driftloop.feedback.app import SERVICE as FEEDBACK
from driftloop.inference import prediction_log
from driftloop.inference.prediction_log import PredictionLog
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Champion, Versions
from driftloop.local.nats import NatsServer
from driftloop.modelspec.spec import Shadow as ShadowTable
from driftloop.modelspec.spec import Spec
from driftloop.runtime import metrics
from driftloop.telemetry.engine import Engine
from driftloop.telemetry.settings import TelemetrySettings
from driftloop.validation.domain.live import LiveGate
from tests.support.flows import eventually, held, register, rows_held, running
from tests.support.loop import labels
from tests.support.loop import scored as scored_rows
from tests.support.telemetry import all_kept, ask, telemetry
from tests.support.tiny_models import (
    Tiny,
    classifier,
    manifest,
    rows,
    spec,
    state,
)

MODEL = "flights"
SCORED = subjects.scored(MODEL)
OUTCOMES = subjects.outcomes(MODEL)
LATENCY = 0.002


class Kit:
    """A log, and what it takes to answer rows as the request path does."""

    def __init__(self, bus: Bus, versions: Versions, log: PredictionLog, made: Spec) -> None:
        self.bus, self.versions, self.log, self.spec = bus, versions, log, made
        self._before = Counter(metrics.values())
        self.answered = 0

    async def champion(self) -> Champion:
        live = await self.versions.of(MODEL)
        assert live.champion is not None
        return live.champion

    def answer(self, by: Champion, ids: Sequence[str], seed: int = 0) -> None:
        """Answer as many rows as there are ids, and log them."""
        matrix = rows(len(ids), seed)
        answers = by.session.run(matrix)
        self.log.add(MODEL, self.spec, by, matrix, answers, ids, [LATENCY] * len(ids))
        self.answered += len(ids)

    def counted(self, what: str, **labels: str) -> int:
        """How much a metric of the log grew since the kit was made."""
        given = ",".join(f"{k}={v}" for k, v in sorted({"model": MODEL, **labels}.items()))
        name = f"driftloop_prediction_log_{what}{{{given}}}"
        return int(metrics.values().get(name, 0) - self._before[name])

    def closes(self, **dropped: int) -> None:
        """Check the sum, and what was dropped why."""
        logged, waiting = self.counted("rows_total"), self.counted("waiting_rows")
        reasons = ("full", "refused", "closed", "failed")
        lost = {r: self.counted("dropped_rows_total", reason=r) for r in reasons}
        assert self.answered == logged + waiting + sum(lost.values())
        assert lost == dict.fromkeys(reasons, 0) | dropped


@contextlib.asynccontextmanager
async def log_of(bus: Bus, made: Spec | None = None, **settings: Any) -> AsyncIterator[Kit]:
    """A log that runs, with the versions that the registry's state names."""
    given = InferenceSettings(nats_url=bus.connection.url, **settings)
    versions = Versions(bus, Artifacts(bus), given)
    log = PredictionLog(bus, versions, given)
    run = asyncio.create_task(log.run())
    try:
        yield Kit(bus, versions, log, made or spec())
    finally:
        bus.stopping.set()
        await run
        await log.close()
        await versions.close()


async def decide(bus: Bus, made: ModelState) -> None:
    await bus.models.write(MODEL, made, (await bus.models.read(MODEL)).revision)


async def serve(bus: Bus, *models: Tiny, champion: int = 1) -> None:
    """Version 1 is the first model, and so on; all but the champion are shadows."""
    for model in models:
        await Artifacts(bus).put(model.onnx)
    manifests = [manifest(at, model.onnx) for at, model in enumerate(models, 1)]
    shadows = tuple(m.version for m in manifests if m.version != champion)
    await decide(bus, state(champion, *manifests, shadows=shadows))


async def ready(kit: Kit) -> None:
    """Wait until the shadows can answer."""
    live = await kit.versions.of(MODEL)

    async def up() -> bool:
        return all(shadow.state == "up" for shadow in live.shadows)

    await eventually(up, "the shadows are up")


async def logged(bus: Bus, count: int) -> list[dict[str, Any]]:
    """All rows of the log once there are `count`."""

    async def there() -> bool:
        return sum(int(m.headers["dl-rows"]) for m in await held(bus, "SCORED", SCORED)) >= count

    await eventually(there, f"{count} rows in SCORED")
    return await rows_held(bus, "SCORED", SCORED)


async def test_what_was_answered_is_scored_with_version_answer_latency_and_shadow(
    bus: Bus,
) -> None:
    await serve(bus, classifier(), classifier(seed=5))
    async with log_of(bus, shadow_seconds=5.0) as kit:
        by = await kit.champion()
        await ready(kit)
        kit.answer(by, ["a", "b"], seed=1)
        kit.answer(by, ["c"], seed=2)
        await logged(bus, 3)
        kit.closes()
    (message,) = await held(bus, "SCORED", SCORED)
    batch = message.batch()
    assert batch.column("event_id").to_pylist() == ["a", "b", "c"]
    assert batch.column("version").to_pylist() == [1, 1, 1]
    np.testing.assert_allclose(batch.column("latency").to_pylist(), [LATENCY] * 3)
    matrix = np.concatenate([rows(2, 1), rows(1, 2)])
    np.testing.assert_array_equal(matrix_of(batch.column("features")), matrix)
    for column, model in (("answer", classifier()), ("shadow_v2", classifier(seed=5))):
        np.testing.assert_allclose(
            matrix_of(batch.column(column)), model.answers(matrix), atol=1e-5
        )
    age = message.time - batch.column("event_time")[0].as_py().timestamp()
    assert -0.1 < age < 60
    assert (message.headers["ce-type"], message.headers[headers.ROWS]) == ("driftloop.scored", "3")
    assert headers.INPUT not in message.headers


async def test_rows_answered_during_a_swap_keep_the_version_that_answered(bus: Bus) -> None:
    await serve(bus, classifier(), classifier(seed=5))
    async with log_of(bus, shadow_seconds=5.0, log_ms=3_600_000.0) as kit:
        old = await kit.champion()
        kit.answer(old, ["a", "b"])
        await serve(bus, classifier(), classifier(seed=5), champion=2)
        new = (await kit.versions.refresh(MODEL)).champion
        assert new is not None
        await ready(kit)
        kit.answer(new, ["c"])
        kit.answer(old, ["d"])
    found = {row["event_id"]: row for row in await rows_held(bus, "SCORED", SCORED)}
    assert {i: row["version"] for i, row in found.items()} == {"a": 1, "b": 1, "c": 2, "d": 1}
    shadows = {i for i, row in found.items() if row.get("shadow_v1") is not None}
    assert shadows == {"c"}, "a shadow answers the rows of the champion alone"


async def test_a_shadow_that_is_late_is_left_out_and_the_rows_are_logged(bus: Bus) -> None:
    await serve(bus, classifier(), classifier(seed=5))
    before = shadow_dropped()
    async with log_of(bus, shadow_seconds=0.0001) as kit:
        by = await kit.champion()
        await ready(kit)
        for at in range(3):
            kit.answer(by, [f"{at}-{row}" for row in range(4_000)], seed=at)
        found = await logged(bus, 12_000)
        kit.closes()
    assert len({row["event_id"] for row in found}) == 12_000
    without = sum(row.get("shadow_v2") is None for row in found)
    assert without >= 8_000
    assert without == shadow_dropped() - before


def shadow_dropped() -> int:
    """Rows that a shadow was to answer and did not, whatever the reason."""
    about = f"driftloop_shadow_dropped_rows_total{{model={MODEL},"
    return int(sum(n for name, n in metrics.values().items() if name.startswith(about)))


async def test_shadows_answer_the_share_of_the_batches_that_the_spec_says(bus: Bus) -> None:
    await serve(bus, classifier(), classifier(seed=5))
    half = msgspec.structs.replace(spec(), shadow=ShadowTable(share=0.5))
    async with log_of(bus, half, shadow_seconds=5.0, log_batch_rows=1) as kit:
        by = await kit.champion()
        for at in range(60):
            kit.answer(by, [f"{at}-{row}" for row in range(5)], seed=at)
        await logged(bus, 300)
    with_shadow = ["shadow_v2" in m.batch().schema.names for m in await held(bus, "SCORED", SCORED)]
    assert len(with_shadow) == 60
    assert 12 <= sum(with_shadow) <= 48


async def test_a_batch_beyond_the_payload_limit_is_split(bus: Bus) -> None:
    await serve(bus, classifier())
    async with log_of(bus) as kit:
        by = await kit.champion()
        wide = np.arange(600 * 5_000, dtype=np.float32).reshape(600, 5_000)
        ids = [f"e{row}" for row in range(600)]
        kit.log.add(MODEL, kit.spec, by, wide, np.ones((600, 2), np.float32), ids, [0.0] * 600)
        kit.answered += 600
        assert wide.nbytes > bus.connection.nc.max_payload
        await logged(bus, 600)
        kit.closes()
    messages = await held(bus, "SCORED", SCORED)
    assert len(messages) > 1
    assert [i for m in messages for i in m.batch().column("event_id").to_pylist()] == ids
    found = np.concatenate([matrix_of(m.batch().column("features")) for m in messages])
    np.testing.assert_array_equal(found, wide)


async def test_a_row_that_no_message_can_carry_is_refused_alone(bus: Bus) -> None:
    await serve(bus, classifier())
    async with log_of(bus) as kit:
        by = await kit.champion()
        kit.answer(by, ["x" * (9 << 20)])
        kit.answer(by, ["a", "b"])
        assert [row["event_id"] for row in await logged(bus, 2)] == ["a", "b"]
        kit.closes(refused=1)


async def test_rows_that_make_no_batch_are_counted_and_the_next_ones_are_logged(bus: Bus) -> None:
    await serve(bus, classifier())
    async with log_of(bus, log_batch_rows=1) as kit:
        by = await kit.champion()
        one_short = [LATENCY]
        kit.log.add(MODEL, kit.spec, by, rows(2), rows(2)[:, :2], ["a", "b"], one_short)
        kit.answered += 2
        kit.answer(by, ["c"])
        assert [row["event_id"] for row in await logged(bus, 1)] == ["c"]
        kit.closes(failed=2)


@pytest.mark.fault(14, "NATS is away while requests are answered over HTTP")
async def test_with_the_broker_killed_every_answer_is_logged_once_or_counted_as_dropped(
    bus: Bus, nats_server: NatsServer
) -> None:
    await serve(bus, classifier())
    async with log_of(bus, log_ms=5.0, log_batch_rows=64, log_rows=2_000) as kit:
        by = await kit.champion()
        numbers = iter(range(10**9))

        async def flood(calls: int) -> None:
            for _ in range(calls):
                kit.answer(by, [f"e{next(numbers)}" for _ in range(8)])
                if next(numbers) % 16 == 0:
                    await asyncio.sleep(0)

        def full() -> int:
            return kit.counted("dropped_rows_total", reason="full")

        def audit() -> None:
            kit.closes(full=full())

        for _ in range(3):
            await flood(200)
            nats_server.kill()
            await flood(400)
            audit()
            assert full() > 0
            assert kit.counted("waiting_rows") > 2_000 - 8
            nats_server.start()
            await flood(100)
            audit()

            async def all_settled() -> bool:
                return kit.counted("waiting_rows") == 0

            await eventually(all_settled, "nothing waits")
            audit()
    found = [row["event_id"] for row in await rows_held(bus, "SCORED", SCORED)]
    assert len(found) == len(set(found)) == kit.counted("rows_total")
    assert len(found) + full() == kit.answered


@pytest.mark.parametrize("error", [Retry("not acknowledged", delay=0.01), Overloaded("full", 0.01)])
async def test_a_batch_that_was_stored_and_not_acknowledged_is_in_the_log_once(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, error: Retry
) -> None:
    publish, acks = bus.publish, list[Ack]()

    async def deaf(messages: Sequence[Outgoing]) -> list[Ack]:
        acks.extend(await publish(messages))
        if len(acks) < 3:
            raise error
        return acks

    await serve(bus, classifier())
    monkeypatch.setattr(bus, "publish", deaf)
    async with log_of(bus) as kit:
        kit.answer(await kit.champion(), ["a", "b"])

        async def settled() -> bool:
            kit.closes()
            return kit.counted("rows_total") == 2

        await eventually(settled, "the rows are logged")
    assert [ack.duplicate for ack in acks] == [False, True, True]
    assert await bus.log.last_seq("SCORED") == 1


async def test_the_end_logs_what_waits_and_counts_what_comes_after(bus: Bus) -> None:
    await serve(bus, classifier())
    async with log_of(bus, log_ms=3_600_000.0) as kit:
        by = await kit.champion()
        kit.answer(by, ["a", "b"])
        await asyncio.sleep(0)
        assert kit.counted("waiting_rows") == 2
    kit.answer(by, ["late"])
    kit.closes(closed=1)
    assert [row["event_id"] for row in await rows_held(bus, "SCORED", SCORED)] == ["a", "b"]


async def test_the_end_does_not_wait_for_a_broker_that_is_away(
    bus: Bus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "CLOSE_SECONDS", 0.2)
    await serve(bus, classifier())
    async with log_of(bus, log_ms=1.0) as kit:
        by = await kit.champion()
        nats_server.kill()
        kit.answer(by, ["a", "b"])
        await asyncio.sleep(0)
    kit.closes(closed=2)


async def test_labels_of_answered_rows_become_outcomes_of_the_version_that_answered(
    bus: Bus, nats_server: NatsServer
) -> None:
    await register(bus, spec())
    await serve(bus, classifier(), classifier(seed=5))
    async with (
        log_of(bus, shadow_seconds=5.0) as kit,
        running(FEEDBACK, nats_server.url, report_seconds=0.1),
    ):
        by = await kit.champion()
        await ready(kit)
        kit.answer(by, [f"r{at}" for at in range(20)], seed=1)
        await logged(bus, 20)
        stream = scored_rows(["s0"], version=1, chances=[0.5], features=np.zeros((1, 3)))
        await say(bus, SCORED, stream, "stream")
        again = Champion(manifest(2, b""), by.session)
        kit.answer(again, ["r0", "r1", "new", "new"], seed=2)
        await logged(bus, 25)
        known = [(f"r{at}", "yes") for at in range(20)] + [("s0", "no"), ("new", "yes")]
        await say(bus, subjects.labels(MODEL), labels(known), "labels")

        async def joined() -> bool:
            last = await bus.log.last("OUTCOMES", OUTCOMES)
            return last is not None and rows_total(last) >= 22

        await eventually(joined, "22 outcomes")
        duplicates = f"driftloop_feedback_duplicate_rows_total{{model={MODEL}}}"

        async def told() -> bool:
            return metrics.values().get(duplicates) == 3

        await eventually(told, "three rows came again")
    outcomes = await rows_held(bus, "OUTCOMES", OUTCOMES)
    versions = {row["event_id"]: row["version"] for row in outcomes}
    assert len(outcomes) == 22
    assert versions == {f"r{at}": 1 for at in range(20)} | {"s0": 1, "new": 2}
    assert {row["event_id"]: row["label"] for row in outcomes}["s0"] == 0.0
    judged(await held(bus, "OUTCOMES", OUTCOMES))


def judged(messages: Sequence[Any]) -> None:
    """The live gate pairs the rows of requests as it does those of the stream."""
    shadow = Shadow(
        version=2, champion=1, role="challenger", run="run-1", from_seq=1, started_id="s"
    )
    gate = LiveGate(spec(), shadow)
    for message in messages:
        gate.update(message.batch())
    assert gate.evidence().rows == 20


async def test_drift_watches_answered_rows(bus: Bus) -> None:
    await serve(bus, classifier())
    monitor = Monitor(spec(), champion=1)
    async with log_of(bus) as kit:
        by = await kit.champion()
        kit.answer(by, [f"e{at}" for at in range(3_000)])
        await logged(bus, 3_000)
    for message in await held(bus, "SCORED", SCORED):
        assert list(monitor.scored(message.batch(), message.seq)) == []
    watched = {standing.name: standing.rows for standing in monitor.standing("SCORED")}
    assert watched.keys() == {"a", "b", "c", "prediction"}
    assert min(watched.values()) > 500, "the rows after the reference are looked at"


async def say(bus: Bus, subject: str, batch: pa.RecordBatch, msg_id: str) -> None:
    await bus.publish(
        [batch_message(subject, batch, kind="test", source="test", msg_id=f"test:{msg_id}")]
    )


async def test_the_tables_tell_rows_of_requests_from_rows_of_the_stream(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    await register(bus, spec())
    await serve(bus, classifier())
    async with (
        telemetry(nats_server.url, tmp_path / "clickhouse"),
        log_of(bus) as kit,
    ):
        stream = scored_rows(["s0", "both"], version=1, chances=[0.5] * 2)
        await say(bus, subjects.rows(MODEL, "valid"), stream, "valid")
        await say(bus, SCORED, stream, "stream")
        by = await kit.champion()
        kit.answer(by, ["both", "r0", "r1"])
        await logged(bus, 5)
        kit.answer(by, ["r1"], seed=3)
        await logged(bus, 6)
        await all_kept(bus)
        found = await ask(bus, "SELECT event_id, latency, seq FROM scored FINAL ORDER BY event_id")
        assert [(row["event_id"], row["seq"]) for row in found] == [
            ("both", 2),
            ("r0", 2),
            ("r1", 3),
            ("s0", 1),
        ]
        assert [row["latency"] is None for row in found] == [False, False, False, True]
        closes = (
            "SELECT (SELECT count() FROM rows_valid FINAL) AS valid, countIf(of_stream) AS stream,"
            " countIf(NOT of_stream) AS requests FROM (SELECT event_id IN"
            " (SELECT event_id FROM rows_valid) AS of_stream FROM scored FINAL)"
        )
        assert await ask(bus, closes) == [{"valid": 2, "stream": 2, "requests": 2}]
        shown = await ask(bus, f"SELECT event_id, latency FROM {MODEL}_scored WHERE a IS NOT NULL")
        assert len(shown) == 4


async def test_a_table_from_before_gets_the_latency_and_keeps_its_rows(tmp_path: Path) -> None:
    engine = Engine(TelemetrySettings(path=str(tmp_path / "clickhouse")))
    await engine.open()
    await engine.command("ALTER TABLE scored DROP COLUMN latency")
    await engine.command("TRUNCATE TABLE schema_migrations")
    old = pa.table({"model": [MODEL], "event_id": ["old"], "event_time": [0], "version": [1]})
    await engine.insert("scored", old)
    await engine.open()
    try:
        found = (await engine.ask("SELECT event_id, latency FROM scored FINAL")).to_pylist()
        assert found == [{"event_id": "old", "latency": None}]
    finally:
        await engine.close()
