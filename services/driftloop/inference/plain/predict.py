"""`POST /v1/models/{model}/predict`: the hot route of our own formats."""

from functools import partial
from typing import Final

import msgspec

from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.headers import ARROW
from driftloop.contracts.names import check_model_name
from driftloop.inference.core.call import Served, one
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.intake import LARGE
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.meters import METERS
from driftloop.inference.explain import Explainer
from driftloop.inference.plain.calls import Options, PlainCall, options, read, served_or_why
from driftloop.inference.plain.reading import ACCEPTED, JSON, kind_of
from driftloop.inference.v2.rest import deadline_from
from driftloop.runtime.access import Enter, Right
from driftloop.runtime.http1 import Exchange
from driftloop.runtime.problems import MEDIA_TYPE, explained, problem_body

PROBLEM: Final = MEDIA_TYPE.encode()
TYPES: Final = {kind: kind.encode() for kind in ACCEPTED}


class HttpCall(PlainCall):
    """A call whose answer goes into an exchange."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def send(self, body: bytes) -> None:
        """Write the answer."""
        if self.kind == JSON:
            self.exchange.json(body)
        else:
            self.exchange.answer(200, TYPES[self.kind], body)

    def refused(self, error: Exception) -> None:
        """Write the error."""
        fail(self.exchange, error)


class Predict:
    """The handler of `predict` for one model."""

    def __init__(
        self, engine: Engine, explainer: Explainer, model: str, enter: Enter | None
    ) -> None:
        self._enter = enter
        self._engine = engine
        self._explainer = explainer
        self._model = model

    def __call__(self, exchange: Exchange, body: bytes) -> None:
        """Read, queue; the lane answers."""
        try:
            right = self._enter(len(body)) if self._enter is not None else None
            check_model_name(self._model)
            kind = kind_of(exchange.head.content_type)
            asked = options(exchange.head.query)
            here = self._engine.here(self._model, asked.version)
            if here is None or asked.explain:
                self._engine.soon(self._later(exchange, kind, body, asked, right))
            elif here[0].full():
                raise here[0].overloaded()
            elif len(body) < LARGE:
                self._take(*here, exchange, kind, body, asked, right)
            else:
                read = partial(self._large, exchange, kind, body, asked, right)
                self._engine.intake.take(here[0].queue, len(body), read, ready=kind == ARROW)
        except DriftloopError as error:
            fail(exchange, error)

    def _large(
        self, exchange: Exchange, kind: str, body: bytes, asked: Options, right: Right | None
    ) -> None:
        """The same when a large body has its turn: who answers may have changed."""
        if exchange.closed:
            return
        try:
            here = self._engine.here(self._model, asked.version)
            if here is None:
                self._engine.soon(self._later(exchange, kind, body, asked, right))
            else:
                self._take(*here, exchange, kind, body, asked, right)
        except Exception as error:
            fail(exchange, error)

    def _take(
        self,
        lane: Lane,
        served: Served,
        exchange: Exchange,
        kind: str,
        body: bytes,
        asked: Options,
        right: Right | None,
    ) -> None:
        deadline = deadline_from(exchange)
        call = HttpCall.__new__(HttpCall)
        read(call, self._engine, served, kind, body, exchange.began, deadline)
        if right is not None:
            right.take(call.rows)
        call.top_k = asked.top_k
        call.exchange = exchange
        lane.submit(call)

    async def _later(
        self, exchange: Exchange, kind: str, body: bytes, asked: Options, right: Right | None
    ) -> None:
        try:
            lane, served = await served_or_why(self._engine, self._model, kind, body, asked.version)
            if asked.explain:
                exchange.json(await self._explained(served, exchange, kind, body, asked, right))
            else:
                self._take(lane, served, exchange, kind, body, asked, right)
        except Exception as error:
            fail(exchange, error)

    async def _explained(
        self,
        served: Served,
        exchange: Exchange,
        kind: str,
        body: bytes,
        asked: Options,
        right: Right | None,
    ) -> bytes:
        """The answer with `contributions`: for each row, feature by feature."""
        if kind != JSON:
            raise InvalidInput(f"explain: is not given as {kind}; accepted: {JSON}")
        call = PlainCall.__new__(PlainCall)
        read(call, self._engine, served, kind, body, exchange.began)
        if right is not None:
            right.take(call.rows)
        matrix = one(call)
        if not served.plan.fits(matrix):
            matrix = call.thorough()  # which names what it refuses as it was sent
        answered = await self._engine.answer(
            self._model, asked.version, matrix, ids=call.event_ids(), began=exchange.began
        )
        made = await self._explainer.contributions(answered, matrix)
        names = answered.served.plan.names
        call.top_k = asked.top_k
        body = call.written(answered)
        told = [dict(zip(names, row, strict=True)) for row in made.tolist()]
        return body[:-1] + b',"contributions":' + msgspec.json.encode(told) + b"}"


def fail(exchange: Exchange, error: Exception) -> None:
    """Write an error as problem details (RFC 9457), and count it."""
    METERS.refused(type(error))
    status, detail, headers = explained(error, exchange.head.path)
    lines = b"".join([b"%b: %b\r\n" % (k.encode(), v.encode()) for k, v in headers.items()])
    exchange.answer(status, PROBLEM, problem_body(status, detail), lines)
