"""Telemetry on a real NATS server and a real ClickHouse (chDB): everything kept, each once."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pyarrow as pa
import pytest

from driftloop.bus.bus import Bus
from driftloop.bus.messages import Outgoing, batch_message
from driftloop.contracts import headers, subjects
from driftloop.contracts.batches import LABELS, QUARANTINED, UNMATCHED
from driftloop.contracts.errors import InvalidInput, Retry
from driftloop.contracts.events import SpecRegistered
from driftloop.contracts.stats import DriftScore, EstimatedLoss, Evidence, JoinStats, ServiceStats
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.modelspec.spec import Feature, Registered, Spec, Target
from driftloop.runtime import metrics
from driftloop.runtime.service import Wired
from tests.support.scored import scored_batch
from tests.support.telemetry import (
    all_kept,
    ask,
    count,
    eventually,
    telemetry,
    telemetry_process,
)

MODEL = "flights"
SPEC = Spec(
    name=MODEL,
    task="classification",
    target=Target(name="late", classes=("no", "yes")),
    features=(
        Feature(name="hour", type="integer"),
        Feature(name="carrier", type="category", categories=("AA", "B6", "UA")),
        Feature(name="key", nullable=True),
    ),
)


@pytest.fixture
async def service(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Wired]:
    async with telemetry(nats_server.url, tmp_path / "clickhouse") as wired:
        yield wired


def message(subject: str, batch: pa.RecordBatch, msg_id: str) -> Outgoing:
    return batch_message(subject, batch, kind="test", source="test", msg_id=msg_id)


def texts(schema: pa.Schema, given: Sequence[tuple[object, ...]]) -> pa.RecordBatch:
    made = [dict(zip(schema.names, row, strict=True)) for row in given]
    return pa.RecordBatch.from_pylist(made, schema=schema)


@pytest.mark.fault(20, "telemetry hears each batch twice")
async def test_rows_delivered_twice_are_counted_once(bus: Bus, service: Wired) -> None:
    batch = scored_batch(300, shadows=[2])
    subject = subjects.scored(MODEL)
    await bus.publish([message(subject, batch, "first")])
    await all_kept(bus)
    (second,) = await bus.publish([message(subject, batch, "second")])
    assert not second.duplicate
    await all_kept(bus)
    assert await count(bus, "scored") == 300
    assert await bus.log.last_seq("SCORED") == 2


async def test_shadows_are_kept_beside_the_live_answer(bus: Bus, service: Wired) -> None:
    batch = scored_batch(2, shadows=[2]).append_column(
        "shadow_v3", pa.array([None, [0.25, 0.75]], pa.list_(pa.float32(), 2))
    )
    await bus.publish([message(subjects.scored(MODEL), batch, "one")])
    await all_kept(bus)
    found = await ask(bus, "SELECT * FROM scored FINAL ORDER BY event_id")
    assert [row["shadow_versions"] for row in found] == [[2], [2, 3]]
    assert found[1]["shadow_answers"] == [[0.5, 0.5], [0.25, 0.75]]
    assert (found[1]["features"], found[1]["answer"]) == ([1, 2, 3], [0.5, 0.5])
    assert (found[1]["version"], found[1]["seq"], found[1]["model"]) == (1, 1, MODEL)


async def test_rows_before_a_first_model_have_no_version_and_no_answer(
    bus: Bus, service: Wired
) -> None:
    batch = scored_batch(2)
    batch = batch.set_column(4, "version", pa.nulls(2, pa.int32()))
    batch = batch.set_column(5, "answer", pa.nulls(2, pa.list_(pa.float32(), 2)))
    await bus.publish([message(subjects.scored(MODEL), batch, "one")])
    await all_kept(bus)
    assert await ask(bus, "SELECT version, answer FROM scored FINAL LIMIT 1") == [
        {"version": None, "answer": []}
    ]


async def test_every_kind_of_message_has_its_table(bus: Bus, service: Wired) -> None:
    quarantined = texts(QUARANTINED, [("e8", None, "hour: is missing", "{}"), ("", None, "b", "1")])
    labels = texts(LABELS, [("e1", "no", None), ("e2", "yes", None)])
    unmatched = texts(UNMATCHED, [("e9", "no", "no prediction came"), ("e7", "no", "late")])
    await bus.publish(
        [
            message(subjects.rows(MODEL, "received"), scored_batch(9), "received"),
            message(subjects.rows(MODEL, "valid"), scored_batch(7), "valid"),
            message(subjects.rows(MODEL, "quarantined"), quarantined, "quarantined"),
            message(subjects.labels(MODEL), labels, "labels"),
            message(subjects.outcomes(MODEL), scored_batch(5, labelled=True), "outcomes"),
            message(subjects.dead("feedback", MODEL), unmatched, "unmatched"),
            Outgoing(
                subject=subjects.dead("validation", MODEL),
                payload=b"not Arrow",
                headers={"Nats-Msg-Id": "dead", "content-type": headers.ARROW},
            ),
        ]
    )
    await all_kept(bus)
    expected = {"rows_valid": 7, "quarantine": 2, "labels": 2, "outcomes": 5, "unmatched": 2}
    assert {table: await count(bus, table) for table in expected} == expected
    assert await count(bus, "dead") == 1
    assert (await ask(bus, "SELECT sum(label) AS late FROM outcomes FINAL"))[0]["late"] == 2


async def test_events_and_measurements_are_kept(bus: Bus, service: Wired) -> None:
    await bus.specs.write(MODEL, Registered(spec=SPEC, revision=1, by="test", at=0.0), 0)
    await bus.emit(SpecRegistered(model=MODEL, revision=1, by="test"))
    for stat in (
        DriftScore(about=MODEL, detector="hour", mean=0.5, rows=9, seq=3, data_time=1),
        EstimatedLoss(
            about=MODEL,
            version=1,
            loss="brier",
            estimate=0.2,
            lower=0.1,
            upper=0.3,
            rows=1_000,
            from_time=1,
            data_time=2,
            void="the loss moved",
        ),
        JoinStats(
            about=MODEL,
            outcomes_total=1,
            waiting_predictions=0,
            waiting_labels=0,
            scored_seq=1,
            labels_seq=1,
            data_time=1,
        ),
        Evidence(
            about=MODEL,
            run="run-1",
            role="challenger",
            version=2,
            champion=1,
            rows=9,
            mean=0.1,
            lower=0.0,
            upper=0.2,
            margin=0.0,
            champion_loss=0.3,
            shadow_loss=0.2,
            data_time=1,
        ),
        ServiceStats(
            about="ingest",
            pid=1,
            url="",
            started=1.0,
            ready=True,
            reason="",
            rss_bytes=5,
            cpu_seconds=1.0,
            counters={"driftloop_rows_total": 7.0},
        ),
    ):
        await bus.stat(stat)
    await bus.connection.nc.flush()
    await all_kept(bus)
    tables = ("events", "drift_scores", "join_stats", "evidence", "stats_service", "estimates")
    assert {table: await count(bus, table) for table in tables} == dict.fromkeys(tables, 1)
    event = (await ask(bus, "SELECT * FROM events FINAL"))[0]
    assert event["id"] == "spec.registered:flights:1"
    assert json.loads(event["body"])["by"] == "test"
    estimate = (await ask(bus, "SELECT * FROM estimates FINAL"))[0]
    assert (estimate["upper"], estimate["void"]) == (0.3, "the loss moved")
    counted = "SELECT counters['driftloop_rows_total'] AS n FROM stats_service"
    assert (await ask(bus, counted))[0]["n"] == 7


async def test_a_poisoned_message_goes_to_the_dead_letters_and_no_other_with_it(
    bus: Bus, service: Wired
) -> None:
    subject = subjects.scored(MODEL)
    sent = [message(subject, scored_batch(10, 10 * at), f"b{at}") for at in range(9)]
    poison = Outgoing(subject=subject, payload=b"junk", headers={"Nats-Msg-Id": "poison"})
    event = Outgoing(subject="events.flights.bad", payload=b"\xc1", headers={"Nats-Msg-Id": "bad"})
    await bus.publish([*sent[:4], poison, *sent[4:], event])
    await all_kept(bus)
    await eventually_dead(bus, {"telemetry-scored", "telemetry-events"})
    assert await count(bus, "scored") == 90
    found = await ask(bus, "SELECT reason, origin FROM dead FINAL WHERE service LIKE '%-scored'")
    assert found[0]["origin"] == "scored.flights.0 SCORED:5"
    assert "not an Arrow IPC stream" in found[0]["reason"]


async def test_of_messages_that_are_kept_together_only_the_wrong_one_is_refused(
    bus: Bus, service: Wired
) -> None:
    whole = scored_batch(90)
    names = whole.column("event_id").to_pylist()
    names[37] = None
    whole = whole.set_column(0, "event_id", pa.array(names))  # of the same type in every message
    sent = [
        message(subjects.scored(MODEL), whole.slice(at, 10), f"b{at}") for at in range(0, 90, 10)
    ]
    await bus.publish(sent)
    await all_kept(bus)
    await eventually_dead(bus, {"telemetry-scored"})
    assert await count(bus, "scored") == 80
    assert await ask(bus, "SELECT DISTINCT seq FROM scored FINAL ORDER BY seq") == [
        {"seq": seq} for seq in range(1, 10) if seq != 4
    ]
    found = await ask(bus, "SELECT reason, origin FROM dead FINAL")
    assert [row["origin"] for row in found] == ["scored.flights.0 SCORED:4"]
    assert "event_id: 1 are null" in found[0]["reason"]


async def eventually_dead(bus: Bus, services: set[str]) -> None:
    async def there() -> bool:
        found = await ask(bus, "SELECT service FROM dead FINAL")
        return {row["service"] for row in found} == services

    await eventually(there, f"dead letters of {services}")


async def test_views_show_a_models_columns_by_name(bus: Bus, service: Wired) -> None:
    await bus.publish(
        [message(subjects.outcomes(MODEL), scored_batch(2, labelled=True), "outcomes")]
    )
    await bus.specs.write(MODEL, Registered(spec=SPEC, revision=1, by="test", at=0.0), 0)
    await bus.emit(SpecRegistered(model=MODEL, revision=1, by="test"))

    async def there() -> bool:
        return bool(await ask(bus, "SHOW TABLES LIKE 'flights_outcomes'"))

    await eventually(there, "the view is made")
    await all_kept(bus)
    found = await ask(bus, "SELECT * FROM flights_outcomes ORDER BY event_id")
    shown = ("hour", "carrier", "key", "key_", "late", "p_no", "p_yes", "version")
    assert [tuple(row[name] for name in shown) for row in found] == [
        (0, "B6", 2.0, "UA", "no", 0.5, 0.5, 1),
        (1, "UA", 3.0, "UA", "yes", 0.5, 0.5, 1),
    ]


async def test_views_of_specs_known_before_are_made_at_the_start(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(SPEC, name="a-b_c")
    await bus.specs.write(spec.name, Registered(spec=spec, revision=1, by="test", at=0.0), 0)
    async with telemetry(nats_server.url, tmp_path / "clickhouse"):
        await all_kept(bus)
        assert await ask(bus, "SELECT * FROM `a-b_c_scored`") == []


async def test_a_question_that_writes_or_reaches_out_is_refused(bus: Bus, service: Wired) -> None:
    await all_kept(bus)
    for sql, reason in {
        "INSERT INTO labels (model) VALUES ('x')": "is not read-only",
        "DROP TABLE labels": "is not read-only",
        "SELECT 1; DROP TABLE labels": "Multi-statements are not allowed",
        "SELECT 1 SETTINGS readonly = 0": "Cannot modify 'readonly' setting",
        "SELECT * FROM file('/etc/hostname', 'LineAsString')": "reaches beyond the tables",
        "DESC/**/`file`('/etc/hostname')": "reaches beyond the tables",
        "SELECT 1 IN url('http://127.0.0.1:1/', 'CSV', 'a Int8')": "reaches beyond the tables",
        "SELECT 1 INTO OUTFILE '/tmp/out'": "says where or how to write the answer",
        "SELECT * FROM `/etc/hostname`": "sql: ",
        "SELEC 1": "Syntax error",
        "SELECT nonsense FROM labels": "Unknown expression identifier `nonsense`",
        "SELECT count() FROM nowhere": "Unknown table expression identifier 'nowhere'",
        "": "Empty query",
    }.items():
        with pytest.raises(InvalidInput, match=r"^sql: ") as refused:
            await ask(bus, sql)
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
    assert await count(bus, "labels") == 0


async def test_an_answer_has_no_more_rows_than_asked_for(bus: Bus, service: Wired) -> None:
    assert len(await ask(bus, "SELECT number FROM numbers(1000)", most=7)) == 7
    with pytest.raises(InvalidInput, match="ask for fewer rows or columns"):
        await ask(bus, "SELECT generateUUIDv4() FROM numbers(1000000)", most=1_000_000)


async def test_questions_are_answered_over_http(bus: Bus, service: Wired) -> None:
    await all_kept(bus)
    assert service.http is not None
    transport = httpx.ASGITransport(app=service.http)
    async with httpx.AsyncClient(transport=transport, base_url="http://telemetry") as http:
        good = await http.post("/v1/sql", json={"sql": "SELECT 1 AS a, nan AS b"})
        bad = await http.post("/v1/sql", json={"sql": "DROP TABLE labels"})
        odd = await http.post("/v1/sql", json={"max_rows": 5})
    assert good.json() == {"columns": ["a", "b"], "rows": [{"a": 1, "b": None}]}
    assert (bad.status_code, odd.status_code) == (422, 422)
    assert "`sql`" in odd.json()["error"]


@pytest.mark.fault(16, "a ClickHouse server does not answer")
async def test_while_clickhouse_is_away_messages_stay_in_the_log(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    away = f"http://somebody:secret@127.0.0.1:{free_port()}/driftloop"
    async with telemetry(
        nats_server.url, tmp_path / "none", ready=False, clickhouse_url=away
    ) as wired:
        await bus.publish([message(subjects.scored(MODEL), scored_batch(5), "one")])

        async def said() -> bool:
            return "Connection refused" in wired.problem()

        await eventually(said, "the reason is known")
        assert "secret" not in wired.problem()
        assert "127.0.0.1" in wired.problem()
        with pytest.raises(Retry):
            await ask(bus, "SELECT 1")
        assert await bus.log.lag("SCORED", "telemetry-scored") == 1
    async with telemetry(nats_server.url, tmp_path / "clickhouse"):
        await all_kept(bus)
        assert await count(bus, "scored") == 5


@pytest.mark.fault(8, "telemetry is killed in the middle of inserts")
async def test_a_kill_in_the_middle_of_inserts_loses_and_doubles_nothing(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    folder = tmp_path / "clickhouse"
    subject = subjects.scored(MODEL)

    async def produce() -> None:
        for at in range(100):
            batch = scored_batch(500, 500 * at, shadows=[2])
            await bus.publish([message(subject, batch, f"{at}-{copy}") for copy in "ab"])
            await asyncio.sleep(0.05)

    async def kept_more_than(most: int) -> bool:
        try:
            return await count(bus, "scored") > most
        except Retry:
            return False

    producer = asyncio.create_task(produce())
    for most in (0, 5_000):
        with telemetry_process(nats_server.url, folder) as process:
            await eventually(partial(kept_more_than, most), f"more than {most} rows")
            process.kill()
    await producer
    with telemetry_process(nats_server.url, folder):
        await eventually(partial(kept_more_than, 49_999), "all rows")
        await all_kept(bus)
        assert await count(bus, "scored") == 50_000
        ids = await ask(bus, "SELECT uniqExact(event_id) AS n, max(seq) AS seq FROM scored")
        assert (ids[0]["n"], ids[0]["seq"] <= 200) == (50_000, True)


async def test_a_message_is_acknowledged_only_when_its_rows_are_inserted(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    async def waiting() -> bool:
        return metrics.values()["driftloop_telemetry_waiting_bytes"] > 0

    async with telemetry(nats_server.url, tmp_path / "clickhouse", flush_seconds=3_600.0):
        labels = texts(LABELS, [(f"e{at}", "no", None) for at in range(50)])
        await bus.publish([message(subjects.labels(MODEL), labels, "labels")])
        await eventually(waiting, "the labels wait for others")
        assert await bus.log.lag("LABELS", "telemetry-labels") == 1
        assert await count(bus, "labels") == 50, "a question sees what was received"
        await all_kept(bus)


async def test_messages_that_come_later_wait_together_with_those_before(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    async def more_waits_than(before: float) -> bool:
        return metrics.values()["driftloop_telemetry_waiting_bytes"] > before

    async with telemetry(nats_server.url, tmp_path / "clickhouse", flush_seconds=3_600.0):
        for at in range(5):
            waiting = metrics.values().get("driftloop_telemetry_waiting_bytes", 0.0)
            labels = texts(LABELS, [(f"e{at}", "no", None)])
            await bus.publish([message(subjects.labels(MODEL), labels, f"labels-{at}")])
            await eventually(partial(more_waits_than, waiting), f"label {at} waits too")
        assert await count(bus, "labels") == 5
        await all_kept(bus)
