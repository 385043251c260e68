import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.bus.messages import Delivered, batch_message
from driftloop.contracts import batches, requests, subjects
from driftloop.contracts.errors import InvalidInput, Retry, UnknownModel
from driftloop.contracts.headers import ARROW, INPUT, MSGPACK
from driftloop.contracts.requests import Prediction, PredictRequest
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.versions import Versions
from driftloop.local.nats import NatsServer
from driftloop.local.ports import free_port
from tests.support.serving import DEADLINE, Running, decide, register, running, until
from tests.support.tiny_models import (
    Tiny,
    classifier,
    heavy_classifier,
    manifest,
    regressor,
    rows,
    spec,
    state,
)


def valid(ids: list[str], matrix: batches.Matrix) -> pa.RecordBatch:
    times = pa.array(np.arange(len(ids)), pa.int64()).cast(batches.EVENT_TIME.type)
    keys = pa.nulls(len(ids), pa.string())
    columns = [pa.array(ids), times, keys, batches.matrix_column(matrix)]
    return pa.RecordBatch.from_arrays(columns, schema=batches.valid_schema(matrix.shape[1]))


async def send(
    bus: Bus, count: int, *, each: int = 10, seed: int = 0, model: str = "flights"
) -> None:
    """`count` valid batches of `each` rows; row `i` of batch `b` is `s<seed>-<b>-<i>`."""
    messages = []
    for number in range(count):
        ids = [f"s{seed}-{number}-{row}" for row in range(each)]
        batch = valid(ids, rows(each, seed * 1000 + number))
        subject = subjects.rows(model, "valid")
        msg_id = f"rows.valid:{model}:{seed}:{number}"
        messages.append(batch_message(subject, batch, kind="rows.valid", source="t", msg_id=msg_id))
    await bus.publish(messages)


async def scored(bus: Bus, count: int, model: str = "flights") -> list[Delivered]:
    """The first `count` scored messages."""
    follow = bus.follow("SCORED", (subjects.scored(model),), 1)
    got: list[Delivered] = []
    deadline = time.monotonic() + DEADLINE
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} scored"
        got += await follow.read()
    await follow.close()
    return got


def answers(message: Delivered, column: str = "answer") -> batches.Matrix:
    return batches.matrix_of(message.batch().column(column))


async def answering(service: Running, version: int, model: str = "flights") -> None:
    async def now() -> bool:
        return bool((await service.http.get(f"/v1/models/{model}")).json()["champion"] == version)

    await until(now, f"version {version} does not answer")


async def put(bus: Bus, *models: Tiny) -> None:
    store = Artifacts(bus)
    for model in models:
        await store.put(model.onnx)


ROW = {"a": 0.1, "b": 0.2, "c": 0.3}


async def test_rows_flow_with_null_answers_before_a_first_model(
    nats_server: NatsServer, bus: Bus
) -> None:
    await register(bus, spec())
    async with running(nats_server.url) as service:
        await send(bus, 3)
        for at, message in enumerate(await scored(bus, 3)):
            batch = message.batch()
            assert batch.schema.names == [
                "event_id",
                "event_time",
                "key",
                "features",
                "version",
                "answer",
            ]
            assert batch.column("answer").null_count == batch.column("version").null_count == 10
            assert batch.schema.field("answer").type == pa.list_(pa.float32(), 2)
            assert batch.column("event_id")[0].as_py() == f"s0-{at}-0"
            assert message.headers[INPUT] == f"ROWS:{at + 1}"
            np.testing.assert_array_equal(answers(message, "features"), rows(10, at))
        got = await service.http.post("/v1/models/flights/predict", json=ROW)
        assert got.status_code == 503
        assert "no model has been promoted yet" in got.json()["detail"]
        assert service.wired.problem() == ""


async def test_the_champion_answers_the_stream_as_scikit_learn_does(
    nats_server: NatsServer, bus: Bus
) -> None:
    model, shadow = classifier(), classifier(seed=5)
    await register(bus, spec())
    await put(bus, model, shadow)
    both = (manifest(1, model.onnx), manifest(2, shadow.onnx))
    await decide(bus, state(1, *both, shadows=(2,)))
    async with running(nats_server.url, shadow_seconds=5.0):
        await send(bus, 40)
        for at, message in enumerate(await scored(bus, 40)):
            batch = message.batch()
            assert batches.shadow_versions(batch.schema) == [2]
            assert batch.column("version").to_pylist() == [1] * 10
            matrix = rows(10, at)
            np.testing.assert_allclose(answers(message), model.answers(matrix), atol=1e-5)
            theirs = answers(message, "shadow_v2")
            np.testing.assert_allclose(theirs, shadow.answers(matrix), atol=1e-5)


async def test_a_slow_shadow_is_null_and_the_champion_goes_on(
    nats_server: NatsServer, bus: Bus
) -> None:
    model, slow = classifier(), heavy_classifier()
    await register(bus, spec())
    await put(bus, model, slow)
    both = (manifest(1, model.onnx), manifest(2, slow.onnx))
    await decide(bus, state(1, *both, shadows=(2,)))
    async with running(nats_server.url, shadow_seconds=0.005, group=4):
        await send(bus, 12, each=4_000)
        began = time.monotonic()
        got = await scored(bus, 12)
        took = time.monotonic() - began
        nulls = [m.batch().column("shadow_v2").null_count for m in got]
        assert set(nulls) <= {0, 4_000}
        assert nulls.count(4_000) >= 8, "the shadow was waited for"
        assert took < 5.0
        for at, message in enumerate(got):
            np.testing.assert_allclose(answers(message), model.answers(rows(4_000, at)), atol=1e-5)


@pytest.mark.fault(46, "champions change under load")
async def test_a_swap_under_load_fails_no_request_and_mixes_no_versions(
    nats_server: NatsServer, bus: Bus
) -> None:
    models = {1: classifier(), 2: classifier(seed=9)}
    await register(bus, spec())
    await put(bus, *models.values())
    manifests = [manifest(v, m.onnx) for v, m in models.items()]
    await decide(bus, state(1, *manifests))
    seen: set[int] = set()

    async with running(nats_server.url) as service:
        await answering(service, 1)

        async def one(seed: int) -> None:
            matrix = rows(3, seed)
            body = [dict(zip("abc", row, strict=True)) for row in matrix.tolist()]
            got = await service.http.post("/v1/models/flights/predict", json={"rows": body})
            assert got.status_code == 200, got.text
            said = msgspec.json.decode(got.content, type=Prediction)
            told = [[p["no"], p["yes"]] for p in said.probabilities]
            np.testing.assert_allclose(told, models[said.version].answers(matrix), atol=1e-5)
            seen.add(said.version)

        async def caller(number: int) -> None:
            for at in range(20):
                await one(number * 100 + at)

        async def swapper() -> None:
            for champion in (2, 1, 2):
                await decide(bus, state(champion, *manifests))
                await answering(service, champion)

        await asyncio.gather(swapper(), *(caller(n) for n in range(10)))
        await asyncio.gather(*(one(1_000 + n) for n in range(200)))
        assert seen == {1, 2}


@pytest.mark.fault(35, "a promoted model has other bytes than its digest")
async def test_bytes_of_another_digest_are_refused_and_the_old_version_answers(
    nats_server: NatsServer, bus: Bus
) -> None:
    model, other = classifier(), classifier(seed=3)
    await register(bus, spec())
    await put(bus, model)
    first, second = manifest(1, model.onnx), manifest(2, other.onnx)
    # The name of the second with the bytes of the first, as a tampered store would have it.
    store = await bus.connection.js.object_store("ARTIFACTS")
    await store.put(second.model_sha256, model.onnx)
    await decide(bus, state(1, first))
    async with running(nats_server.url) as service:
        await decide(bus, state(2, first, second))

        async def refused() -> bool:
            return "champion 2 could not be loaded, version 1 answers" in service.wired.note()

        await until(refused, "the service did not say that it refused version 2")
        assert "digest" in service.wired.note()
        assert service.wired.problem() == "", "the other models are answered"
        got = await service.http.post("/v1/models/flights/predict", json=ROW)
        assert got.json()["version"] == 1
        await send(bus, 2)
        assert (await scored(bus, 2))[0].batch().column("version").to_pylist() == [1] * 10


async def test_a_champion_that_cannot_be_loaded_leaves_the_service_not_ready(
    nats_server: NatsServer, bus: Bus
) -> None:
    await register(bus, spec())
    await decide(bus, state(1, manifest(1, b"nothing of this is kept")))
    async with running(nats_server.url) as service:
        assert "champion 1 could not be loaded, none answers" in service.wired.problem()
        got = await service.http.post("/v1/models/flights/predict", json=ROW)
        assert (got.status_code, got.headers["retry-after"]) == (503, "5")
        assert "is not in the store" in got.json()["detail"]
        await send(bus, 1)
        assert (await scored(bus, 1))[0].batch().column("answer").null_count == 10


async def test_a_champion_of_an_older_spec_does_not_answer_rows_of_another_shape(
    nats_server: NatsServer, bus: Bus
) -> None:
    model = classifier(features=2)
    await register(bus, spec())
    await put(bus, model)
    await decide(bus, state(1, manifest(1, model.onnx, features=("a", "b"))))
    async with running(nats_server.url) as service:
        await send(bus, 2)
        for message in await scored(bus, 2):
            assert message.batch().column("answer").null_count == 10
            assert message.batch().column("version").null_count == 10
        got = await service.http.post("/v1/models/flights/predict", json=ROW)
        assert got.status_code == 503
        assert "trained for spec revision 1 with features a, b" in got.json()["detail"]


@pytest.fixture
async def service(nats_server: NatsServer, bus: Bus) -> AsyncIterator[Running]:
    model = classifier()
    await register(bus, spec())
    await put(bus, model)
    await decide(bus, state(1, manifest(1, model.onnx)))
    async with running(nats_server.url) as made:
        yield made


BAD_BODIES = [
    (b"{", 400, "body: not application/json"),
    (b"\xff\xfe", 400, "body: not application/json"),
    (b"[" * 100_000, 400, "body: not application/json"),
    (b"5", 422, "is not rows"),
    (b"[]", 422, "rows: there is none"),
    (b"[1]", 422, "row 0: 1 is no row"),
    (b"{}", 422, "has a field"),
    (b'{"a": 1, "b": 2}', 422, "row 0: c: is missing; accepted: a finite number"),
    (b'[{"a":1,"b":2,"c":3},{"a":"x","b":2,"c":3}]', 422, "row 1: a: 'x' is not a number"),
    (b'{"a": 1, "b": 2, "c": 1e400}', 422, "row 0: c: inf is infinite"),
    (b'{"a": 1, "b": [2], "c": 3}', 422, "row 0: b: '[2]' is not a number"),
    (b'{"a": 1, "b": 2, "c": 3, "d": 4}', 422, "row 0: d: 4 is an unknown column"),
]


async def test_bad_input_is_told_by_row_field_value_and_what_is_accepted(service: Running) -> None:
    for body, status, says in BAD_BODIES:
        got = await service.http.post("/v1/models/flights/predict", content=body)
        assert got.status_code == status, got.text
        assert got.headers["content-type"] == "application/problem+json"
        assert says in got.json()["detail"]


async def test_twenty_bad_rows_are_told_and_the_rest_is_counted(service: Running) -> None:
    body = [{"a": "bad", "b": 1, "c": 1}] * 30
    got = await service.http.post("/v1/models/flights/predict", json=body)
    errors = got.json()["errors"]
    assert len(errors) == 21
    assert (errors[19][:10], errors[20]) == ("row 19: a:", "and 10 more bad rows")


BAD_NAMES = [
    ("unknown", 404),
    ("a.b", 422),
    ("a%20b", 422),
    ("*", 422),
    ("%3E", 422),
    ("x" * 300, 422),
    ("Ä", 422),
]


async def test_names_that_are_no_model_are_refused(service: Running) -> None:
    for path, status in BAD_NAMES:
        for got in (
            await service.http.post(f"/v1/models/{path}/predict", json=ROW),
            await service.http.get(f"/v1/models/{path}"),
        ):
            assert got.status_code == status, got.text
            assert got.json()["detail"].startswith("model: ")


async def test_a_body_over_the_limit_is_refused_unread(service: Running) -> None:
    got = await service.http.post("/v1/models/flights/predict", content=b" " * (20 << 20))
    assert got.status_code == 413

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (1 << 20)

    got = await service.http.post("/v1/models/flights/predict", content=parts())
    assert got.status_code == 413


async def test_a_content_type_that_is_not_read_is_refused(service: Running) -> None:
    kind = {"content-type": "text/plain"}
    got = await service.http.post("/v1/models/flights/predict", content=b"a,b", headers=kind)
    assert got.status_code == 415
    assert "accepted: application/json" in got.json()["detail"]


async def test_rows_come_as_an_object_a_list_or_one_row(service: Running) -> None:
    extra = {**ROW, "event_id": "e1", "event_time": "2024-01-01", "label": None}
    for body, count in (({"rows": [ROW, ROW]}, 2), ([ROW], 1), (ROW, 1), (extra, 1)):
        got = await service.http.post("/v1/models/flights/predict", json=body)
        assert got.status_code == 200, got.text
        said = got.json()
        assert len(said["predictions"]) == len(said["probabilities"]) == count
        assert said["predictions"][0] in ("no", "yes")
        assert abs(sum(said["probabilities"][0].values()) - 1) < 1e-5


async def test_many_rows_are_answered_in_order(service: Running) -> None:
    matrix = rows(5_000, 4)
    body = [dict(zip("abc", row, strict=True)) for row in matrix.tolist()]
    got = await service.http.post("/v1/models/flights/predict", json=body)
    told = [p["yes"] for p in got.json()["probabilities"]]
    np.testing.assert_allclose(told, classifier().answers(matrix)[:, 1], atol=1e-5)


async def test_what_answers_can_be_asked(service: Running) -> None:
    said = (await service.http.get("/v1/models/flights")).json()
    digest = manifest(1, classifier().onnx).model_sha256
    assert (said["champion"], said["sha256"]) == (1, digest)
    assert (said["features"], said["classes"]) == (["a", "b", "c"], ["no", "yes"])


async def test_requests_over_nats_are_answered_in_their_own_format(
    service: Running, bus: Bus
) -> None:
    matrix = rows(4, 11)
    body = [dict(zip("abc", row, strict=True)) for row in matrix.tolist()]
    want = classifier().answers(matrix)
    subject = requests.infer("flights")

    ask = msgspec.msgpack.encode(PredictRequest(rows=body))
    reply = await bus.ask(subject, ask, headers={"content-type": MSGPACK})
    assert reply.headers["content-type"] == MSGPACK
    said = msgspec.msgpack.decode(reply.payload, type=Prediction)
    np.testing.assert_allclose([p["yes"] for p in said.probabilities], want[:, 1], atol=1e-5)

    reply = await bus.ask(subject, msgspec.json.encode(body))
    assert msgspec.json.decode(reply.payload, type=Prediction).version == 1

    ask = batches.encode(pa.RecordBatch.from_pylist(body))
    reply = await bus.ask(subject, ask, headers={"content-type": ARROW})
    batch = batches.decode(reply.payload)
    assert batch.column("version").to_pylist() == [1] * 4
    np.testing.assert_allclose(batches.matrix_of(batch.column("answer")), want, atol=1e-5)

    with pytest.raises(InvalidInput, match="row 0: b: is missing"):
        await bus.ask(subject, b'{"a": 1}')
    with pytest.raises(UnknownModel):
        await bus.ask(requests.infer("nobody"), b"{}")


async def test_a_regression_answers_numbers(nats_server: NatsServer, bus: Bus) -> None:
    model = regressor()
    made = msgspec.structs.replace(
        spec("delays"), task="regression", target=msgspec.structs.replace(spec().target, classes=())
    )
    await register(bus, made)
    await put(bus, model)
    await decide(bus, state(1, manifest(1, model.onnx, model="delays", width=1)))
    async with running(nats_server.url) as service:
        got = await service.http.post("/v1/models/delays/predict", json=ROW)
        assert got.status_code == 200, got.text
        want = model.answers(np.array([[0.1, 0.2, 0.3]], dtype=np.float32))[0, 0]
        assert abs(got.json()["predictions"][0] - want) < 1e-4
        assert got.json()["probabilities"] == []
        await send(bus, 1, model="delays")
        assert answers((await scored(bus, 1, "delays"))[0]).shape == (10, 1)


@pytest.mark.fault(6, "inference is killed in mid-stream")
async def test_after_kill_9_mid_stream_every_row_is_scored_exactly_once(
    nats_server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    model = classifier()
    await register(bus, spec())
    await put(bus, model)
    await decide(bus, state(1, manifest(1, model.onnx)))
    port = free_port()
    log = (tmp_path / "inference.log").open("ab")

    def start() -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "DRIFTLOOP_NATS_URL": nats_server.url,
            "DRIFTLOOP_PORT": str(port),
            "DRIFTLOOP_INFERENCE_GROUP": "4",
            "DRIFTLOOP_INFERENCE_ACK_SECONDS": "2",
        }
        command = [sys.executable, "-m", "driftloop.inference"]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    async def seen() -> int:
        return await bus.log.last_seq("SCORED")

    process = start()
    try:
        count, sent = 400, 0
        for kill_at in (60, 180, None):
            until_then = kill_at or count
            await send_more(bus, sent, until_then)
            sent = until_then
            if kill_at is not None:
                goal = kill_at - 30

                async def passed(goal: int = goal) -> bool:
                    return await seen() >= goal

                await until(passed, f"did not score {goal} messages: {log_of(tmp_path)}")
                process.kill()
                process.wait()
                process = start()
        got = await scored(bus, count)
        ids = [i for m in got for i in m.batch().column("event_id").to_pylist()]
        assert len(ids) == len(set(ids)) == count * 10
        assert all(m.batch().column("answer").null_count == 0 for m in got)
        async with httpx.AsyncClient() as http:
            ready = await http.get(f"http://127.0.0.1:{port}/readyz")
            assert ready.json()["ready"] is True, ready.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert await seen() == count
    finally:
        process.kill()
        process.wait()
        log.close()


async def send_more(bus: Bus, first: int, last: int) -> None:
    messages = []
    for number in range(first, last):
        ids = [f"{number}-{row}" for row in range(10)]
        batch = valid(ids, rows(10, number))
        messages.append(
            batch_message(
                subjects.rows("flights", "valid"),
                batch,
                kind="rows.valid",
                source="t",
                msg_id=f"rows.valid:{number}",
            )
        )
    await bus.publish(messages)


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "inference.log").read_text()[-2000:]


async def test_the_service_is_not_ready_before_the_states_were_read(
    nats_server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier()
    await put(bus, model)
    await decide(bus, state(1, manifest(1, model.onnx)))
    versions = Versions(bus, Artifacts(bus), InferenceSettings())
    assert versions.problem() == "the models' states are not read yet"
    monkeypatch.setattr(bus.connection.js, "_timeout", 0.3)
    nats_server.kill()
    await versions.refresh_all()
    assert versions.problem().startswith("the models' states cannot be read: MODELS")
    nats_server.start()

    async def ready() -> bool:
        await versions.refresh_all()
        return versions.problem() == ""

    await until(ready, "the states were not read again")
    assert (await versions.of("flights")).champion is not None


async def test_nobody_answers_when_the_service_is_away(bus: Bus) -> None:
    with pytest.raises(Retry, match="no service answers this request"):
        await bus.ask(requests.infer("flights"), b"{}")
