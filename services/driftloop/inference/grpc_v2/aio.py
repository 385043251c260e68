"""The methods as handlers of grpc.aio."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc

from driftloop.inference.grpc_v2.asked import Answer, Core
from driftloop.inference.grpc_v2.codec import to_bytes, to_request
from driftloop.inference.grpc_v2.faults import note, status_of, text_of, trailers_of
from driftloop.inference.grpc_v2.methods import INFER, STREAM, Methods
from driftloop.inference.grpc_v2.streams import Streams
from driftloop.inference.v2.messages import InferResponse

Unary = Callable[[bytes, Any], Awaitable[bytes]]

_CODES: Final = {status.value[0]: status for status in grpc.StatusCode}


def deadline_of(context: Any) -> float:
    """When the caller gives up, on the clock of `time.perf_counter`; 0.0 is never."""
    remaining = context.time_remaining()
    return 0.0 if remaining is None else time.perf_counter() + remaining


async def refuse(context: Any, method: str, error: BaseException) -> NoReturn:
    """End the call with the error's status; a `Retry` says after how long to come back."""
    note(method, error)
    await context.abort(_CODES[status_of(error)], text_of(error), trailers_of(error))
    raise AssertionError("a call that was ended went on")


class Handlers:
    """Handlers over one core; to be made and used in a running event loop."""

    def __init__(self, core: Core) -> None:
        self._infer_soon = core.infer_soon
        self._new_future = asyncio.get_running_loop().create_future
        self._methods = Methods(core)
        self._streams = Streams(core)

    def by_name(self) -> dict[str, Any]:
        """Method name to handler, for a generic handler of grpc."""
        made: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self._guarded(name))
            for name in self._methods.names
        }
        made[INFER] = grpc.unary_unary_rpc_method_handler(self.infer)
        made[STREAM] = grpc.stream_stream_rpc_method_handler(self.stream)
        return made

    async def infer(self, raw: bytes, context: Any) -> bytes:
        """Answer one `ModelInferRequest`."""
        try:
            request = to_request(raw, deadline_of(context))
            future = self._new_future()

            def done(answer: Answer) -> None:
                if not future.done():  # the caller may have gone
                    future.set_result(answer)

            self._infer_soon(request, done)
            answer = await future
            if isinstance(answer, InferResponse):
                return to_bytes(answer)
        except Exception as error:  # a bug: told as INTERNAL and logged
            answer = error
        return await refuse(context, INFER, answer)

    async def stream(self, _: Any, context: Any) -> None:
        """Answer a stream of `ModelInferRequest`."""
        await self._streams.answer(context, deadline_of(context))

    def _guarded(self, name: str) -> Unary:
        """A handler that tells the errors of a method."""

        async def handler(raw: bytes, context: Any) -> bytes:
            try:
                return await self._methods.answer(name, raw)
            except Exception as error:  # a bug: told as INTERNAL and logged
                failed = error
            return await refuse(context, name, failed)

        return handler
