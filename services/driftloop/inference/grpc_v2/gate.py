"""Who may call over gRPC: the token is in the metadata `authorization`."""

from typing import Final

from driftloop.inference.grpc_v2.h2.streams import Stream
from driftloop.inference.grpc_v2.methods import INFER, RULES
from driftloop.inference.v2.messages import InferRequest
from driftloop.runtime.access import Access

PREDICT: Final = RULES[INFER].scopes


class Gate:
    """The check of a call for answers; without `access`, or where it asks for no token, none."""

    def __init__(self, access: Access | None) -> None:
        self._access = access if access is not None and access.required else None

    def admit(self, stream: Stream) -> None:
        """Whether the caller may predict at all; asked before anything is read."""
        if self._access is not None:
            self._access.admit(stream.head.authorization, PREDICT)

    def usual(self, stream: Stream, model: str, size: int) -> None:
        """Whether a request for a model, with a message of `size` bytes, may come in."""
        if self._access is not None:
            stream.right = self._access.enter(stream.head.authorization, PREDICT, model, size)

    def enter(self, stream: Stream, request: InferRequest, size: int) -> None:
        """The same, unless it was asked already, and what it costs; each message of a stream is a
        request.
        """
        if self._access is None:
            return
        header = stream.head.authorization
        right = stream.right or self._access.enter(header, PREDICT, request.model, size)
        if right is not None:
            right.take(request.rows(size))
