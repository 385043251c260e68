"""The usual inference requests: recognised by their bytes, answered without protobuf messages.

Requests for one model differ in their numbers and their id only; all other bytes are the same from
call to call. The first of a kind is read as any other, and its fixed bytes are kept. A request with
the same ones around its id and before its numbers needs no reading: the numbers go straight into
the model's queue.
"""

import functools
import struct
import time
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from driftloop.contracts.batches import Matrix
from driftloop.inference.core.call import Call, Served
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.intake import LARGE
from driftloop.inference.core.lane import Lane
from driftloop.inference.domain.plan import MATRIX
from driftloop.inference.grpc_v2.codec import head, varint
from driftloop.inference.grpc_v2.faults import TooLarge
from driftloop.inference.grpc_v2.gate import Gate
from driftloop.inference.grpc_v2.h2.messages import PREFIX_BYTES
from driftloop.inference.grpc_v2.h2.streams import Stream
from driftloop.inference.v2.messages import InferRequest
from driftloop.inference.v2.outputs import PREDICTIONS, PROBABILITIES
from driftloop.inference.v2.service import version_of
from driftloop.runtime.access import Access

SIZES: Final = 256
"""Sizes of requests that are known at a time, and of each so many kinds:"""
KINDS: Final = 4
MOST_BYTES: Final = 1_024
"""Of what is kept of one kind."""
MOST_LISTED: Final = 256
"""Numbers of a request that go as a list, which is faster for few."""
_MODEL, _VERSION, _ID, _RAW = b"\x0a", b"\x12", b"\x1a", b"\x3a"
_ID_OF_ANSWER, _RAW_OF_ANSWER = b"\x1a", b"\x32"


class Kind(NamedTuple):
    """Where id and numbers stand in requests of one kind, and the bytes around them."""

    model: str
    version: int
    rows: int
    width: int
    before: bytes
    """All up to the id, or up to the numbers where there is none."""
    id_end: int
    between: bytes
    at: int
    """Where the numbers begin, which end the request."""


class GrpcCall(Call):
    """A call of a client who waits for all outputs."""

    __slots__ = ("stream",)

    stream: Stream

    def answered_one(self, served: Served, row: list[float], best: int) -> None:
        """Write the answer to one row."""
        raws = served.plan.class_bytes
        self._tell(served, raws[best] if raws else b"", _floats(len(row)).pack(*row))

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Write the answer."""
        raws = served.plan.class_bytes
        texts = b"".join([raws[at] for at in best]) if raws else b""
        self._tell(served, texts, answers.tobytes())

    def _tell(self, served: Served, texts: bytes, values: bytes) -> None:
        stream = self.stream
        stream.held = 0
        if stream.gone:
            stream.intake.closed(stream)
            return
        manifest = served.champion.manifest
        start = _head(manifest.model, manifest.version, self.rows, len(served.plan.class_bytes))
        id = self.id.encode()
        body = b"%b%b%b%b" % (start, _ID_OF_ANSWER, varint(len(id)), id)
        if texts:
            body += b"%b%b%b" % (_RAW_OF_ANSWER, varint(len(texts)), texts)
        body += b"%b%b%b" % (_RAW_OF_ANSWER, varint(len(values)), values)
        try:
            stream.intake.writer.whole(stream, body)
        except TooLarge as error:
            self.refused(error)

    def refused(self, error: Exception) -> None:
        """Write the error."""
        self.stream.held = 0
        self.stream.intake.pool.calls.refuse(self.stream, error)


class Usual:
    """Recognises usual requests, and puts them into the queue of their model."""

    def __init__(self, engine: Engine, access: Access | None = None) -> None:
        self._engine = engine
        self._gate = Gate(access)
        self._kinds: dict[int, list[Kind]] = {}

    def take(self, stream: Stream, data: bytes) -> bool:
        """Queue the request if it is a usual one; `data` has the prefix of a plain message.

        Raises `Overloaded` where the queue is full, and what `Access.enter` raises.
        """
        for kind in self._kinds.get(len(data), ()):
            if data.startswith(kind.before) and data[kind.id_end : kind.at] == kind.between:
                return self._queue(kind, stream, data)
        return False

    def _queue(self, kind: Kind, stream: Stream, data: bytes) -> bool:
        began = time.perf_counter()
        self._gate.usual(stream, kind.model, len(data) - PREFIX_BYTES)
        here = self._engine.here(kind.model, kind.version)
        if here is None:
            return False
        lane, served = here
        plan = served.plan
        if plan.width != kind.width or plan.has_matrix_name:
            return False
        if lane.full():
            raise lane.overloaded()
        try:
            id = data[len(kind.before) : kind.id_end].decode()
        except UnicodeDecodeError:
            return False
        rows, at = kind.rows, kind.at
        count = rows * kind.width
        values: list[float] | Matrix
        if count <= MOST_LISTED:
            values = list(_floats(count).unpack_from(data, at))
        else:
            found = np.frombuffer(data, dtype="<f4", offset=at).reshape(rows, kind.width)
            values = found if found.flags.aligned else found.copy()
        id = id or next(self._engine.ids)
        call = GrpcCall(plan, values, rows, id, began, stream.deadline)
        call.stream = stream
        if stream.right is not None:
            stream.right.take(rows)
        stream.held = 1
        try:
            if len(data) < LARGE:
                lane.submit(call)
            else:
                read = partial(_submit, lane, call)
                self._engine.intake.take(lane.queue, len(data), read, ready=True)
        except BaseException:
            stream.held = 0
            raise
        return True

    def learn(self, request: InferRequest, raw: bytes) -> None:
        """Keep the kind of a request that was read the long way, if it is a usual one."""
        kind = _kind(request, raw)
        if kind is None:
            return
        if self._engine.here(kind.model, kind.version) is None:
            return
        if len(self._kinds) >= SIZES:
            self._kinds.clear()
        found = self._kinds.setdefault(PREFIX_BYTES + len(raw), [])
        if kind not in found:
            found[KINDS - 1 :] = []
            found.insert(0, kind)


def _submit(lane: Lane, call: GrpcCall) -> None:
    """Queue a large request when it has its turn, or refuse it."""
    try:
        lane.submit(call)
    except Exception as error:
        call.refused(error)


def _kind(request: InferRequest, raw: bytes) -> Kind | None:
    """The kind of a request: one matrix of raw FP32, in the order that protobuf writes fields."""
    if len(request.inputs) != 1 or request.outputs or request.parameters:
        return None
    name, datatype, shape, data = request.inputs[0]
    if name != MATRIX or datatype != "FP32" or not isinstance(data, bytes) or len(shape) != 2:
        return None
    at = len(raw) - len(data)
    if min(shape) < 1 or len(data) != 4 * shape[0] * shape[1] or at > MOST_BYTES:
        return None
    before = _text(_MODEL, request.model) + _text(_VERSION, request.version)
    tail = _RAW + varint(len(data))
    id_end = len(before)
    if request.id:
        before += _ID + varint(len(request.id.encode()))
        id_end = len(before) + len(request.id.encode())
    if not raw.startswith(before) or raw[at - len(tail) : at] != tail or raw[at:] != data:
        return None
    if not request.id:
        before = raw[:at]
        id_end = at
    prefix = b"\0" + len(raw).to_bytes(4, "big")
    return Kind(
        model=request.model,
        version=version_of(request.version),
        rows=shape[0],
        width=shape[1],
        before=prefix + before,
        id_end=PREFIX_BYTES + id_end,
        between=raw[id_end:at],
        at=PREFIX_BYTES + at,
    )


def _text(tag: bytes, value: str) -> bytes:
    """A text field of protobuf; an empty one is not written."""
    data = value.encode()
    return tag + varint(len(data)) + data if data else b""


@functools.lru_cache(maxsize=1_024)
def _head(model: str, version: int, rows: int, classes: int) -> bytes:
    """The fields of an answer that name the model, its version and the outputs."""
    if not classes:
        return head(model, str(version), (PREDICTIONS, "FP32", (rows,)))
    labels = (PREDICTIONS, "BYTES", (rows,))
    return head(model, str(version), labels, (PROBABILITIES, "FP32", (rows, classes)))


@functools.lru_cache(maxsize=256)
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")
