"""The same rows in every format and over every transport get the same answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.contracts import requests
from driftloop.contracts.batches import decode, encode, matrix_column, matrix_of
from driftloop.contracts.errors import InvalidInput, Reject
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.inference.core import queue
from driftloop.inference.explain import typical
from driftloop.local.nats import NatsServer
from driftloop.runtime.pace import Pace
from tests.support.serving import (
    CLASSES,
    MIXED,
    Matrix,
    Row,
    Running,
    matrix_of_rows,
    mixed,
    mixed_rows,
    mixed_spec,
    note_put_off,
    running,
    serve_mixed,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES: Final = tuple(feature.name for feature in mixed_spec().features)
V1: Final = f"/v1/models/{MIXED}/predict"
V2: Final = f"/v2/models/{MIXED}/infer"
JSON: Final = "application/json"


class Service(NamedTuple):
    """The service, and a bus to ask it by."""

    running: Running
    bus: Bus

    async def post(self, path: str, body: bytes, **headers: str) -> Any:
        """The answer to a body; headers are named with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        got = await self.running.http.post(path, content=body, headers=sent)
        assert got.status_code == 200, got.text
        return got


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service with two versions, the first of which is champion."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), port=0)
    server.start()
    try:
        bus = await Bus.open(server.url, "test", layout=Layout())
        await serve_mixed(bus, 0, 1)
        async with running(server.url, grpc_port=0) as made:
            yield Service(made, bus)
        await bus.close()
    finally:
        server.stop()


def js(value: Any) -> bytes:
    return msgspec.json.encode(value)


def named(told: dict[str, Any]) -> Any:
    """Probabilities by class as a matrix."""
    return [[row[name] for name in CLASSES] for row in told["probabilities"]]


def of_v2(told: dict[str, Any]) -> Any:
    """The output `probabilities`."""
    found = next(output for output in told["outputs"] if output["name"] == "probabilities")
    return np.reshape(found["data"], found["shape"])


def of_arrow(body: bytes) -> Any:
    return matrix_of(decode(body).column("answer"))


async def rows_json(service: Service, rows: list[Row]) -> Any:
    return named((await service.post(V1, js({"rows": rows}))).json())


async def list_json(service: Service, rows: list[Row]) -> Any:
    return named((await service.post(V1, js(rows), content_type=JSON)).json())


async def inputs_json(service: Service, rows: list[Row]) -> Any:
    inputs = plain(rows).tolist()
    return (await service.post(V1, js({"inputs": inputs}))).json()["probabilities"]


async def rows_msgpack(service: Service, rows: list[Row]) -> Any:
    body = msgspec.msgpack.encode({"rows": rows})
    got = await service.post(V1, body, content_type=MSGPACK)
    assert got.headers["content-type"] == MSGPACK
    return named(msgspec.msgpack.decode(got.content))


async def inputs_msgpack(service: Service, rows: list[Row]) -> Any:
    body = msgspec.msgpack.encode({"inputs": matrix_of_rows(rows).tolist()})
    got = await service.post(V1, body, content_type=MSGPACK)
    return msgspec.msgpack.decode(got.content)["probabilities"]


async def arrow_rows(service: Service, rows: list[Row]) -> Any:
    body = encode(pa.RecordBatch.from_pylist(rows))
    got = await service.post(V1, body, content_type=ARROW)
    assert got.headers["content-type"] == ARROW
    assert decode(got.content).column("version").to_pylist() == [1] * len(rows)
    return of_arrow(got.content)


async def arrow_columns(service: Service, rows: list[Row]) -> Any:
    matrix = coded(rows)
    batch = pa.RecordBatch.from_arrays([pa.array(column) for column in matrix.T], list(NAMES))
    got = await service.post(V1, encode(batch), content_type=ARROW)
    return of_arrow(got.content)


async def arrow_matrix(service: Service, rows: list[Row]) -> Any:
    batch = pa.RecordBatch.from_arrays([matrix_column(matrix_of_rows(rows))], ["features"])
    return of_arrow((await service.post(V1, encode(batch), content_type=ARROW)).content)


async def v2_json(service: Service, rows: list[Row]) -> Any:
    return of_v2((await service.post(V2, v2_body(rows))).json())


async def v2_large_json(service: Service, rows: list[Row]) -> Any:
    body = v2_body(rows)
    return of_v2((await service.post(V2, body + b" " * 5_000)).json())


async def v2_nested_json(service: Service, rows: list[Row]) -> Any:
    tensor = {**HEAD, "shape": [len(rows), 6], "data": plain(rows).tolist()}
    return of_v2((await service.post(V2, js({"inputs": [tensor]}))).json())


async def v2_binary(service: Service, rows: list[Row]) -> Any:
    data = matrix_of_rows(rows).tobytes()
    tensor = {**HEAD, "shape": [len(rows), 6], "parameters": {"binary_data_size": len(data)}}
    head = js({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    length = str(len(head))
    got = await service.post(V2, head + data, inference_header_content_length=length)
    size = int(got.headers["inference-header-content-length"])
    outputs = {o["name"]: o for o in msgspec.json.decode(got.content[:size])["outputs"]}
    last = outputs["probabilities"]["parameters"]["binary_data_size"]
    assert list(outputs)[-1] == "probabilities"
    return np.frombuffer(got.content[-last:], "<f4").reshape(-1, 3)


async def v2_named(service: Service, rows: list[Row]) -> Any:
    kinds = {"hour": "INT64", "carrier": "BYTES", "size": "BYTES", "fragile": "BOOL"}
    tensors = []
    for name in NAMES:
        data = [row[name] for row in rows]
        if name == "size" and None in data:
            continue
        kind = kinds.get(name, "FP32")
        tensors.append({"name": name, "datatype": kind, "shape": [len(rows)], "data": data})
    return of_v2((await service.post(V2, js({"inputs": tensors}))).json())


async def over_nats(service: Service, rows: list[Row]) -> Any:
    reply = await service.bus.ask(requests.infer(MIXED), js(rows))
    return named(msgspec.json.decode(reply.payload))


async def over_nats_in_arrow(service: Service, rows: list[Row]) -> Any:
    ask = encode(pa.RecordBatch.from_pylist(rows))
    reply = await service.bus.ask(requests.infer(MIXED), ask, headers={"content-type": ARROW})
    return of_arrow(reply.payload)


async def over_grpc(service: Service, rows: list[Row]) -> Any:
    import tritonclient.grpc.aio as triton

    matrix = matrix_of_rows(rows)
    async with triton.InferenceServerClient(f"127.0.0.1:{service.running.grpc_port}") as client:
        asked = triton.InferInput("X", list(matrix.shape), "FP32").set_data_from_numpy(matrix)
        return (await client.infer(MIXED, [asked])).as_numpy("probabilities")


HEAD: Final = {"name": "X", "datatype": "FP32"}
Way = Callable[[Service, list[Row]], Awaitable[Any]]
GAPS: Final[list[Way]] = [
    rows_json,
    list_json,
    rows_msgpack,
    inputs_msgpack,
    arrow_rows,
    arrow_matrix,
    arrow_columns,
    v2_binary,
    over_nats,
    over_nats_in_arrow,
    over_grpc,
]
"""Ways that have a place for a missing value in every feature."""
FULL: Final[list[Way]] = [*GAPS, inputs_json, v2_json, v2_large_json, v2_nested_json, v2_named]


def coded(rows: list[Row]) -> Matrix:
    return np.ascontiguousarray(matrix_of_rows(rows))


def plain(rows: list[Row]) -> Matrix:
    """The model input of rows without gaps: JSON has no NaN."""
    matrix = matrix_of_rows(rows)
    assert not np.isnan(matrix).any()
    return matrix


def v2_body(rows: list[Row]) -> bytes:
    tensor = {**HEAD, "shape": [len(rows), 6], "data": plain(rows).ravel().tolist()}
    return js({"inputs": [tensor]})


def filled(rows: list[Row]) -> list[Row]:
    """Rows without gaps and unknown carriers."""
    return [{**row, "size": row["size"] or "large", "wind": row["wind"] or 0.0} for row in rows]


@pytest.mark.parametrize("count", [1, 3, 70])
@pytest.mark.parametrize("way", FULL, ids=lambda way: way.__name__)
async def test_each_way_gets_what_scikit_learn_says(service: Service, way: Way, count: int) -> None:
    rows = filled(mixed_rows(count, count))
    np.testing.assert_allclose(await way(service, rows), mixed().answers(rows), atol=1e-4)


@pytest.mark.parametrize("way", GAPS, ids=lambda way: way.__name__)
async def test_missing_values_are_the_same_each_way(service: Service, way: Way) -> None:
    rows = mixed_rows(20, 9)
    assert any(row["size"] is None for row in rows)
    np.testing.assert_allclose(await way(service, rows), mixed().answers(rows), atol=1e-4)


@pytest.mark.parametrize("way", [*GAPS, v2_json], ids=lambda way: way.__name__)
async def test_a_flood_that_rests_is_answered_rightly_each_way(
    service: Service, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_off = note_put_off(monkeypatch)
    monkeypatch.setattr(queue, "FLOOD_ROWS", 1)
    monkeypatch.setattr(Pace, "flood", lambda *_: 0.02)
    rows = filled(mixed_rows(400, 4))  # of 24 bytes or more
    expected = mixed().answers(rows)
    np.testing.assert_allclose(await way(service, rows), expected, atol=1e-4)
    for answers in await asyncio.gather(*(way(service, rows) for _ in range(4))):
        np.testing.assert_allclose(answers, expected, atol=1e-4)
    assert len(put_off) >= 3
    text = (await service.running.http.get("/metrics")).text
    assert f'driftloop_predict_paced_seconds_total{{model="{MIXED}"}}' in text


BAD: Final = [
    {"distance": 1000.5},
    {"distance": -1},
    {"hour": 24},
    {"hour": 3.5},
]
"""Values that no way accepts, in features whose code is the value."""


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("way", FULL, ids=lambda way: way.__name__)
async def test_a_bad_value_is_refused_each_way_by_its_name(
    service: Service, way: Way, bad: Row
) -> None:
    rows = filled(mixed_rows(3, 4))
    rows[1] = {**rows[1], **bad}
    ((name, value),) = bad.items()
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each transport has its own kind
        await way(service, rows)
    text = str(raised.value)
    if "hour" in bad and way is v2_named and not isinstance(value, int):
        assert "hour.data: 3.5 is not INT64" in text
        return
    assert f"row 1: {name}: {value} " in text.replace(".0 ", " "), text
    assert "accepted: " in text


async def test_the_arrow_of_others_is_read(service: Service) -> None:
    rows = mixed_rows(6, 3)
    want = mixed().answers(rows)
    table = pa.Table.from_pylist(rows)
    doubles = table.set_column(0, "distance", table["distance"].cast(pa.float64()))
    small = table.set_column(1, "hour", table["hour"].cast(pa.int8()))
    coded_texts = table.set_column(2, "carrier", table["carrier"].dictionary_encode())
    other_order = table.select(list(reversed(NAMES)))
    ids = table.append_column("event_id", pa.array([f"e{at}" for at in range(6)]))
    parts = pa.Table.from_batches([*table.slice(0, 2).to_batches(), *table.slice(2).to_batches()])
    for made in (doubles, small, coded_texts, other_order, ids, parts):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, made.schema) as writer:
            for batch in made.to_batches():
                writer.write_batch(batch)
        got = await service.post(V1, sink.getvalue().to_pybytes(), content_type=ARROW)
        np.testing.assert_allclose(of_arrow(got.content), want, atol=1e-4)


async def test_the_best_classes_alone_can_be_asked_for(service: Service) -> None:
    rows = filled(mixed_rows(5, 2))
    told = (await service.post(f"{V1}?top_k=1", js(rows))).json()
    want = mixed().answers(rows)
    for row, best, label in zip(told["probabilities"], want, told["predictions"], strict=True):
        assert list(row) == [label] == [CLASSES[int(best.argmax())]]
        assert row[label] == pytest.approx(best.max(), abs=1e-4)


async def test_a_version_can_be_asked_for(service: Service) -> None:
    rows = filled(mixed_rows(5, 2))
    got = (await service.post(f"{V1}?version=2", js(rows))).json()
    assert got["version"] == 2
    np.testing.assert_allclose(named(got), mixed(1).answers(rows), atol=1e-4)
    got = (await service.post(f"/v2/models/{MIXED}/versions/2/infer", v2_body(rows))).json()
    assert got["model_version"] == "2"
    np.testing.assert_allclose(of_v2(got), mixed(1).answers(rows), atol=1e-4)


async def test_ids_of_rows_are_given_back_or_made(service: Service) -> None:
    rows = filled(mixed_rows(3, 2))
    with_ids = [{**row, "event_id": f"e{at}"} for at, row in enumerate(rows)]
    assert (await service.post(V1, js(with_ids))).json()["event_ids"] == ["e0", "e1", "e2"]
    inputs = js({"inputs": plain(rows).tolist(), "id": "r"})
    assert (await service.post(V1, inputs)).json()["event_ids"] == ["r-0", "r-1", "r-2"]
    first, second = [(await service.post(V1, js(rows))).json()["event_ids"] for _ in range(2)]
    assert len({*first, *second}) == 6


async def test_requests_that_come_together_each_get_what_is_theirs(service: Service) -> None:
    rows = mixed_rows(300, 5)
    matrix = coded(rows).astype(float)
    bad = {7: ("hour", 24.0), 90: ("distance", -1.0), 91: ("hour", 3.5)}
    for at, (name, value) in bad.items():
        matrix[at, NAMES.index(name)] = value
    bodies = [
        msgspec.msgpack.encode({"id": f"id-{at}", "inputs": [row]})
        for at, row in enumerate(matrix.tolist())
    ]
    bodies[200] = b"\xff" * len(bodies[200])
    before = await _answered(service)
    told = await asyncio.gather(
        *(service.bus.ask(requests.infer(MIXED), body) for body in bodies), return_exceptions=True
    )
    expected = mixed().answers(rows)
    for at, reply in enumerate(told):
        if at in bad or at == 200:
            assert isinstance(reply, InvalidInput if at in bad else Reject), (at, reply)
            assert (bad[at][0] if at in bad else "msgpack") in str(reply)
        else:
            assert not isinstance(reply, BaseException), (at, reply)
            answer = msgspec.msgpack.decode(reply.payload)
            assert answer["event_ids"] == [f"id-{at}"]
            np.testing.assert_allclose(answer["probabilities"], [expected[at]], atol=1e-4)
    assert await _answered(service) - before == 300 - 4


async def _answered(service: Service) -> float:
    text = (await service.running.http.get("/metrics")).text
    name = 'predict_requests_total{outcome="answered"} '
    return float(text.partition(name)[2].partition("\n")[0])


def directly(rows: list[Row]) -> Any:
    """Contributions by the definition, with scikit-learn."""
    estimator, matrix = mixed().model.estimator, matrix_of_rows(rows)
    middle = typical(mixed().snapshot)
    made = np.empty(matrix.shape)
    for at, row in enumerate(matrix):
        here = estimator.predict_proba(row[None])[0]
        for feature in range(len(row)):
            changed = row.copy()
            changed[feature] = middle[feature]
            there = estimator.predict_proba(changed[None])[0]
            made[at, feature] = here.max() - there[here.argmax()]
    return made


async def test_contributions_come_with_rows_when_asked_for(service: Service) -> None:
    rows = mixed_rows(4, 8)
    told = (await service.post(f"{V1}?explain=true", js(rows))).json()
    np.testing.assert_allclose(named(told), mixed().answers(rows), atol=1e-4)
    assert all(list(row) == list(NAMES) for row in told["contributions"])
    made = [list(row.values()) for row in told["contributions"]]
    np.testing.assert_allclose(made, directly(rows), atol=1e-4)


async def test_contributions_are_an_output_of_the_protocol(service: Service) -> None:
    rows = filled(mixed_rows(4, 8))
    asked = msgspec.json.decode(v2_body(rows))
    asked["outputs"] = [{"name": "contributions"}, {"name": "probabilities"}]
    told = (await service.post(V2, js(asked))).json()
    first, second = told["outputs"]
    assert (first["name"], first["shape"], second["name"]) == (
        "contributions",
        [4, 6],
        "probabilities",
    )
    np.testing.assert_allclose(np.reshape(first["data"], (4, 6)), directly(rows), atol=1e-4)


async def test_a_bad_row_to_explain_is_refused_as_it_was_sent(service: Service) -> None:
    rows = [{**row, "size": "huge"} for row in mixed_rows(1)]
    got = await service.running.http.post(f"{V1}?explain=true", content=js(rows))
    assert got.status_code == 422
    assert "row 0: size: 'huge' is not a known category" in got.json()["detail"]


async def test_callers_may_not_unload_models_unless_the_setting_says_so(service: Service) -> None:
    for what in ("load", "unload"):
        got = await service.running.http.post(f"/v2/repository/models/{MIXED}/{what}")
        assert got.status_code == 400
        assert "DRIFTLOOP_INFERENCE_MODEL_CONTROL=true" in got.json()["error"]
    rows = filled(mixed_rows(1))
    np.testing.assert_allclose(await v2_json(service, rows), mixed().answers(rows), atol=1e-4)
