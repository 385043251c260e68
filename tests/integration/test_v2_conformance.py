"""The reference clients of the Open Inference Protocol V2 drive the service, over HTTP and gRPC.

The client over HTTP uses gevent, so it runs in a thread of its own; the numbers are compared with
those of scikit-learn.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from queue import Queue
from typing import Any, Final

import numpy as np
import pytest
import pytest_asyncio

from driftloop.bus.bus import Bus
from driftloop.bus.provision import Layout
from driftloop.local.nats import NatsServer
from tests.support.serving import (
    CLASSES,
    DEADLINE,
    MIXED,
    Matrix,
    Row,
    Running,
    matrix_of_rows,
    mixed,
    mixed_rows,
    running,
    serve_mixed,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference clients, when they are imported
    import tritonclient.grpc as grpc_client
    import tritonclient.grpc.aio as grpc_aio
    import tritonclient.http as http_client
    from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS: Final = mixed_rows(40, 7)
MATRIX: Final = matrix_of_rows(ROWS)
Ask = Callable[[Any], Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with two versions, the first of which is champion, whose callers may unload it."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), port=0)
    server.start()
    try:
        bus = await Bus.open(server.url, "test", layout=Layout())
        await serve_mixed(bus, 0, 1)
        async with running(server.url, grpc_port=0, model_control=True) as made:
            yield made
        await bus.close()
    finally:
        server.stop()


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, service: Running) -> "Reference":
    """A reference client."""
    return Reference(request.param, service)


class Reference:
    """A reference client: `ask` runs a function with it in a thread."""

    def __init__(self, kind: str, service: Running) -> None:
        self.kind = kind
        self.module: Any = http_client if kind == "http" else grpc_client
        self.url = f"127.0.0.1:{service.port if kind == 'http' else service.grpc_port}"

    async def ask(self, function: Ask) -> Any:
        """What the function returns."""

        def work() -> Any:
            with self.module.InferenceServerClient(self.url) as made:
                return function(made)

        return await asyncio.wait_for(asyncio.to_thread(work), DEADLINE)

    async def infer(self, asked: list[Any], version: str = "", **how: Any) -> Any:
        """The answer to these inputs."""
        return await self.ask(lambda made: made.infer(MIXED, asked, version, **how))

    async def told(self, function: Ask) -> Any:
        """What a function tells about the server, as plain values."""
        if self.kind == "http":
            return await self.ask(function)
        return await self.ask(lambda made: function(_AsJson(made)))

    async def refused(self, function: Ask) -> tuple[str, str]:
        """Status and text of the error that the function raises."""
        with pytest.raises(InferenceServerException) as raised:
            await self.ask(function)
        return str(raised.value.status()), str(raised.value.message())

    def input(self, name: str, values: Any, datatype: str, **how: Any) -> Any:
        """An input with its values."""
        made = self.module.InferInput(name, list(values.shape), datatype)
        return made.set_data_from_numpy(values, **how)

    def wanted(self, name: str, **how: Any) -> Any:
        """An output to ask for."""
        return self.module.InferRequestedOutput(name, **how)

    def columns(self, rows: list[Row], **how: Any) -> list[Any]:
        """An input for each feature."""
        return [self.input(name, *column, **how) for name, column in columns_of(rows).items()]


class _AsJson:
    """A gRPC client whose metadata are plain values, as those of the HTTP client are."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        return lambda *args: getattr(self._made, name)(*args, as_json=True)


def columns_of(rows: list[Row]) -> dict[str, tuple[Any, str]]:
    """Mixed rows as arrays by feature with their datatype; only `size` and `wind` have gaps."""
    texts = {name: [row[name] for row in rows] for name in ("carrier", "size")}
    return {
        "distance": (np.array([row["distance"] for row in rows], np.float32), "FP32"),
        "hour": (np.array([[row["hour"]] for row in rows], np.int64), "INT64"),
        "carrier": (np.array([text.encode() for text in texts["carrier"]], np.object_), "BYTES"),
        "size": (np.array([text.encode() for text in texts["size"]], np.object_), "BYTES"),
        "fragile": (np.array([row["fragile"] for row in rows], np.bool_), "BOOL"),
        "wind": (
            np.array([np.nan if row["wind"] is None else row["wind"] for row in rows], np.float64),
            "FP64",
        ),
    }


def check(answer: Any, rows: list[Row] = ROWS, seed: int = 0) -> None:
    """The answer is what scikit-learn says."""
    want = mixed(seed).answers(rows)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), want, atol=1e-4)
    told = [t if isinstance(t, str) else t.decode() for t in answer.as_numpy("predictions")]
    assert told == [CLASSES[at] for at in want.argmax(axis=1)]


def full(rows: list[Row]) -> list[Row]:
    """The rows without a missing size: BYTES have no missing value."""
    return [{**row, "size": row["size"] or "small"} for row in rows]


async def test_health_and_metadata_are_told(client: Reference) -> None:
    assert await client.ask(lambda c: c.is_server_live())
    assert await client.ask(lambda c: c.is_server_ready())
    assert await client.ask(lambda c: c.is_model_ready(MIXED))
    assert await client.ask(lambda c: c.is_model_ready(MIXED, "2"))
    about = await client.told(lambda c: c.get_server_metadata())
    assert about["name"] == "driftloop"
    assert "classification" in about["extensions"]
    model = await client.told(lambda c: c.get_model_metadata(MIXED))
    assert (model["name"], model["versions"], model["platform"]) == (
        MIXED,
        ["1"],
        "onnxruntime_onnx",
    )
    types = {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]}
    assert types == {
        "distance": "FP32",
        "hour": "INT64",
        "carrier": "BYTES",
        "size": "BYTES",
        "fragile": "BOOL",
        "wind": "FP32",
    }
    shapes = {t["name"]: [int(size) for size in t["shape"]] for t in model["outputs"]}
    assert shapes == {"predictions": [-1], "probabilities": [-1, 3]}


async def test_the_configuration_of_a_model_is_told(client: Reference) -> None:
    config = await client.told(lambda c: c.get_model_config(MIXED, "2"))
    config = config.get("config", config)
    kinds = [one["data_type"] for one in config["input"]]
    assert kinds == [
        "TYPE_FP32",
        "TYPE_INT64",
        "TYPE_STRING",
        "TYPE_STRING",
        "TYPE_BOOL",
        "TYPE_FP32",
    ]
    assert [one["name"] for one in config["output"]] == ["predictions", "probabilities"]


async def test_an_unloaded_model_is_refused_until_it_is_loaded(client: Reference) -> None:
    asked = [client.input("X", MATRIX, "FP32")]
    await client.ask(lambda c: c.unload_model(MIXED))
    try:
        assert not await client.ask(lambda c: c.is_model_ready(MIXED))
        _, text = await client.refused(lambda c: c.infer(MIXED, asked))
        assert f"{MIXED} is unloaded" in text
        _, text = await client.refused(lambda c: c.infer(MIXED, asked, "2"))
        assert f"{MIXED} is unloaded" in text
        index = await client.told(lambda c: c.get_model_repository_index())
        (entry,) = index.get("models", index) if isinstance(index, dict) else index
        assert (entry["name"], entry["state"]) == (MIXED, "UNAVAILABLE")
        assert "unloaded" in entry["reason"]
    finally:
        await client.ask(lambda c: c.load_model(MIXED))
    check(await client.infer(asked))


async def test_one_matrix_is_answered(client: Reference) -> None:
    check(await client.infer([client.input("X", MATRIX, "FP32")]))
    doubles = [client.input("X", MATRIX.astype(np.float64), "FP64")]
    check(await client.infer(doubles))


async def test_an_input_for_each_feature_is_answered(client: Reference) -> None:
    rows = full(ROWS)
    check(await client.infer(client.columns(rows)), rows)


async def test_what_may_be_missing_may_be_left_out(client: Reference) -> None:
    rows = [{**row, "size": None, "wind": None} for row in ROWS]
    asked = [i for i in client.columns(full(rows)) if i.name() not in ("size", "wind")]
    check(await client.infer(asked), rows)


async def test_a_version_can_be_asked_for(client: Reference) -> None:
    asked = [client.input("X", MATRIX, "FP32")]
    for version, seed in (("1", 0), ("2", 1)):
        answer = await client.infer(asked, version)
        check(answer, seed=seed)
        response = answer.get_response()
        told = response["model_version"] if client.kind == "http" else response.model_version
        assert told == version


async def test_the_best_classes_are_given_as_text(client: Reference) -> None:
    for name in ("probabilities", "predictions"):
        wanted = [client.wanted(name, class_count=2)]
        asked = [client.input("X", MATRIX, "FP32")]
        answer = await client.infer(asked, outputs=wanted)
        told = answer.as_numpy(name)
        assert told.shape == (len(ROWS), 2)
        want = mixed().answers(ROWS)
        for texts, row in zip(told.tolist(), want, strict=True):
            order = np.argsort(-row, kind="stable")[:2]
            for text, at in zip(texts, order, strict=True):
                score, number, label = text.decode().split(":")
                assert (int(number), label) == (at, CLASSES[at])
                assert abs(float(score) - row[at]) < 1e-4


async def test_only_what_is_asked_for_is_given(client: Reference) -> None:
    wanted = [client.wanted("probabilities")]
    asked = [client.input("X", MATRIX, "FP32")]
    answer = await client.infer(asked, outputs=wanted)
    assert answer.as_numpy("predictions") is None
    np.testing.assert_allclose(answer.as_numpy("probabilities"), mixed().answers(ROWS), atol=1e-4)


async def test_ids_parameters_and_a_timeout_are_taken(client: Reference) -> None:
    asked = [client.input("X", MATRIX, "FP32")]
    answer = await client.infer(
        asked, request_id="id-7", timeout=10_000_000, parameters={"colour": "red"}
    )
    check(answer)
    response = answer.get_response()
    assert (response["id"] if client.kind == "http" else response.id) == "id-7"


async def test_compressed_requests_and_answers_are_read(client: Reference) -> None:
    asked = [client.input("X", MATRIX, "FP32")]
    for coding in ("gzip", "deflate"):
        how = (
            {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
            if client.kind == "http"
            else {"compression_algorithm": coding}
        )
        check(await client.infer(asked, **how))


async def test_what_cannot_be_answered_is_refused_by_name(client: Reference) -> None:
    short = client.input("X", MATRIX[:, :5], "FP32")
    text = client.input("X", np.array([[b"a"] * 6], np.object_), "BYTES")
    good = client.input("X", MATRIX, "FP32")
    colour = client.input("colour", MATRIX[:, :1], "FP32")
    word = client.input("hour", np.array([b"noon"], np.object_), "BYTES")
    cases: list[tuple[Ask, str, tuple[str, ...]]] = [
        (lambda c: c.infer("nobody", [good]), "404", ("nobody", "accepted")),
        (lambda c: c.infer(MIXED, [good], "9"), "404", ("version", "9", "1, 2")),
        (lambda c: c.infer(MIXED, [good], "first"), "400", ("version", "first", "accepted")),
        (lambda c: c.infer(MIXED, [short]), "400", ("X.shape", "[40, 5]", "[rows, 6]")),
        (lambda c: c.infer(MIXED, [text]), "400", ("X.datatype", "BYTES", "accepted")),
        (lambda c: c.infer(MIXED, [colour]), "400", ("inputs", "colour", "distance, hour")),
        (lambda c: c.infer(MIXED, [good, good]), "400", ("inputs", "X", "accepted")),
        (
            lambda c: c.infer(MIXED, [*client.columns(full(ROWS[:1]))[:1], word]),
            "400",
            ("hour", "noon", "accepted"),
        ),
        (
            lambda c: c.infer(MIXED, [good], outputs=[client.wanted("colour")]),
            "400",
            ("outputs", "colour", "probabilities"),
        ),
    ]
    grpc = {"400": "INVALID_ARGUMENT", "404": "NOT_FOUND"}
    for ask, status, named in cases:
        got, said = await client.refused(ask)
        assert got.endswith(status if client.kind == "http" else grpc[status]), (got, said)
        assert all(part in said for part in named), said


async def test_values_come_as_json_and_answers_go_as_json(service: Running) -> None:
    client = Reference("http", service)
    rows = full(ROWS)
    numbers = np.nan_to_num(MATRIX, nan=0.0)
    filled = [
        {**row, "size": row["size"] or "small", "wind": 0.0 if row["wind"] is None else row["wind"]}
        for row in ROWS
    ]
    outputs = [client.wanted(name, binary_data=False) for name in ("predictions", "probabilities")]
    for values, datatype in ((numbers, "FP32"), (numbers.astype(np.float64), "FP64")):
        asked = [client.input("X", values, datatype, binary_data=False)]
        answer = await client.infer(asked, outputs=outputs)
        check(answer, filled)
        assert "data" in answer.get_response()["outputs"][0]
    asked = client.columns(filled, binary_data=False)
    check(await client.infer(asked, outputs=outputs), filled)
    # One input as JSON among binary ones.
    mixture = [*client.columns(rows[:3])[:5], *client.columns(filled[:3], binary_data=False)[5:]]
    row = [{**one, "wind": other["wind"]} for one, other in zip(rows[:3], filled, strict=False)]
    check(await client.infer(mixture), row)


async def test_binary_data_that_is_cut_off_is_refused(service: Running) -> None:
    body, length = http_client.InferenceServerClient.generate_request_body(
        [Reference("http", service).input("X", MATRIX, "FP32")]
    )
    headers = {"inference-header-content-length": str(length)}
    for cut, says in ((body[:-1], "are announced"), (body + b"\0", "belong to no input")):
        got = await service.http.post(f"/v2/models/{MIXED}/infer", content=cut, headers=headers)
        assert got.status_code == 400
        assert says in got.json()["error"]


async def test_many_requests_at_once_get_each_its_own_answer(client: Reference) -> None:
    parts = [ROWS[at : at + 3] for at in range(0, 39, 3)]

    def over_http(c: Any) -> list[Any]:
        under_way = [
            c.async_infer(MIXED, [client.input("X", matrix_of_rows(part), "FP32")])
            for part in parts
        ]
        return [one.get_result() for one in under_way]

    def over_grpc(c: Any) -> list[Any]:
        got: Queue[Any] = Queue()
        for at, part in enumerate(parts):
            asked = [client.input("X", matrix_of_rows(part), "FP32")]
            c.async_infer(
                MIXED,
                asked,
                lambda result, error: got.put(error or result),
                request_id=str(at),
            )
        answers = [got.get(timeout=DEADLINE) for _ in parts]
        return sorted(answers, key=lambda answer: int(answer.get_response().id))

    answers = await client.ask(over_http if client.kind == "http" else over_grpc)
    for part, answer in zip(parts, answers, strict=True):
        check(answer, part)


async def test_a_stream_answers_in_order_and_outlives_a_bad_request(service: Running) -> None:
    client = Reference("grpc", service)

    def work(c: Any) -> list[Any]:
        got: Queue[Any] = Queue()
        c.start_stream(lambda result, error: got.put(error or result))
        for at, width in enumerate((6, 5, 6)):
            c.async_stream_infer(
                MIXED, [client.input("X", MATRIX[:, :width], "FP32")], request_id=str(at)
            )
        answers = [got.get(timeout=DEADLINE) for _ in range(3)]
        c.stop_stream()
        return answers

    first, bad, last = await client.ask(work)
    check(first)
    check(last)
    assert "X.shape: [40, 5]" in str(bad)
    assert (first.get_response().id, last.get_response().id) == ("0", "2")


async def test_the_asynchronous_client_is_answered(service: Running) -> None:
    url = f"127.0.0.1:{service.grpc_port}"
    async with grpc_aio.InferenceServerClient(url) as client:
        assert await client.is_model_ready(MIXED)
        asked = grpc_aio.InferInput("X", list(MATRIX.shape), "FP32")
        asked.set_data_from_numpy(MATRIX)
        for answer in await asyncio.gather(*(client.infer(MIXED, [asked]) for _ in range(8))):
            check(answer)
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            await client.infer("nobody", [asked])


async def test_a_timeout_that_passes_in_the_queue_is_told(client: Reference) -> None:
    asked = [client.input("X", MATRIX, "FP32")]
    _, text = await client.refused(lambda c: c.infer(MIXED, asked, timeout=1))
    assert "deadline" in text


async def test_typed_values_over_grpc_are_answered(service: Running) -> None:
    request = grpc_client.service_pb2.ModelInferRequest(model_name=MIXED)
    rows = full(ROWS[:4])
    fields = {
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "INT64": "int64_contents",
        "BOOL": "bool_contents",
        "BYTES": "bytes_contents",
    }
    for name, (values, datatype) in columns_of(rows).items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=values.shape)
        getattr(tensor.contents, fields[datatype]).extend(values.ravel().tolist())
    async with grpc_aio.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        raw = await client._client_stub.ModelInfer(request)  # the client sends raw values
    got = np.frombuffer(raw.raw_output_contents[1], np.float32).reshape(-1, 3)
    np.testing.assert_allclose(got, mixed().answers(rows), atol=1e-4)


async def test_half_precision_is_answered(client: Reference) -> None:
    halves: Matrix = MATRIX.astype(np.float16)
    halves[:, 0] = np.floor(halves[:, 0])
    answer = await client.infer([client.input("X", halves, "FP16")])
    names = list(ROWS[0])
    want = mixed().model.estimator.predict_proba(halves.astype(np.float32))
    assert len(names) == halves.shape[1]
    np.testing.assert_allclose(answer.as_numpy("probabilities"), want, atol=1e-4)
