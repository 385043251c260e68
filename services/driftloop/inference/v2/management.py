"""The Open Inference Protocol V2 over HTTP without `infer`: health, metadata, repository."""

from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.names import check_model_name
from driftloop.inference.documents import INDEX_BODY, V2_ERRORS
from driftloop.inference.v2.calls import error_of
from driftloop.inference.v2.messages import ModelMetadata, TensorMetadata
from driftloop.inference.v2.service import V2
from driftloop.runtime.access import Right, right_of

JSON: Final = "application/json"
_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/v2/models/{model}/versions/{version}"


class _Index(msgspec.Struct):
    """The body of `index`; what else it says is ignored."""

    ready: bool = False


class Management:
    """The routes, each a method."""

    def __init__(self, v2: V2) -> None:
        self._v2 = v2

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an app."""
        app.add_api_route("/v2", self.server, operation_id="v2_server")
        app.add_api_route("/v2/health/live", self.live, operation_id="v2_live")
        app.add_api_route(
            "/v2/health/ready", self.ready, operation_id="v2_ready", responses=V2_ERRORS
        )
        for route, path in (
            (self.metadata, ""),
            (self.model_ready, "/ready"),
            (self.config, "/config"),
        ):
            for start, of in ((_MODEL, ""), (_VERSION, "_of_version")):
                name = f"v2_{route.__name__}{of}"
                app.add_api_route(start + path, route, operation_id=name, responses=V2_ERRORS)
        repository = "/v2/repository"
        for change, path in (
            (self.load, "/models/{model}/load"),
            (self.unload, "/models/{model}/unload"),
        ):
            app.add_api_route(
                repository + path,
                change,
                methods=["POST"],
                operation_id=f"v2_{change.__name__}",
                responses=V2_ERRORS,
            )
        app.add_api_route(
            f"{repository}/index",
            self.index,
            methods=["POST"],
            operation_id="v2_index",
            responses=V2_ERRORS,
            openapi_extra=INDEX_BODY,
        )

    async def server(self) -> Response:
        """Name, version and extensions of the server."""
        return _told(self._v2.server_metadata())

    async def live(self) -> Response:
        """Whether the server turns."""
        return _told({"live": self._v2.live()})

    async def ready(self) -> Response:
        """Whether the server can do its work."""
        good = self._v2.ready()
        return _told({"ready": good}, 200 if good else 503)

    async def metadata(self, model: str, version: str = "") -> Response:
        """What a model accepts and gives."""
        return await _answer(self._metadata(model, version))

    async def model_ready(self, model: str, version: str = "") -> Response:
        """Whether a model, or a version of it, answers."""
        return await _answer(self._ready(model, version))

    async def config(self, model: str, version: str = "") -> Response:
        """Triton's model configuration: platform, batching, inputs and outputs."""
        return await _answer(self._config(model, version))

    async def index(self, request: Request) -> Response:
        """The models, and whether each answers; those of the token, if there is one."""
        return await _answer(self._index(await request.body(), right_of(request)))

    async def load(self, model: str) -> Response:
        """Let a model answer again; needs the setting `model_control`."""
        return await _answer(self._load(model))

    async def unload(self, model: str) -> Response:
        """Refuse requests for a model until it is loaded; needs the setting `model_control`."""
        return await _answer(self._unload(model))

    async def _index(self, body: bytes, right: Right | None) -> Response:
        found = await self._v2.index(_only_ready(body))
        return _told([entry for entry in found if right is None or right.covers(entry.name)])

    async def _load(self, model: str) -> None:
        await self._v2.load(check_model_name(model))

    async def _unload(self, model: str) -> None:
        await self._v2.unload(check_model_name(model))

    async def _metadata(self, model: str, version: str) -> Response:
        found = await self._v2.metadata(check_model_name(model), version)
        return _told(
            {
                "name": found.name,
                "versions": found.versions,
                "platform": found.platform,
                **_tensors(found),
            }
        )

    async def _ready(self, model: str, version: str) -> Response:
        good = await self._v2.model_ready(check_model_name(model), version)
        return _told({"name": model, "ready": good}, 200 if good else 503)

    async def _config(self, model: str, version: str) -> Response:
        return _told(await self._v2.config(check_model_name(model), version))


async def _answer(work: Coroutine[Any, Any, Response | None]) -> Response:
    try:
        return await work or Response()
    except DriftloopError as error:
        status, text, headers = error_of(error)
        return Response(text, status, headers, JSON)


def _told(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def _only_ready(body: bytes) -> bool:
    """What the body of `index` asks for; raises `InvalidInput`."""
    try:
        return msgspec.json.decode(body, type=_Index).ready if body else False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f'body: {error}; accepted: none, or {{"ready": true}}') from error


def _tensors(found: ModelMetadata) -> dict[str, Any]:
    return {
        "inputs": [_tensor(tensor) for tensor in found.inputs],
        "outputs": [_tensor(tensor) for tensor in found.outputs],
    }


def _tensor(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
