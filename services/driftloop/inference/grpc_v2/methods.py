"""The methods of `inference.GRPCInferenceService` but inference: bytes in, bytes out."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.asked import Core
from driftloop.inference.grpc_v2.codec import parse
from driftloop.inference.grpc_v2.faults import NotOffered
from driftloop.inference.grpc_v2.schema import CLASSES
from driftloop.inference.v2.messages import TensorMetadata
from driftloop.runtime.access import OPEN, Access, Rules, anywhere, of_model

INFER: Final = "ModelInfer"
STREAM: Final = "ModelStreamInfer"

DATA_TYPES: Final = {
    "BOOL": 1,
    "UINT8": 2,
    "UINT16": 3,
    "UINT32": 4,
    "UINT64": 5,
    "INT8": 6,
    "INT16": 7,
    "INT32": 8,
    "INT64": 9,
    "FP16": 10,
    "FP32": 11,
    "FP64": 12,
    "BYTES": 13,
}
"""Numbers of the enumeration `DataType` in Triton's model configuration."""


_ANY: Final = anywhere("read", "predict", "operate")
_DESCRIBED: Final = of_model("read", "predict")
_INDEX: Final = "RepositoryIndex"
RULES: Final[Rules] = {
    INFER: of_model("predict"),
    STREAM: of_model("predict"),
    "ServerLive": OPEN,
    "ServerReady": OPEN,
    "ServerMetadata": _ANY,
    "ModelReady": _DESCRIBED,
    "ModelMetadata": _DESCRIBED,
    "ModelConfig": _DESCRIBED,
    "ModelStatistics": _ANY,
    _INDEX: anywhere("read", "operate"),
    "RepositoryModelLoad": of_model("operate"),
    "RepositoryModelUnload": of_model("operate"),
}
"""What each method asks of a token, as the same over HTTP."""


class Methods:
    """The methods over one core; `access` says who may call them."""

    def __init__(self, core: Core, access: Access | None = None) -> None:
        self._core = core
        self._access = access
        self._by_name: dict[str, Callable[[Any, Any], Awaitable[None]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            _INDEX: self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        self.names = (*self._by_name, "ModelStatistics")

    async def answer(self, name: str, raw: bytes, header: bytes = b"") -> bytes:
        """Read the request, let the answer be filled; raises `DriftloopError` as the core does, and
        as `Access.enter` does for the `authorization` in `header`.
        """
        if name not in self._by_name:
            raise NotOffered(f"{name} is not offered; the service's /metrics has the statistics")
        asked, filled = parse(f"{name}Request", raw), CLASSES[f"{name}Response"]()
        right, rule = None, RULES[name]
        if self._access is not None and self._access.required and rule.scopes:
            model = str(getattr(asked, "name", "") or getattr(asked, "model_name", ""))
            right = self._access.enter(header, rule.scopes, model, len(raw))
        await self._by_name[name](asked, filled)
        if name == _INDEX and right is not None and right.models is not None:
            shown = [entry for entry in filled.models if right.covers(entry.name)]
            del filled.models[:]
            filled.models.extend(shown)
        return bytes(filled.SerializeToString())

    async def _server_live(self, _: Any, answer: Any) -> None:
        answer.live = self._core.live()

    async def _server_ready(self, _: Any, answer: Any) -> None:
        answer.ready = self._core.ready()

    async def _model_ready(self, asked: Any, answer: Any) -> None:
        answer.ready = await self._core.model_ready(asked.name, asked.version)

    async def _server_metadata(self, _: Any, answer: Any) -> None:
        known = self._core.server_metadata()
        answer.name, answer.version = known.name, known.version
        answer.extensions.extend(known.extensions)

    async def _model_metadata(self, asked: Any, answer: Any) -> None:
        known = await self._core.metadata(asked.name, asked.version)
        answer.name, answer.platform = known.name, known.platform
        answer.versions.extend(known.versions)
        for tensor in known.inputs:
            answer.inputs.add(**tensor._asdict())
        for tensor in known.outputs:
            answer.outputs.add(**tensor._asdict())

    async def _model_config(self, asked: Any, answer: Any) -> None:
        """Name, platform, inputs and outputs; `max_batch_size` 0: shapes hold the row axis too."""
        known = await self._core.metadata(asked.name, asked.version)
        answer.config.name, answer.config.platform = known.name, known.platform
        for tensor in known.inputs:
            answer.config.input.add(**_configured(tensor))
        for tensor in known.outputs:
            answer.config.output.add(**_configured(tensor))

    async def _index(self, asked: Any, answer: Any) -> None:
        _one_repository(asked)
        for entry in await self._core.index(asked.ready):
            answer.models.add(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )

    async def _load(self, asked: Any, _: Any) -> None:
        _one_repository(asked)
        _only_parameters(asked)
        await self._core.load(asked.model_name)

    async def _unload(self, asked: Any, _: Any) -> None:
        _one_repository(asked)
        _only_parameters(asked, "unload_dependents")  # no model here has dependents
        await self._core.unload(asked.model_name)


def _configured(tensor: TensorMetadata) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": DATA_TYPES[tensor.datatype],
        "dims": tensor.shape,
    }


def _one_repository(asked: Any) -> None:
    if asked.repository_name:
        raise InvalidInput(
            f"repository_name: there is no {asked.repository_name[:60]!r}; "
            "accepted: an empty name, there is one repository only"
        )


def _only_parameters(asked: Any, *accepted: str) -> None:
    for name in asked.parameters:
        if name not in accepted:
            raise InvalidInput(
                f"parameters.{name[:60]}: is not offered; accepted: {', '.join(accepted) or 'none'}"
            )
