"""The service of the Open Inference Protocol V2 behind every transport."""

import asyncio
import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import DriftloopError, InvalidInput, Retry
from driftloop.inference.core.call import Answered, CallBack, Done, Served, into
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.lane import Lane
from driftloop.inference.domain.plan import MATRIX, Plan
from driftloop.inference.explain import Explainer
from driftloop.inference.v2 import outputs
from driftloop.inference.v2.messages import (
    IndexEntry,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
)
from driftloop.inference.v2.tensors import to_matrix
from driftloop.inference.versions import Versions
from driftloop.modelspec.spec import Feature
from driftloop.runtime.http import Problem

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "model_configuration"]
_DATATYPES = {"number": "FP32", "integer": "INT64", "category": "BYTES", "boolean": "BOOL"}

Told = Callable[[InferResponse | Exception], None]


class V2:
    """Inference, health, metadata and the model repository, in messages of the protocol."""

    def __init__(
        self,
        engine: Engine,
        versions: Versions,
        explainer: Explainer,
        problem: Problem,
        control: bool = False,
    ) -> None:
        self._engine = engine
        self._explainer = explainer
        self._versions = versions
        self._problem = problem
        self._control = control

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request; raises a `DriftloopError` that says why not."""
        began = time.perf_counter()
        lane, served = await self._engine.lane_of(request.model, version_of(request.version))
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        request.id = request.id or next(self._engine.ids)
        matrix = self._submit(lane, served, request, began, into(future))
        answered = await future
        explained = None
        if any(wanted.name == outputs.CONTRIBUTIONS for wanted in request.outputs):
            explained = await self._explainer.contributions(answered, matrix)
        return _response(answered, request, explained)

    def infer_soon(self, request: InferRequest, done: Told) -> None:
        """The same for transports that have no task to wait in: `done` is called in this loop."""
        began = time.perf_counter()
        try:
            version = version_of(request.version)
            here = self._engine.here(request.model, version)
            waits = any(wanted.name == outputs.CONTRIBUTIONS for wanted in request.outputs)
            if here is None or waits:
                self._engine.soon(self._later(request, done))
                return

            request.id = request.id or next(self._engine.ids)

            def answered(result: Answered | Exception) -> None:
                done(result if isinstance(result, Exception) else _response(result, request))

            self._submit(*here, request, began, answered)
        except DriftloopError as error:
            done(error)

    async def _later(self, request: InferRequest, done: Told) -> None:
        try:
            response = await self.infer(request)
        except Exception as error:
            done(error)
        else:
            done(response)

    def _submit(
        self, lane: Lane, served: Served, request: InferRequest, began: float, done: Done
    ) -> Matrix:
        if lane.full():
            raise lane.overloaded()
        plan = served.plan
        outputs.check(plan, request.outputs)
        matrix = to_matrix(plan, request.inputs)
        deadline = request.deadline or deadline_of(request.parameters, began)
        call = CallBack(plan, matrix, len(matrix), request.id, began, deadline)
        call.done = done
        lane.submit(call)
        return matrix

    def live(self) -> bool:
        """Whether the server turns."""
        return True

    def ready(self) -> bool:
        """Whether the server can do its work."""
        return not self._problem()

    async def model_ready(self, model: str, version: str = "") -> bool:
        """Whether a model, or a version of it, answers; raises `UnknownModel`."""
        try:
            await self._engine.lane_of(model, version_of(version))
        except Retry:
            return False
        return True

    async def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """What a model accepts and gives."""
        _, served = await self._engine.lane_of(model, version_of(version))
        return ModelMetadata(
            name=model,
            versions=[str(served.champion.manifest.version)],
            platform=PLATFORM,
            inputs=inputs(served.plan),
            outputs=outputs.metadata(served.plan),
        )

    def server_metadata(self) -> ServerMetadata:
        """Name, version and extensions of this server."""
        version = importlib.metadata.version("driftloop")
        return ServerMetadata(name="driftloop", version=version, extensions=EXTENSIONS)

    async def config(self, model: str, version: str = "") -> dict[str, Any]:
        """Triton's model configuration: what its clients ask for, and no more."""
        found = await self.metadata(model, version)
        return {
            "name": found.name,
            "platform": found.platform,
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "input": [_config(tensor) for tensor in found.inputs],
            "output": [_config(tensor) for tensor in found.outputs],
        }

    async def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """Every model of the repository, and whether it answers."""
        entries = []
        for model in self._versions.names():
            entry = await self._entry(model)
            if entry.state == "READY" or not ready_only:
                entries.append(entry)
        return entries

    async def _entry(self, model: str) -> IndexEntry:
        try:
            _, served = await self._engine.lane_of(model)
        except DriftloopError as error:
            return IndexEntry(name=model, version="", state="UNAVAILABLE", reason=str(error))
        version = str(served.champion.manifest.version)
        return IndexEntry(name=model, version=version, state="READY", reason="")

    async def load(self, model: str) -> None:
        """Let a model answer requests again; raises `InvalidInput` unless the setting allows it."""
        self._check_control("load")
        await self._versions.load(model)
        await self._engine.lane_of(model)

    async def unload(self, model: str) -> None:
        """Refuse requests for a model until it is loaded again; the stream is scored as before."""
        self._check_control("unload")
        await self._versions.unload(model)

    def _check_control(self, what: str) -> None:
        if not self._control:
            raise InvalidInput(
                f"{what}: callers may not load or unload models here; "
                "accepted with the setting DRIFTLOOP_INFERENCE_MODEL_CONTROL=true"
            )


def _response(
    answered: Answered, request: InferRequest, explained: Matrix | None = None
) -> InferResponse:
    manifest = answered.served.champion.manifest
    return InferResponse(
        model_name=manifest.model,
        model_version=str(manifest.version),
        id=request.id,
        outputs=outputs.tensors(answered, request.outputs, explained),
    )


def version_of(text: str) -> int:
    """A version as callers name it; empty is the champion. Raises `InvalidInput`."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise InvalidInput(f"version: {text!r:.40} is none; accepted: a whole number from 1")


def deadline_of(parameters: dict[str, object], began: float) -> float:
    """Triton's parameter `timeout` (microseconds) as a deadline; 0 is none."""
    timeout = parameters.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < 1e18:
        raise InvalidInput(f"parameters.timeout: {timeout!r:.40}; accepted: microseconds from 0")
    return began + timeout * 1e-6 if timeout else 0.0


def inputs(plan: Plan) -> list[TensorMetadata]:
    """The inputs of a model: one matrix if all are numbers, else an input for each feature.

    Both forms are accepted whatever is listed.
    """
    features = plan.spec.features
    if all(feature.type == "number" for feature in features) and not plan.has_matrix_name:
        return [TensorMetadata(MATRIX, "FP32", (-1, plan.width))]
    return [_input(feature) for feature in features]


def _config(tensor: TensorMetadata) -> dict[str, Any]:
    kind = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    return {"name": tensor.name, "data_type": kind, "dims": list(tensor.shape)}


def _input(feature: Feature) -> TensorMetadata:
    return TensorMetadata(feature.name, _DATATYPES[feature.type], (-1,))
