"""What this transport asks of the protocol's core: the part of it that gRPC needs."""

from collections.abc import Callable
from typing import Protocol

from driftloop.inference.v2.messages import (
    IndexEntry,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ServerMetadata,
)

Answer = InferResponse | Exception
"""An answer, or why there is none."""


class Core(Protocol):
    """The protocol's core; every method raises `DriftloopError` where it cannot answer."""

    def infer_soon(self, request: InferRequest, done: Callable[[Answer], None]) -> None:
        """Answer the request; `done` is called once, in this event loop."""

    def live(self) -> bool:
        """Whether the process turns."""

    def ready(self) -> bool:
        """Whether it can answer."""

    async def model_ready(self, model: str, version: str) -> bool:
        """Whether the model answers; an empty version is the one that answers by itself."""

    async def metadata(self, model: str, version: str) -> ModelMetadata:
        """What the model accepts and gives."""

    def server_metadata(self) -> ServerMetadata:
        """Who answers, and by which extensions."""

    async def index(self, ready_only: bool) -> list[IndexEntry]:
        """The models of the repository."""

    async def load(self, model: str) -> None:
        """Make the model answer."""

    async def unload(self, model: str) -> None:
        """Make the model answer no more."""
