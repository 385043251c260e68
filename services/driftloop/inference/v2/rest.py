"""`infer` over HTTP: the hot route, from body bytes to body bytes, without a task or a future."""

from functools import partial
from typing import Final

from driftloop.contracts.errors import DriftloopError, InvalidInput, Overloaded
from driftloop.contracts.names import check_model_name
from driftloop.inference.core.call import Served
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.intake import LARGE
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.meters import METERS
from driftloop.inference.v2.calls import JSON, OCTETS, BinaryCall, JsonCall, fail, told
from driftloop.inference.v2.decoding import request, usual, usual_binary
from driftloop.inference.v2.encoding import encoded
from driftloop.inference.v2.messages import InferRequest, InferResponse
from driftloop.inference.v2.service import V2, version_of
from driftloop.runtime.access import Enter, Right
from driftloop.runtime.http1 import Exchange, Head

HEAD_LENGTH: Final = b"inference-header-content-length"
TIMEOUT: Final = b"request-timeout"
"""Header: seconds the caller waits, at most."""
WORDS_SECONDS: Final = 0.05
"""How long refusals of a full queue are the same; shorter than `queue.FLOOD_SECONDS`, since the
queue hears of a flood when it finds the words.
"""


class Infer:
    """The handler of `infer` for one model, or one version of it."""

    def __init__(
        self, engine: Engine, v2: V2, head: Head, model: str, version: str, enter: Enter | None
    ) -> None:
        self._enter = enter
        self._engine = engine
        self._v2 = v2
        self._model = model
        self._version = version
        self._binary = bool(head.get(HEAD_LENGTH))
        self._timed = bool(head.get(TIMEOUT))
        self._made: type[JsonCall | BinaryCall] = BinaryCall if self._binary else JsonCall
        self._ids = engine.ids
        self._lane: Lane | None = None
        self._number = -1
        """The version as a number, once it and the name were checked."""
        self._words = (b"", b"")
        self._words_until = 0.0

    def __call__(self, exchange: Exchange, body: bytes) -> None:
        """Read, queue; the lane answers."""
        try:
            right = self._enter(len(body)) if self._enter is not None else None
            lane = self._lane or self._find()
            served = lane.who() if lane is not None else None
            if lane is None or served is None:
                self._lane = None
                self._any(exchange, body, right)
                return
            if lane.queue.rows > lane.queue.few and lane.full():
                self._refuse(exchange, lane)
                return
            if len(body) < LARGE:
                self._take(lane, served, exchange, body, right)
            else:
                read = partial(self._large, exchange, body, right)
                self._engine.intake.take(lane.queue, len(body), read, ready=self._binary)
        except DriftloopError as error:
            fail(exchange, error)

    def _large(self, exchange: Exchange, body: bytes, right: Right | None) -> None:
        """The same when a large body has its turn: who answers may have changed."""
        if exchange.closed:
            return
        try:
            lane = self._lane or self._find()
            served = lane.who() if lane is not None else None
            if lane is None or served is None:
                self._any(exchange, body, right)
            else:
                self._take(lane, served, exchange, body, right)
        except Exception as error:
            fail(exchange, error)

    def _take(
        self, lane: Lane, served: Served, exchange: Exchange, body: bytes, right: Right | None
    ) -> None:
        plan = served.plan
        if self._binary:
            found = usual_binary(plan, body, json_length(exchange, body))
        else:
            found = usual(plan, body)
        if found is None:
            self._any(exchange, body, right)
            return
        values, rows, id = found
        if right is not None:
            right.take(rows)
        deadline = deadline_from(exchange) if self._timed else 0.0
        call = self._made(plan, values, rows, id or next(self._ids), exchange.began, deadline)
        call.exchange = exchange
        lane.submit(call)

    def _refuse(self, exchange: Exchange, lane: Lane) -> None:
        """Say that the queue is full; under a flood in the words of the last time."""
        if exchange.began > self._words_until:
            self._words_until = exchange.began + WORDS_SECONDS
            self._words = told(lane.overloaded())[1:]
        METERS.refused(Overloaded)
        exchange.answer(503, JSON, *self._words)

    def _find(self) -> Lane | None:
        if self._number < 0:
            check_model_name(self._model)
            self._number = version_of(self._version)
        here = self._engine.here(self._model, self._number)
        self._lane = here[0] if here is not None else None
        return self._lane

    def _any(self, exchange: Exchange, body: bytes, right: Right | None) -> None:
        asked = request(self._model, self._version, body, json_length(exchange, body))
        if right is not None:
            right.take(asked.rows(len(body)))
        asked.deadline = deadline_from(exchange)

        def done(result: InferResponse | Exception) -> None:
            if isinstance(result, Exception):
                fail(exchange, result)
            else:
                tell(exchange, asked, result)

        self._v2.infer_soon(asked, done)


def tell(exchange: Exchange, asked: InferRequest, response: InferResponse) -> None:
    """Write a response; the outputs asked for as binary data follow the JSON."""
    head, data = encoded(asked, response)
    if data is None:
        exchange.json(head)
    else:
        line = b"inference-header-content-length: %d\r\n" % len(head)
        exchange.answer(200, OCTETS, head + data, line)


def json_length(exchange: Exchange, body: bytes) -> int:
    """How many bytes of the body are JSON; 0 is all. Raises `InvalidInput`."""
    told = exchange.head.get(HEAD_LENGTH)
    if not told:
        return 0
    if told.isdigit() and len(told) < 12 and 0 < int(told) <= len(body):
        return int(told)
    raise InvalidInput(
        f"{HEAD_LENGTH.decode()}: {told[:40].decode('latin-1')!r}; "
        f"accepted: the bytes of JSON before the binary data, at most the body's {len(body)}"
    )


def deadline_from(exchange: Exchange) -> float:
    """The caller's deadline on the clock of `time.perf_counter`; 0 is none."""
    told = exchange.head.get(TIMEOUT)
    if not told:
        return 0.0
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InvalidInput(
            f"{TIMEOUT.decode()}: {told[:40].decode('latin-1')!r}; accepted: seconds above 0"
        )
    return exchange.began + seconds
