import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from queue import Queue
from typing import Any, NamedTuple

import grpc
import grpc.aio
import numpy as np
import pytest
import uvloop

from driftloop.artifacts.store import Artifacts
from driftloop.bus.bus import Bus
from driftloop.contracts.errors import (
    DeadlineExceeded,
    DriftloopError,
    InvalidInput,
    Overloaded,
    Reject,
    Retry,
    UnknownModel,
)
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.queue import Bounds
from driftloop.inference.core.serving import Serving
from driftloop.inference.explain import Explainer
from driftloop.inference.grpc_v2 import codec
from driftloop.inference.grpc_v2.answers import WINDOW
from driftloop.inference.grpc_v2.h2 import calls
from driftloop.inference.grpc_v2.schema import CLASSES, SERVICE
from driftloop.inference.grpc_v2.server import GrpcServer
from driftloop.inference.grpc_v2.tls import Tls
from driftloop.inference.prediction_log import PredictionLog
from driftloop.inference.settings import InferenceSettings
from driftloop.inference.v2.messages import (
    IndexEntry,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ServerMetadata,
    Tensor,
    TensorMetadata,
)
from driftloop.inference.v2.service import V2
from driftloop.inference.versions import Versions
from driftloop.modelspec.spec import Registered
from tests.support.tiny_models import classifier, manifest, spec, state
from tests.support.tiny_models import rows as tiny_rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference client, when it is imported
    import tritonclient.grpc as triton
    import tritonclient.grpc.aio as triton_aio
    from tritonclient.grpc import service_pb2  # has no types
    from tritonclient.utils import InferenceServerException

DEADLINE = 15.0
MESSAGE_BYTES = 1 << 20
MODEL = classifier()
WEIGHTS = np.array([[1.0, -1.0], [2.0, 0.5], [0.0, 4.0]], dtype=np.float32)
KEY = b"""-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUN1+wQUtqAZVJGSe
TJiGqMBjvkEZ9aDVduQxXh7jeeahRANCAASkhWi4mImZmY21sRTUNYFzMDZPH81H
a84OJxz9SHVounIZ2a2ixW+jAX/Zabe3M8KaW4CGH9YCQ5WGH8WlMVez
-----END PRIVATE KEY-----
"""
"""Made for this test, with the certificate of `localhost` below; good for nothing else."""
CERTIFICATE = b"""-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUDgjbhdGcsqlHcnwxkwmx30e+wfUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE1NTI0OVoYDzIxMjYxMDI4
MTU1MjQ5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASkhWi4mImZmY21sRTUNYFzMDZPH81Ha84OJxz9SHVounIZ2a2ixW+j
AX/Zabe3M8KaW4CGH9YCQ5WGH8WlMVezo2kwZzAdBgNVHQ4EFgQUXLB0b2Zd8Pr3
l7V9hipH32juFKAwHwYDVR0jBBgwFoAUXLB0b2Zd8Pr3l7V9hipH32juFKAwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAMXWhx/7AUjFSUqqGUd7B74JKkzIrCdLg1coEUUwg8CKAiAFW4dNPZkJ
IROCcXl3534vTaZIoU11fd21T8SiAyoe8w==
-----END CERTIFICATE-----
"""


class Linear:
    """A core with one real model, (rows, 3) times `WEIGHTS`; `held` answers wait in `waiting`."""

    def __init__(self) -> None:
        self.asked: list[InferRequest] = []
        self.waiting: list[Callable[[], None]] = []
        self.held = False
        self.error: Exception | None = None
        self.loaded = True

    def infer_soon(
        self, request: InferRequest, done: Callable[[InferResponse | Exception], None]
    ) -> None:
        self.asked.append(request)
        if self.held:
            self.waiting.append(lambda: done(self._answer(request)))
        else:
            asyncio.get_running_loop().call_soon(lambda: done(self._answer(request)))

    def _answer(self, request: InferRequest) -> InferResponse | Exception:
        if self.error is not None:
            return self.error
        if request.model != "linear":
            return UnknownModel(f"model: {request.model!r} is not known; accepted: linear")
        tensor = request.inputs[0]
        if isinstance(tensor.data, bytes):
            rows = np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)
        else:
            rows = np.array(tensor.data, np.float32).reshape(tensor.shape)
        made = rows @ WEIGHTS
        best = [b"%f:%d" % (row.max(), row.argmax()) for row in made]
        return InferResponse(
            model_name="linear",
            model_version="3",
            id=request.id,
            outputs=[
                Tensor("y", "FP32", made.shape, made),
                Tensor("best", "BYTES", (len(best),), best),
            ],
            parameters=request.parameters,
        )

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.loaded

    async def model_ready(self, model: str, version: str) -> bool:
        return model == "linear" and version in ("", "3") and self.loaded

    async def metadata(self, model: str, version: str) -> ModelMetadata:
        if not await self.model_ready(model, version):
            raise UnknownModel(f"model: {model!r} is not known; accepted: linear")
        return ModelMetadata(
            name="linear",
            versions=["3"],
            platform="numpy",
            inputs=[TensorMetadata("x", "FP32", (-1, 3))],
            outputs=[TensorMetadata("y", "FP32", (-1, 2)), TensorMetadata("best", "BYTES", (-1,))],
        )

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata(name="test", version="1", extensions=["model_repository"])

    async def index(self, ready_only: bool) -> list[IndexEntry]:
        if self.loaded or not ready_only:
            state = "READY" if self.loaded else "UNAVAILABLE"
            return [IndexEntry(name="linear", version="3", state=state, reason="")]
        return []

    async def load(self, model: str) -> None:
        self.loaded = True

    async def unload(self, model: str) -> None:
        self.loaded = False


@contextlib.asynccontextmanager
async def serving(core: Any, **settings: Any) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(core, "127.0.0.1", 0, **{"max_message_bytes": MESSAGE_BYTES, **settings})
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@pytest.fixture
def core() -> Linear:
    return Linear()


@pytest.fixture
async def server(core: Linear) -> AsyncIterator[Any]:
    async with serving(core) as made:
        yield made


@pytest.fixture
async def client(server: Any) -> AsyncIterator[Any]:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as made:
        yield made


@pytest.fixture
async def channel(server: Any) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as made:
        yield made


@pytest.fixture(autouse=True)
async def let_go() -> AsyncIterator[None]:
    """grpc ties its poller to the event loop of the first object alive; leave none to the next."""
    yield
    gc.collect()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110  # of any kind: tasks, lists of another thread
            await asyncio.sleep(0.001)


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def matrix_input(values: Any, module: Any = triton_aio) -> list[Any]:
    made = module.InferInput("x", list(values.shape), "FP32")
    made.set_data_from_numpy(values)
    return [made]


def raw_request(values: Any, **fields: Any) -> bytes:
    said = {"model_name": "linear", **fields}
    request = service_pb2.ModelInferRequest(raw_input_contents=[values.tobytes()], **said)
    request.inputs.add(name="x", datatype="FP32", shape=values.shape)
    return bytes(request.SerializeToString())


async def status_of(call: Awaitable[Any]) -> tuple[Any, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(call, DEADLINE)
    return raised.value.code(), raised.value.details()


async def test_the_reference_client_gets_the_right_numbers_for_raw_values(client: Any) -> None:
    values = rows(7)
    answer = await client.infer("linear", matrix_input(values), request_id="id-7")
    np.testing.assert_array_equal(answer.as_numpy("y"), values @ WEIGHTS)
    assert [int(text.split(b":")[1]) for text in answer.as_numpy("best")] == list(
        (values @ WEIGHTS).argmax(axis=1)
    )
    got = answer.get_response()
    assert (got.id, got.model_name, got.model_version) == ("id-7", "linear", "3")


async def test_typed_values_get_the_same_answer_as_raw_ones(channel: Any) -> None:
    values = rows(2)
    request = CLASSES["ModelInferRequest"](model_name="linear")
    request.inputs.add(name="x", datatype="FP32", shape=[2, 3]).contents.fp32_contents.extend(
        values.ravel().tolist()
    )
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    assert await infer(request.SerializeToString()) == await infer(raw_request(values))


async def test_the_blocking_reference_client_works_too(server: Any) -> None:
    values = rows(3)

    def ask() -> Any:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            asked = matrix_input(values, triton)
            return client.infer("linear", asked, compression_algorithm="gzip").as_numpy("y")

    np.testing.assert_array_equal(await asyncio.to_thread(ask), values @ WEIGHTS)


def test_calls_are_answered_in_the_event_loop_of_the_service() -> None:
    values = rows(300)  # an answer in more than one frame
    port: Queue[int] = Queue()
    stop = threading.Event()

    async def serve() -> None:
        async with serving(Linear()) as server:
            port.put(server.port)
            await asyncio.to_thread(stop.wait, DEADLINE)

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    try:
        with triton.InferenceServerClient(f"127.0.0.1:{port.get(timeout=DEADLINE)}") as client:
            answers = [client.infer("linear", matrix_input(values, triton)) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for answer in answers:
        np.testing.assert_array_equal(answer.as_numpy("y"), values @ WEIGHTS)


async def test_many_calls_at_once_get_each_its_own_answer(client: Any) -> None:
    async def ask(seed: int) -> None:
        values = rows(1 + seed % 5, seed)
        answer = await client.infer("linear", matrix_input(values), request_id=str(seed))
        assert answer.get_response().id == str(seed)
        np.testing.assert_array_equal(answer.as_numpy("y"), values @ WEIGHTS)

    await asyncio.gather(*(ask(seed) for seed in range(100)))


async def test_parameters_go_in_and_out_and_outputs_can_be_chosen(
    core: Linear, client: Any
) -> None:
    wanted = [triton_aio.InferRequestedOutput("y", class_count=2)]
    asked = matrix_input(rows(1))
    answer = await client.infer("linear", asked, outputs=wanted, priority=2, timeout=9)
    assert core.asked[0].parameters == {"priority": 2, "timeout": 9}
    assert core.asked[0].outputs[0][::2] == ("y", 2)
    assert answer.get_response().parameters["timeout"].int64_param == 9


async def test_health_and_metadata_are_those_of_the_core(core: Linear, client: Any) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("linear")
    assert not await client.is_model_ready("linear", "4")
    about = await client.get_server_metadata()
    assert (about.name, about.version, list(about.extensions)) == (
        "test",
        "1",
        ["model_repository"],
    )
    model = await client.get_model_metadata("linear", as_json=True)
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]
    assert [output["name"] for output in model["outputs"]] == ["y", "best"]
    assert (model["versions"], model["platform"]) == (["3"], "numpy")
    core.loaded = False
    assert not await client.is_server_ready()


async def test_the_configuration_tells_types_and_shapes(client: Any) -> None:
    told = await client.get_model_config("linear", as_json=True)
    assert told["config"]["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", "3"]}]
    assert [output["data_type"] for output in told["config"]["output"]] == [
        "TYPE_FP32",
        "TYPE_STRING",
    ]


async def test_models_are_unloaded_listed_and_loaded(client: Any) -> None:
    await client.unload_model("linear")
    index = await client.get_model_repository_index()
    assert [(entry.name, entry.state) for entry in index.models] == [("linear", "UNAVAILABLE")]
    await client.load_model("linear")
    assert await client.is_model_ready("linear")


async def test_what_is_not_offered_is_refused_by_name(client: Any, channel: Any) -> None:
    with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*ModelStatistics"):
        await client.get_inference_statistics("linear")
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*parameters\.config"):
        await client.load_model("linear", config="{}")
    index = channel.unary_unary(f"/{SERVICE}/RepositoryIndex")
    asked = CLASSES["RepositoryIndexRequest"](repository_name="other")
    code, text = await status_of(index(asked.SerializeToString()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("repository_name: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownModel("no"), "NOT_FOUND"),
        (InvalidInput("no"), "INVALID_ARGUMENT"),
        (Reject("no"), "INVALID_ARGUMENT"),
        (Overloaded("no"), "RESOURCE_EXHAUSTED"),
        (Retry("no"), "UNAVAILABLE"),
        (DeadlineExceeded("no"), "DEADLINE_EXCEEDED"),
        (DriftloopError("no"), "INTERNAL"),
    ],
)
async def test_an_error_of_ours_has_its_status_and_text(
    core: Linear, channel: Any, error: DriftloopError, code: str
) -> None:
    core.error = error
    got = await status_of(channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1))))
    assert got == (grpc.StatusCode[code], "no")


async def test_a_caller_to_come_back_later_is_told_when(core: Linear, channel: Any) -> None:
    core.error = Retry("no", delay=2.5)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1)))
    assert ("grpc-retry-pushback-ms", "2500") in list(raised.value.trailing_metadata())


async def test_a_bug_is_told_as_internal_and_logged_with_its_cause(
    core: Linear, channel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    core.error = ZeroDivisionError("secret")
    with caplog.at_level(logging.ERROR):
        got = await status_of(channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1))))
    assert got == (grpc.StatusCode.INTERNAL, "internal error")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_long_error_is_cut_to_what_trailers_hold(core: Linear, channel: Any) -> None:
    core.error = InvalidInput("é" * 100_000)
    code, text = await status_of(
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1)))
    )
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "é" * 500)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata"])
async def test_bytes_that_are_no_message_are_refused(channel: Any, method: str) -> None:
    code, text = await status_of(channel.unary_unary(f"/{SERVICE}/{method}")(b"\xff\xff"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"inference.{method}Request" in text


async def test_a_message_over_the_bound_is_refused_and_the_next_answered(channel: Any) -> None:
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    code, _ = await status_of(infer(raw_request(rows(MESSAGE_BYTES // 12 + 1))))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await infer(raw_request(rows(1)))


async def test_the_callers_deadline_reaches_the_core(core: Linear, channel: Any) -> None:
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    before = time.perf_counter()
    await infer(raw_request(rows(1)), timeout=100.0)
    await infer(raw_request(rows(1)))
    timed, untimed = (request.deadline for request in core.asked)
    assert before + 95.0 < timed < time.perf_counter() + 101.0
    assert untimed == 0.0


def _tasks() -> int:
    return len(asyncio.all_tasks())


async def test_an_answer_for_a_caller_who_has_gone_is_dropped(core: Linear, channel: Any) -> None:
    idle = _tasks()
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    await infer(raw_request(rows(1)))
    await until(lambda: _tasks() == idle)
    core.held = True
    gone, stays = infer(raw_request(rows(1))), infer(raw_request(rows(1), id="stays"))
    await until(lambda: len(core.waiting) == 2)
    for_two = _tasks() - idle
    gone.cancel()
    await until(lambda: _tasks() == idle + for_two // 2)
    for answer in core.waiting:
        answer()
    assert service_pb2.ModelInferResponse.FromString(await stays).id == "stays"


def streamed(count: int, model: str = "linear") -> list[bytes]:
    return [raw_request(rows(1, seed), id=str(seed), model_name=model) for seed in range(count)]


def read_stream(raw: bytes) -> Any:
    return service_pb2.ModelStreamInferResponse.FromString(raw)


async def test_a_stream_is_answered_in_its_order_whatever_is_ready_first(
    core: Linear, channel: Any
) -> None:
    core.held = True
    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(streamed(20)))
    await until(lambda: len(core.waiting) == 20)
    for answer in reversed(core.waiting):
        answer()
    got = [read_stream(raw) async for raw in call]
    assert [one.infer_response.id for one in got] == [str(seed) for seed in range(20)]
    for seed, one in enumerate(got):
        made = np.frombuffer(one.infer_response.raw_output_contents[0], np.float32)
        np.testing.assert_array_equal(made, (rows(1, seed) @ WEIGHTS)[0])


async def test_an_error_in_a_stream_is_told_by_its_id_and_the_stream_goes_on(channel: Any) -> None:
    mixed = service_pb2.ModelInferRequest(model_name="linear", id="bad")
    mixed.raw_input_contents.append(b"")
    asked = [*streamed(1), *streamed(1, "other"), mixed.SerializeToString(), b"\xff", *streamed(1)]
    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(asked))
    got = [read_stream(raw) async for raw in call]
    assert [one.infer_response.id for one in got] == ["0", "0", "bad", "", "0"]
    assert [one.error_message.partition(":")[0] for one in got] == [
        "",
        "model",
        "raw_input_contents",
        "body",
        "",
    ]


async def test_a_stream_reads_no_further_than_its_window(core: Linear, channel: Any) -> None:
    core.held = True
    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(streamed(4 * WINDOW)))
    live = channel.unary_unary(f"/{SERVICE}/ServerLive")
    await until(lambda: len(core.waiting) >= WINDOW)
    for _ in range(4 * WINDOW):  # time enough to read all, were there no window
        await live(b"")
    assert len(core.waiting) <= WINDOW + 2  # one more is to be sent, and one waits for room
    collected = asyncio.create_task(_collect(call))
    for at in range(4 * WINDOW):
        await until(partial(_more_than, core.waiting, at))
        core.waiting[at]()
    got = await asyncio.wait_for(collected, DEADLINE)
    assert [read_stream(raw).infer_response.id for raw in got] == list(map(str, range(4 * WINDOW)))


def _more_than(waiting: list[Any], count: int) -> bool:
    return len(waiting) > count


async def _collect(call: Any) -> list[bytes]:
    return [raw async for raw in call]


async def test_a_stream_of_the_reference_client_is_answered(client: Any) -> None:
    async def asked() -> AsyncIterator[dict[str, Any]]:
        for seed in range(3):
            yield {"model_name": "linear", "inputs": matrix_input(rows(1, seed))}

    got = [one async for one in client.stream_infer(asked())]
    assert [error for _, error in got] == [None, None, None]
    for seed, (answer, _) in enumerate(got):
        np.testing.assert_array_equal(answer.as_numpy("y"), rows(1, seed) @ WEIGHTS)


async def test_a_stream_given_up_leaves_nothing_running(core: Linear, channel: Any) -> None:
    core.held = True
    before = len(asyncio.all_tasks())
    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter(streamed(2)))
    await until(lambda: len(core.waiting) == 2)
    call.cancel()
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_taken_port_is_named(server: Any) -> None:
    other = GrpcServer(Linear(), "127.0.0.1", server.port, max_message_bytes=MESSAGE_BYTES)
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{server.port}"):
        await other.start()


async def test_a_port_can_be_shared_where_that_is_asked_for() -> None:
    async with serving(Linear(), reuse_port=True) as first:
        other = GrpcServer(
            Linear(), "127.0.0.1", first.port, max_message_bytes=MESSAGE_BYTES, reuse_port=True
        )
        await other.start()
        assert other.port == first.port
        await other.stop(0)


async def test_what_is_under_way_is_answered_before_the_server_stops() -> None:
    core = Linear()
    core.held = True
    async with (
        serving(core) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1), id="last"))
        await until(lambda: len(core.waiting) == 1)
        stopped = asyncio.create_task(server.stop(DEADLINE))
        core.waiting[0]()
        assert service_pb2.ModelInferResponse.FromString(await call).id == "last"
        await asyncio.wait_for(stopped, DEADLINE)


async def test_with_tls_a_caller_who_trusts_the_certificate_is_answered() -> None:
    trusted = grpc.ssl_channel_credentials(CERTIFICATE)
    named = (("grpc.ssl_target_name_override", "localhost"),)
    async with serving(Linear(), tls=Tls(KEY, CERTIFICATE)) as server:
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.secure_channel(address, trusted, named) as channel:
            answer = await channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1)))
        async with grpc.aio.insecure_channel(address) as channel:
            plain = channel.unary_unary(f"/{SERVICE}/ModelInfer")(raw_request(rows(1)))
            code, _ = await status_of(plain)
    assert service_pb2.ModelInferResponse.FromString(answer).model_name == "linear"
    assert code is grpc.StatusCode.UNAVAILABLE


class Real(NamedTuple):
    """The service's own core, with a promoted classifier of three features."""

    v2: V2
    engine: Engine


@pytest.fixture
async def real(bus: Bus) -> AsyncIterator[Real]:
    await bus.specs.write("flights", Registered(spec=spec(), revision=1, by="t", at=0.0), 0)
    artifacts = Artifacts(bus)
    await artifacts.put(MODEL.onnx)
    await bus.models.write("flights", state(1, manifest(1, MODEL.onnx)), 0)
    settings = InferenceSettings(nats_url="")
    versions = Versions(bus, artifacts, settings)
    log = PredictionLog(bus, versions, settings)
    bounds = Bounds(settings.queue_rows, settings.run_rows, settings.queue_ms / 1000)
    engine = Engine(Serving(bus, versions), bounds, log)
    v2 = V2(engine, versions, Explainer(artifacts), versions.problem, control=True)
    yield Real(v2, engine)
    engine.close()
    await log.close()
    await versions.close()


async def test_a_promoted_model_answers_the_reference_client(real: Real) -> None:
    matrix = tiny_rows(5, seed=4)
    asked = triton_aio.InferInput("X", [5, 3], "FP32").set_data_from_numpy(matrix)
    async with (
        serving(real.v2, engine=real.engine) as server,
        triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        assert await client.is_model_ready("flights")
        told = await client.get_model_metadata("flights")
        output = next(one.name for one in told.outputs if list(one.shape) == [-1, 2])
        for _ in range(3):  # the long way first, then the short one
            answer = await client.infer("flights", [asked])
            np.testing.assert_allclose(answer.as_numpy(output), MODEL.answers(matrix), atol=1e-5)
        await client.unload_model("flights")
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            await client.infer("flights", [asked])
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            await client.infer("nothing", [asked])
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*version"):
            await client.infer("flights", [asked], model_version="x")


def for_flights(values: Any, **fields: Any) -> bytes:
    said = {"model_name": "flights", **fields}
    request = service_pb2.ModelInferRequest(raw_input_contents=[values.tobytes()], **said)
    request.inputs.add(name="X", datatype="FP32", shape=values.shape)
    return bytes(request.SerializeToString())


@contextlib.asynccontextmanager
async def both_ways(real: Real) -> AsyncIterator[tuple[Any, Any]]:
    """`ModelInfer` by the short way, and by the long one."""
    async with (
        serving(real.v2, engine=real.engine) as short,
        serving(real.v2) as long,
        grpc.aio.insecure_channel(f"127.0.0.1:{short.port}") as a,
        grpc.aio.insecure_channel(f"127.0.0.1:{long.port}") as b,
    ):
        infer = f"/{SERVICE}/ModelInfer"
        await b.unary_unary(infer)(for_flights(tiny_rows(1)))  # the model is loaded by now
        yield a.unary_unary(infer), b.unary_unary(infer)


async def test_usual_requests_get_the_same_answer_by_the_short_way(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def to_request(raw: bytes, deadline: float) -> InferRequest:
        read.append(raw)
        return codec.to_request(raw, deadline)

    async with both_ways(real) as (short, long):
        monkeypatch.setattr(calls, "to_request", to_request)
        for count in (1, 2, 85, 86, 1_000):  # as a list of numbers, and as a matrix
            for fields in ({"id": "a"}, {"id": "é" * 100}, {"model_version": "1", "id": "abc"}):
                asked = [for_flights(tiny_rows(count, seed), **fields) for seed in range(3)]
                read.clear()
                got = [await short(raw) for raw in asked]
                assert read == asked[:1]
                assert got == [await long(raw) for raw in asked]


async def test_a_usual_request_without_an_id_is_given_one(real: Real) -> None:
    async with both_ways(real) as (short, _):
        answers = [await short(for_flights(tiny_rows(1, seed))) for seed in range(4)]
    ids = {service_pb2.ModelInferResponse.FromString(raw).id for raw in answers}
    assert len(ids) == 4
    assert "" not in ids


async def test_ids_of_one_length_are_told_apart(real: Real) -> None:
    async with both_ways(real) as (short, _):
        for at in range(20):
            raw = await short(for_flights(tiny_rows(1), id=f"{at:02}"))
            assert service_pb2.ModelInferResponse.FromString(raw).id == f"{at:02}"


@pytest.mark.parametrize("change", ["id", "parameters", "outputs", "name", "values"])
async def test_what_is_only_nearly_usual_goes_the_long_way(real: Real, change: str) -> None:
    request = service_pb2.ModelInferRequest.FromString(for_flights(tiny_rows(1), id="a"))
    if change == "parameters":
        request.parameters["timeout"].int64_param = 10_000_000
    elif change == "outputs":
        request.outputs.add(name="probabilities")
    elif change == "name":
        request.inputs[0].name = "features"
    raw = request.SerializeToString()
    if change == "id":
        raw = raw.replace(b"\x1a\x01a", b"\x1a\x01\xff")  # no UTF-8, which protobuf refuses
    elif change == "values":
        nan = np.full((1, 3), np.nan, np.float32)
        raw = for_flights(nan, id="a")
    async with both_ways(real) as (short, long):
        for _ in range(2):
            await short(for_flights(tiny_rows(1), id="a"))  # the usual kind is known
            told: list[Any] = [
                await asyncio.gather(way(raw), return_exceptions=True) for way in (short, long)
            ]
            first, second = (one[0] for one in told)
            if isinstance(first, bytes):
                assert first == second
            else:
                assert (first.code(), first.details()) == (second.code(), second.details())
                assert first.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_usual_requests_for_two_models_of_one_size_are_told_apart(real: Real) -> None:
    async with both_ways(real) as (short, _):
        for _ in range(3):
            assert await short(for_flights(tiny_rows(1)))
            other = for_flights(tiny_rows(1), model_name="fl1ghts")
            assert (await status_of(short(other)))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_usual_call_that_was_cancelled_is_forgotten(real: Real) -> None:
    async with both_ways(real) as (short, _):
        await short(for_flights(tiny_rows(1)))
        many = [short(for_flights(tiny_rows(1))) for _ in range(50)]
        for call in many[::2]:
            call.cancel()
        for call in many[1::2]:
            assert await call


WITHOUT_GRPCIO = """
import sys
sys.modules["grpc"] = None  # what is not installed
import driftloop.inference.app
import driftloop.inference.grpc_v2.server
from driftloop.contracts.errors import InvalidInput
from driftloop.local.bench import loadgrpc
loadgrpc.find_spec = lambda name: None
try:
    loadgrpc.require()
except InvalidInput as error:
    print(error)
"""


def test_grpcio_is_needed_by_nothing_but_the_comparison_with_it() -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_GRPCIO], capture_output=True, text=True, check=True
    )
    assert told.stdout == (
        "workload: grpc needs the package grpcio; install it: pip install grpcio\n"
    )
