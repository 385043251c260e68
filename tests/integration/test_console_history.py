"""What the console reads from the past, on a real bus and telemetry, against numpy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.console.app import wire
from driftloop.console.domain.feed import Feed
from driftloop.console.queries import dead, events, features, runs
from driftloop.console.queries.histograms import CELLS
from driftloop.console.queries.losses import loss_sql
from driftloop.console.queries.marks import marks
from driftloop.console.queries.past import Past
from driftloop.console.settings import ConsoleSettings
from driftloop.contracts import subjects
from driftloop.contracts.batches import matrix_column
from driftloop.contracts.events import ModelRetired, OperatorRequested, TriggerDeclined
from driftloop.contracts.headers import Origin
from driftloop.contracts.state import Deferred, ModelState
from driftloop.evidence.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Feature, Registered, Shadow, Spec, Target
from driftloop.runtime.http import HttpServer
from driftloop.runtime.problems import NotFound
from tests.support import history as past
from tests.support import synthetic as syn
from tests.support.scored import BEGIN_MS
from tests.support.telemetry import all_kept, ask, telemetry

pytestmark = pytest.mark.asyncio(loop_scope="module")
DEADLINE = 10.0


class Running(NamedTuple):
    """A console beside a telemetry that has a past, the bus, and the rows of it."""

    http: httpx.AsyncClient
    bus: Bus
    world: past.World
    said: list[Any]

    async def get(self, path: str, **params: Any) -> Any:
        """The answer to a question that is fine."""
        found = await self.http.get(f"/api{path}", params=params)
        assert found.status_code == 200, found.text
        return found.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    made = NatsServer(tmp_path_factory.mktemp("nats"), port=0)
    made.start()
    yield made
    made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(
    server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    bus = await Bus.open(server.url, "test", layout=Layout())
    world = past.World()
    said = await past.say_events(bus)
    await past.say_rows(bus, world)
    await past.say_stats(bus, world)
    await past.say_bad_data(bus)
    async with telemetry(server.url, tmp_path_factory.mktemp("clickhouse")):
        await all_kept(bus)
        own = await Bus.open(server.url, "console", layout=Layout())
        settings = ConsoleSettings(port=free_port(), nats_url=server.url)
        wired = await wire(settings, own)
        assert wired.http is not None
        tasks = [asyncio.create_task(task) for task in wired.tasks]
        http = HttpServer(wired.http, settings.host, settings.port)
        await http.start()
        url = f"http://{settings.host}:{settings.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30.0) as client:
            yield Running(client, bus, world, said)
        own.stopping.set()
        await http.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
        await own.close()
    await bus.close()


@pytest_asyncio.fixture(loop_scope="module")
async def reader(console: Running) -> Past:
    state = past.model_state()
    return Past(console.bus, lambda: {past.MODEL: state})


def spec_of(name: str, loss: str, width: int) -> Spec:
    classes = tuple(f"c{n}" for n in range(width))
    return Spec(
        name=name,
        task="classification" if width > 1 else "regression",
        target=Target(classes=classes) if width > 1 else Target(scale=2.5),
        features=(Feature(name="x"),),
        shadow=Shadow(loss=loss),
    )


SPECS = [
    spec_of(f"{loss}-{width}", loss, width) for loss in CLASSIFICATION_LOSSES for width in (2, 3)
]
SPECS += [spec_of(loss, loss, 1) for loss in REGRESSION_LOSSES]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
async def test_the_loss_in_sql_is_that_in_python(console: Running, spec: Spec) -> None:
    rng, rows = np.random.default_rng(7), 500
    if spec.width > 1:
        answers = rng.dirichlet(np.full(spec.width, 0.4), rows)
        answers[:4] = np.eye(spec.width)[[0, 1, 0, 1]]
        answers[4] = 1.0 / spec.width
        answers[5, :2] = [1.0 + 5e-7, -5e-7]
        answers[5, 2:] = 0.0
        labels = rng.integers(0, spec.width, rows).astype(np.float64)
    else:
        answers = rng.normal(0.0, 3.0, (rows, 1))
        labels = rng.normal(0.0, 3.0, rows)
    given: NDArray[np.float32] = answers.astype(np.float32)
    given[6, 0], given[7, 0] = np.nan, np.inf
    batch = pa.RecordBatch.from_pydict(
        {
            "event_id": pa.array([f"e{n:04d}" for n in range(rows)]),
            "event_time": pa.array(BEGIN_MS + np.arange(rows), pa.timestamp("ms", tz="UTC")),
            "key": pa.array(["a"] * rows),
            "features": matrix_column(np.zeros((rows, 1), np.float32)),
            "version": pa.array([1] * rows, pa.int32()),
            "answer": matrix_column(given),
            "label": pa.array(labels),
            "label_time": pa.nulls(rows, pa.timestamp("ms", tz="UTC")),
        }
    )
    await console.bus.publish([past.message(subjects.outcomes(spec.name), batch, spec.name)])
    await all_kept(console.bus)
    sql = (
        f"SELECT {loss_sql(spec, 'answer')} AS loss FROM outcomes FINAL"
        f" WHERE model = '{spec.name}' ORDER BY event_id"
    )
    found = [row["loss"] for row in await ask(console.bus, sql)]
    wanted = row_loss(spec)(given, labels)
    assert [loss is None for loss in found] == np.isnan(wanted).tolist()
    assert np.array(found, float)[8:] == pytest.approx(wanted[8:], rel=1e-12, abs=1e-15)
    assert found[:6] == pytest.approx(wanted[:6].tolist(), rel=1e-12, abs=1e-15)


async def test_what_is_no_distribution_has_no_loss(console: Running) -> None:
    cases = {
        "[0.5, 0.6]": 0,
        "[-0.1, 1.1]": 0,
        "[0.2, 0.3, 0.5]": 0,
        "[]": 0,
        "[0.5, 0.5]": 2,
    }
    spec = spec_of("any", "brier", 2)
    for answer, label in cases.items():
        row = f"(SELECT {answer}::Array(Float32) AS answer, toFloat64({label}) AS label)"
        found = await ask(console.bus, f"SELECT {loss_sql(spec, 'answer')} AS loss FROM {row}")
        assert found == [{"loss": None}], answer


def losses(
    world: past.World, answers: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    return row_loss(past.SPEC)(answers[rows], world.labels[rows])


async def test_the_time_line_is_the_mean_loss_of_each_bucket(console: Running) -> None:
    world = console.world
    found = await console.get("/models/flights/timeline", points=50)
    labelled = np.arange(past.LABELLED)
    assert found["loss_name"] == "brier"
    assert (found["since_time"], found["until_time"]) == (world.times[0], world.times[5_599])
    assert 20 < len(found["live"]) <= 50
    width = found["live"][1][0] - found["live"][0][0]
    live: dict[int, tuple[float, int]] = {}
    frozen: dict[int, tuple[float, int]] = {}
    for start in np.unique(world.times[labelled] // width):
        rows = labelled[world.times[labelled] // width == start]
        for line, answers, its in (
            (live, world.answers, rows),
            (frozen, world.shadow, rows[world.shadowed[rows]]),
        ):
            loss = losses(world, answers, its)
            if len(its):
                given = loss[~np.isnan(loss)]
                line[int(start * width + width // 2)] = (float(given.mean()), len(given))
    for name, wanted in (("live", live), ("frozen", frozen)):
        assert [point[0] for point in found[name]] == list(wanted), name
        for time, loss, rows in found[name]:
            assert (loss, rows) == (pytest.approx(wanted[time][0], rel=1e-9), wanted[time][1])
    assert sum(point[2] for point in found["live"]) == past.LABELLED - 2
    assert found["frozen_text"].startswith("versions 1, 2, beside the champion after it until")
    assert found["estimated"] == [[int(world.times[3_000]), 0.2, 0.1, 0.3, past.BEGIN]]


async def test_a_part_of_the_time_line_may_be_asked_for(console: Running) -> None:
    times = console.world.times
    since, until = int(times[1_000]), int(times[2_999])
    found = await console.get("/models/flights/timeline", since=since, until=until, points=2_000)
    assert sum(point[2] for point in found["live"]) == 2_000
    assert found["live"][0][1] == losses(console.world, console.world.answers, np.array([1_000]))[0]
    assert all(since <= mark["data_time"] <= until for mark in found["marks"])
    assert {mark["kind"] for mark in found["marks"]} >= {"drift.detected", "model.promoted"}


async def test_marks_stand_where_the_data_was(console: Running) -> None:
    found = (await console.get("/models/flights/timeline"))["marks"]
    by_kind = {mark["kind"]: mark for mark in found if mark["run"] == "run-0003"}
    alarms = [mark for mark in found if mark["kind"] == "drift.detected"]
    start = past.BEGIN + 2 * past.REIGN * past.MINUTE
    assert alarms[1]["data_time"] == start
    assert alarms[1]["since_time"] == start - 100 * past.MINUTE
    for kind in ("retrain.requested", "candidate.trained", "model.promoted"):
        assert by_kind[kind]["data_time"] == start, kind
    assert by_kind["run.finished"]["data_time"] == start + past.REIGN // 2 * past.MINUTE
    assert by_kind["model.promoted"]["version"] == 3
    assert by_kind["model.promoted"]["text"].startswith("version 3 instead of version 2")


async def test_an_event_without_a_data_time_stands_where_the_join_was(console: Running) -> None:
    asked = OperatorRequested(
        model="flights", command="retrain", version=0, by="ana", reason="why not", request="r1"
    )
    await console.bus.emit(asked)
    await all_kept(console.bus)
    reader = Past(console.bus, lambda: {})
    found = {mark.id: mark for mark in (await marks(reader, "flights"))[0]}
    assert found[asked.event_id()].data_time == console.world.times[past.LABELLED]


async def test_features_are_counted_as_numpy_counts_them(console: Running) -> None:
    world = console.world
    found = await console.get("/models/flights/features")
    reference, now = world.features[past.rows_of(past.train_of(3))], world.features
    assert (found["version"], found["reference_rows"], found["now_rows"]) == (3, 2_000, 6_000)
    assert (found["from_time"], found["until_time"]) == (world.times[0], world.times[-1])
    temp, hour, carrier, wet = found["features"]
    assert len(temp["edges"]) == CELLS + 1
    for its, at in ((temp, 0), (hour, 1)):
        edges = np.array(its["edges"])
        inner = edges.copy()
        inner[0], inner[-1] = -np.inf, np.inf
        for name, rows in (("reference", reference), ("now", now)):
            values = rows[:, at].astype(np.float64)
            counts = np.histogram(values[np.isfinite(values)], inner)[0]
            assert its[name] == pytest.approx(counts / len(rows)), (its["name"], name)
    ends = [np.nanquantile(rows[:, 0].astype(float), [0.01, 0.99]) for rows in (reference, now)]
    assert temp["edges"][0] == pytest.approx(min(low for low, _ in ends), rel=1e-2)
    assert temp["edges"][-1] == pytest.approx(max(high for _, high in ends), rel=1e-2)
    assert hour["edges"] == [n - 0.5 for n in range(25)]
    gone = [float(np.isnan(rows[:, 0]).mean()) for rows in (reference, now)]
    assert temp["missing"] == pytest.approx(gone)
    shares = np.abs(np.array(temp["reference"]) - temp["now"]).sum() + abs(gone[0] - gone[1])
    assert temp["distance"] == pytest.approx(shares / 2)
    assert carrier["names"] == ["(unseen)", "AA", "B6", "UA"]
    assert carrier["now"] == pytest.approx([(now[:, 2] == code).mean() for code in range(-1, 3)])
    assert wet["names"] == ["false", "true"]
    assert wet["reference"] == pytest.approx([1 - reference[:, 3].mean(), reference[:, 3].mean()])


async def test_training_rows_of_an_older_spec_are_put_in_the_order_of_the_new(
    console: Running,
) -> None:
    made = msgspec.structs.replace(past.manifest(3), features=("gone", "temp", "hour"))
    trained = features._trained_on(past.SPEC, made)
    sql = f"SELECT sum(x[1]) AS temp, sum(x[2]) AS hour, countIf(isNaN(x[3])) AS n FROM ({trained})"
    [row] = await ask(console.bus, sql)
    rows = console.world.features[past.rows_of(past.train_of(3))]
    assert (row["temp"], row["hour"], row["n"]) == (rows[:, 1].sum(), rows[:, 2].sum(), len(rows))


async def test_features_tell_of_detectors_and_alarms(console: Running) -> None:
    found = await console.get("/models/flights/features")
    temp, hour, _, wet = found["features"]
    assert (temp["share"], hour["share"], wet["share"]) == (0.2, None, None)
    assert temp["alarm"]["since_time"] == past.alarm(3).since_time
    assert (temp["alarm"]["share"], temp["alarm"]["id"]) == (0.75, past.alarm(3).event_id())
    assert hour["alarm"] is None


async def test_answers_are_compared_with_the_champions_first(console: Running) -> None:
    found = await console.get("/models/flights/features")
    [answers] = found["predictions"]
    own = console.world.answers[2 * past.REIGN :, 1].astype(np.float64)
    inner = np.array(answers["edges"])
    inner[0], inner[-1] = -np.inf, np.inf
    assert answers["name"] == "prediction"
    assert answers["now"] == pytest.approx(np.histogram(own, inner)[0] / len(own))
    assert sum(answers["reference"]) == pytest.approx(1.0)
    assert answers["share"] == 0.3


async def test_slices_are_the_champions_rows_alone(console: Running) -> None:
    found = await console.get("/models/flights/slices")
    world = console.world
    rows = np.arange(2 * past.REIGN, past.LABELLED)
    loss = losses(world, world.answers, rows)
    assert (found["version"], found["rows"]) == (3, len(rows))
    assert found["loss"] == pytest.approx(np.nanmean(loss))
    united, night = found["slices"]
    for its, within in (
        (united, world.features[rows, 2] == 2),
        (night, world.features[rows, 1] == 3),
    ):
        assert its["rows"] == within.sum()
        assert its["loss"] == pytest.approx(np.nanmean(loss[within]))
    assert (united["gate_loss"], night["gate_loss"]) == (0.13, None)


async def test_a_version_tells_what_it_was_made_of_and_how_it_did(console: Running) -> None:
    world = console.world
    listed = (await console.get("/models/flights/versions"))["versions"]
    assert [its["version"] for its in listed] == [3, 2, 1]
    found = await console.get("/models/flights/versions/2")
    rows = np.arange(past.REIGN, 2 * past.REIGN)
    loss = losses(world, world.answers, rows)
    assert found["live_rows"] == (~np.isnan(loss)).sum() == 1_999
    assert found["live_loss"] == pytest.approx(np.nanmean(loss))
    assert found["manifest"]["train"] == {
        "stream": "OUTCOMES",
        "first_seq": 10,
        "last_seq": 19,
        "rows": 2_000,
        "sha256": "ab" * 32,
    }
    assert found["short"]["stage"] == "retired"
    assert (found["trigger"], found["verdict"], found["previous"]) == ("drift", "promoted", 1)
    assert found["gates"][1]["name"] == "parity"
    assert found["train_from"] <= found["train_until"]
    happened = world.times[past.rows_of(past.train_of(2))]
    assert (found["train_from_time"], found["train_until_time"]) == (happened[0], happened[-1])
    [[began, ended]] = found["reigns"]
    champion = await console.get("/models/flights/versions/3")
    assert champion["reigns"] == [[ended, ""]]
    assert began < ended
    assert found["cost"]["cpu_seconds"] == 11.9
    assert len(found["facts"]) >= 8


async def test_a_version_that_is_not_there_is_not_found(console: Running) -> None:
    for path in ("versions/4", "versions/1/diff/4"):
        found = await console.http.get(f"/api/models/flights/{path}")
        assert (found.status_code, "no version 4" in found.text) == (404, True)
    assert (await console.http.get("/api/models/churn/versions")).status_code == 404


async def test_two_versions_side_by_side(console: Running) -> None:
    found = await console.get("/models/flights/versions/1/diff/2")
    fields = {its["field"]: (its["a"], its["b"]) for its in found["fields"]}
    assert fields["spec_revision"] == (1, 2)
    assert fields["spec.description"] == ("", "Flights that are late.")
    assert fields["model_sha256"] == ("01" * 32, "02" * 32)
    assert "estimator" not in fields
    metrics = {its["name"]: (its["a"], its["b"]) for its in found["metrics"]}
    assert list(metrics) == ["brier", "log_loss"]
    assert metrics["brier"] == pytest.approx((0.19, 0.18))
    assert [gate["name"] for gate in found["gates"]] == ["loss", "parity", "slice:united"]
    assert (found["train"]["first_seq"], found["train"]["last_seq"]) == (10, 14)


async def test_the_spec_and_its_revisions_are_text(console: Running) -> None:
    now = await console.get("/models/flights/spec")
    found = await console.get("/models/flights/spec/history")
    assert (now["revision"], now["by"], found["lost"]) == (2, "ana", 0)
    newest, oldest = found["revisions"]
    assert newest["text"] == now["text"]
    assert [its["reason"] for its in found["revisions"]] == ["reason 2", "reason 1"]
    assert (oldest["revision"], "description" in oldest["text"]) == (1, False)
    assert '+description = "Flights that are late."' in newest["diff"]
    assert oldest["diff"] == []


async def test_a_run_tells_its_stages_and_what_led_to_what(console: Running) -> None:
    listed = await console.get("/runs", model="flights")
    assert [run["id"] for run in listed["runs"]] == ["run-0003", "run-0002"]
    found = await console.get("/runs/run-0003")
    cause = past.alarm(3).event_id()
    assert (found["cause"], found["run"]["verdict"]) == (cause, "promoted")
    chain = [(link["depth"], link["kind"]) for link in found["chain"]]
    assert chain == [
        (0, "drift.detected"),
        (1, "retrain.requested"),
        (2, "training.started"),
        (2, "candidate.trained"),
        (3, "candidate.approved"),
        (4, "shadow.started"),
        (5, "shadow.concluded"),
        (6, "model.promoted"),
        (7, "shadow.started"),
        (8, "shadow.concluded"),
        (9, "run.finished"),
    ]
    assert found["chain"][0]["id"] == cause
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["trigger", "train", "gate", "shadow", "promote", "probation"]
    assert all(stage["state"] == "done" for stage in found["stages"])
    assert stages["train"]["text"].startswith("version 3: default fitted on")
    assert stages["gate"]["text"].startswith("version 3 in 1.4 s: loss 0.1561")
    assert stages["probation"]["text"].startswith("run-0003 (drift) promoted")
    facts = {fact["id"]: fact for fact in found["facts"]}
    assert stages["shadow"]["started"] == facts[stages["shadow"]["facts"][0]]["time"]
    assert sum(len(stage["facts"]) for stage in found["stages"]) == len(facts) + 1
    assert found["cost"]["cpu_seconds"] == 11.9
    assert [fact["seq"] for fact in found["facts"]] == sorted(f["seq"] for f in found["facts"])


async def test_a_run_the_registry_keeps_no_more_is_told_by_its_events(reader: Past) -> None:
    forgetful = Past(reader.bus, lambda: {})
    found = await runs.detail(forgetful, "run-0002", None)
    assert (found.run.trigger, found.run.version, found.run.verdict) == ("drift", 2, "promoted")
    assert [stage.state for stage in found.stages] == ["done"] * 6
    with pytest.raises(NotFound, match="there is no run 'run-9999'"):
        await runs.detail(forgetful, "run-9999", None)


async def test_an_alarm_of_which_no_run_came_is_no_run(console: Running) -> None:
    run, feed = "run-0123456789ab", Feed(10)
    alarm = syn.alarm("flights", 77)
    state = past.model_state()

    class Lately(Past):
        async def state(self, model: str) -> ModelState:
            return state

    reader = Lately(console.bus, lambda: {}, feed=feed)
    [told] = syn.facts([(alarm, Origin(correlation=run))], 5_000)
    feed.add(told)
    with pytest.raises(NotFound, match=r"no run came of drift\.detected .* so far"):
        await runs.detail(reader, run, None)
    waits = Deferred(trigger="drift", trigger_id=told.id, reason="", since_time=0, data_time=0)
    state = msgspec.structs.replace(state, deferred=waits)
    with pytest.raises(NotFound, match="it waits until one may begin"):
        await runs.detail(reader, run, None)
    reason = "version 3 took over since"
    declined = TriggerDeclined(model="flights", trigger="drift", trigger_id=told.id, reason=reason)
    for said in syn.facts([(declined, Origin(correlation="run-0003"))], 5_001):
        feed.add(said)
    with pytest.raises(NotFound, match=rf"at 20.* UTC: {reason}"):
        await runs.detail(reader, run, None)
    with pytest.raises(NotFound, match="there is no run"):
        await runs.detail(reader, run, frozenset({"churn"}))
    begun = msgspec.structs.replace(syn.run(4, "training"), id=run)
    state = msgspec.structs.replace(state, run=begun, deferred=None)
    assert (await runs.detail(reader, run, None)).run.version == 4


async def test_why_a_champion_is_live(console: Running) -> None:
    found = await console.get("/models/flights/why")
    assert found["champion"] == 3
    assert [told["kind"] for told in found["chain"]][0::7] == ["drift.detected", "model.promoted"]
    assert [told["kind"] for told in found["since"]][-1] == "run.finished"


async def test_events_are_searched_back_in_time(console: Running, reader: Past) -> None:
    everything = await events.search(reader, events.Wanted(model="flights", limit=500))
    seqs = [told.seq for told in everything.events]
    assert seqs == sorted(seqs, reverse=True)
    assert len(seqs) >= len(console.said) + 2
    assert everything.before == 0
    paged: list[int] = []
    before = 0
    while True:
        page = await events.search(reader, events.Wanted(model="flights", before=before, limit=5))
        paged += [told.seq for told in page.events]
        before = page.before
        if not before:
            break
    assert paged == seqs
    for wanted, kinds in (
        (events.Wanted(kind="model.promoted"), {"model.promoted"}),
        (events.Wanted(service="trainer"), {"training.started", "candidate.trained"}),
        (events.Wanted(text="OLD CHAMPION IS worse"), {"run.finished"}),
        (events.Wanted(model="churn"), set()),
        (events.Wanted(models=frozenset({"churn"})), set()),
    ):
        found = await events.search(reader, wanted)
        assert {told.kind for told in found.events} == kinds, wanted
    run = await events.search(reader, events.Wanted(correlation="run-0002"))
    assert {told.correlation for told in run.events} == {"run-0002"}
    assert len(run.events) == 10


async def test_an_event_is_shown_with_its_cause_and_effects(console: Running) -> None:
    cause = past.alarm(3).event_id()
    alarm = await console.get(f"/events/{cause}")
    assert alarm["cause"] is None
    [asked] = alarm["effects"]
    assert asked["kind"] == "retrain.requested"
    assert alarm["headers"]["ce-id"] == cause
    assert alarm["body"]["detector"] == "temp"
    found = await console.get(f"/events/{asked['id']}")
    assert found["cause"]["id"] == cause
    assert [told["kind"] for told in found["effects"]] == ["training.started", "candidate.trained"]
    assert found["headers"]["dl-correlation"] == "run-0003"
    missing = await console.http.get("/api/events/drift.detected:flights:it's")
    assert missing.status_code == 404


async def test_rows_that_were_set_aside_are_counted_by_reason(console: Running) -> None:
    found = await console.get("/data", model="flights")
    [its] = found["models"]
    reasons = {one["reason"]: one["rows"] for one in its["quarantined"]}
    assert reasons == {
        "temp: is out of range": 5,
        "carrier: is not a known category": 1,
        "hour: is missing": 1,
    }
    assert all(one["newest"] for one in its["quarantined"])
    rows = await console.get("/data/quarantine", model="flights", reason="temp: is out of range")
    assert len(rows["rows"]) == 5
    assert rows["rows"][0]["row"] == {"temp": 1.5, "hour": 3}
    assert rows["rows"][0]["text"].endswith("accepted: a finite number from 0 to 1")


async def test_label_delays_are_exact(console: Running) -> None:
    [its] = (await console.get("/data", model="flights"))["models"]
    delays = console.world.delays[: past.LABELLED] / 1_000
    wanted = np.quantile(delays, [0.5, 0.9, 0.99, 1.0])
    assert its["delay"]["rows"] == past.LABELLED
    found = [its["delay"][name] for name in ("p50", "p90", "p99", "most")]
    assert found == pytest.approx(wanted.tolist())


async def test_dead_letters_are_listed_and_shown(console: Running, reader: Past) -> None:
    found = await console.get("/data/dead")
    newest, oldest = found["letters"]
    assert (found["total"], newest["service"], newest["position"]) == (2, "drift", "SCORED:9")
    assert newest["error"] == "it cannot be read"
    shown = await console.get(f"/data/dead/{newest['seq']}")
    assert shown["text"].splitlines() == ["2 rows of 1 columns", '{"a":1}', '{"a":2}']
    unread = await console.get(f"/data/dead/{oldest['seq']}")
    assert unread["text"].startswith("unreadable")
    assert (await console.http.get("/api/data/dead/77")).status_code == 404
    assert (await console.get("/data", model="flights"))["dead"] == 2
    assert (await dead.listed(reader, frozenset({"churn"}), "", 9)).total == 0


async def test_nobody_sees_what_is_of_other_models(reader: Past) -> None:
    others = frozenset({"churn"})
    with pytest.raises(NotFound):
        await runs.detail(reader, "run-0003", others)
    with pytest.raises(NotFound):
        await events.find(reader, past.alarm(3).event_id(), others)
    with pytest.raises(NotFound):
        await dead.shown(reader, 1, others)
    assert (await runs.latest(reader, others, "", 9)).runs == []


async def test_what_telemetry_has_not_heard_yet_is_there_all_the_same(console: Running) -> None:
    """A page asks as soon as it has heard of an event: what is kept for a moment may lack it."""
    origin = Origin(correlation="run-0003", causation="shadow.concluded:flights:run-0003:probation")
    retired = ModelRetired(model="flights", run="run-0003", version=2, reason="probation is over")
    feed = Feed(10)
    reader = Past(console.bus, lambda: {}, feed=feed)
    before = await runs.detail(reader, "run-0003", None)
    last = before.facts[-1].seq
    [told] = syn.facts([(retired, origin)], last + 1)
    feed.add(told)
    after = await runs.detail(reader, "run-0003", None)
    assert [fact.id for fact in after.facts] == [*(f.id for f in before.facts), told.id]
    assert after.chain[-1].id == told.id
    assert told.id in {mark.id for mark in (await marks(reader, "flights"))[0]}
    feed.add(msgspec.structs.replace(before.facts[-1], seq=last + 2))
    assert (await runs.detail(reader, "run-0003", None)).facts == after.facts


async def test_ten_pages_at_once_cost_one_question(console: Running) -> None:
    reader = Past(console.bus, lambda: {})
    asked: list[str] = []
    ask_once = reader._ask

    async def counted(sql: str) -> Any:
        asked.append(sql)
        return await ask_once(sql)

    reader._ask = counted  # type: ignore[method-assign]  # to count what reaches telemetry
    sql = "SELECT count() AS n FROM outcomes FINAL WHERE model = 'flights'"
    answers = await asyncio.gather(*(reader.ask(sql) for _ in range(10)))
    assert answers == [[{"n": past.LABELLED}]] * 10
    assert len(asked) == 1


async def test_without_telemetry_a_page_is_told_so(tmp_path: Path) -> None:
    """503 that names it; what is read from the log and the states comes all the same."""
    nats_server = NatsServer(tmp_path, port=0)
    nats_server.start()
    bus = await Bus.open(nats_server.url, "test", layout=Layout())
    kept = Registered(spec=past.SPEC, revision=1, by="ana", at=1.0)
    await bus.specs.write(past.MODEL, kept, 0)
    await bus.models.write(past.MODEL, past.model_state(), 0)
    own = await Bus.open(nats_server.url, "console", layout=Layout())
    settings = ConsoleSettings(port=free_port(), nats_url=nats_server.url)
    wired = await wire(settings, own)
    assert wired.http is not None
    server = HttpServer(wired.http, settings.host, settings.port)
    await server.start()
    url = f"http://{settings.host}:{settings.port}/api"
    async with httpx.AsyncClient(base_url=url) as http:
        for path in ("timeline", "features", "slices", "versions/2", "why"):
            found = await http.get(f"/models/flights/{path}")
            assert found.status_code == 503, path
            assert found.headers["content-type"] == "application/problem+json"
            assert found.json()["detail"].startswith("telemetry does not answer: query.sql")
        for path in ("versions", "versions/1/diff/2", "spec", "spec/history"):
            assert (await http.get(f"/models/flights/{path}")).status_code == 200, path
    await server.stop()
    for task in wired.tasks:
        task.close()
    await own.close()
    await bus.close()
    nats_server.stop()
