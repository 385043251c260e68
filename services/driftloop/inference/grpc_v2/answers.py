"""What both servers do with the requests of a stream."""

from collections.abc import Callable
from typing import Final

from driftloop.contracts.errors import InvalidInput
from driftloop.inference.grpc_v2.asked import Answer
from driftloop.inference.grpc_v2.codec import (
    parse,
    to_bytes,
    to_request,
    to_stream_bytes,
    to_stream_error,
)
from driftloop.inference.grpc_v2.faults import note, text_of
from driftloop.inference.grpc_v2.methods import STREAM
from driftloop.inference.v2.messages import InferRequest, InferResponse

Infer = Callable[[InferRequest, Callable[[Answer], None]], None]
WINDOW: Final = 64
"""Requests of one stream under way; further ones wait unread, which slows the caller down."""


def ask(infer: Infer, raw: bytes, deadline: float, done: Callable[[Answer], None]) -> str:
    """Hand a `ModelInferRequest` to `infer`; its id. `done` is called in any case."""
    id_ = ""
    try:
        request = to_request(raw, deadline)
        id_ = request.id
        infer(request, done)
    except InvalidInput as error:
        id_ = id_ or _id_of(raw)
        done(error)
    except Exception as error:  # a bug: told as an internal error and logged
        done(error)
    return id_


def stream_message(request_id: str, answer: Answer) -> bytes:
    """An answer or error as a `ModelStreamInferResponse`."""
    if isinstance(answer, InferResponse):
        try:
            return to_stream_bytes(to_bytes(answer))
        except Exception as error:  # a bug: told as an internal error and logged
            answer = error
    note(STREAM, answer)
    return to_stream_error(text_of(answer), request_id)


def _id_of(raw: bytes) -> str:
    """The id of a request that is refused, where it can be read."""
    try:
        return str(parse("ModelInferRequest", raw).id)
    except InvalidInput:
        return ""
