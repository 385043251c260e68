"""`infer.<model>` over NATS: requests in our own formats, those that came together as one call."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from driftloop.bus.bus import Bus
from driftloop.bus.responder import Responder
from driftloop.bus.wire import Heard, headers_of
from driftloop.contracts.batches import Matrix
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.contracts.headers import ARROW, MSGPACK
from driftloop.inference.core.call import Call, Served, one
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.intake import LARGE
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.meters import METERS
from driftloop.inference.plain.alike import Form
from driftloop.inference.plain.answers import write_each
from driftloop.inference.plain.calls import PlainCall, read, served_or_why
from driftloop.inference.plain.reading import Reader, kind_of, reader_of

SUBJECT: Final = "infer.*"
TIMEOUT: Final = "request-timeout"
"""Header: seconds the caller waits, at most."""
FEW: Final = 4
"""Fewer requests are quicker read one by one."""
MOST: Final = 64
"""Requests that are read as one, so that a queue with some room has room for them."""


class NatsCall(PlainCall):
    """A call whose answer goes to a reply subject."""

    __slots__ = ("responder", "to", "told")

    responder: Responder
    to: bytes
    told: bool
    """Whether the request said its content type, so that the answer does, too."""

    def send(self, body: bytes) -> None:
        """Send the answer."""
        self.responder.answer(self.to, body, self.kind if self.told else "")

    def refused(self, error: Exception) -> None:
        """Send the error."""
        fail(self.responder, self.to, error)


class NatsCalls(Call):
    """Requests of a row each that were read together and are answered together."""

    __slots__ = ("bodies", "form", "reader", "requests", "responder", "to", "told")

    requests: int
    responder: Responder
    to: list[bytes]
    told: bool
    bodies: list[bytes]
    form: Form
    reader: Reader

    def answered(self, served: Served, answers: Matrix, best: list[int]) -> None:
        """Send each its answer."""
        written = write_each(self.form, served, answers, best, self.ids)
        self.responder.answer_each(self.to, written, MSGPACK if self.told else "")

    def refused(self, error: Exception) -> None:
        """Send each the error."""
        for to in self.to:
            fail(self.responder, to, error)

    def apart(self) -> Sequence[Call]:
        """Each request as a call of its own."""
        return [self._alone(at) for at in range(self.rows)]

    def _alone(self, at: int) -> NatsCall:
        call = NatsCall(
            self.plan, one(self)[at : at + 1], 1, self.ids[at], self.began, self.deadline
        )
        call.queued = self.queued
        call.ids = [self.ids[at]]
        call.to, call.responder, call.told = self.to[at], self.responder, self.told
        call.kind, call.form, call.body, call.top_k = MSGPACK, self.form, self.bodies[at], 0
        call.reader = self.reader
        return call


class NatsRequests:
    """Hears requests for predictions on NATS."""

    def __init__(self, bus: Bus, engine: Engine) -> None:
        self._engine = engine
        self._responder = bus.responder()

    async def start(self) -> None:
        """Begin to answer."""
        await self._responder.start(SUBJECT, self._heard)

    def _heard(self, asked: list[Heard]) -> None:
        began = time.perf_counter()
        if len(asked) < FEW:
            groups = [asked]
        else:
            by: dict[tuple[bytes, bytes, int], list[Heard]] = {}
            for request in asked:
                subject, _, block, body = request
                by.setdefault((subject, block, len(body)), []).append(request)
            groups = list(by.values())
        for group in groups:
            for at in range(0, len(group), MOST):
                self._some(group[at : at + MOST], began)

    def _some(self, group: list[Heard], began: float) -> None:
        if len(group) >= FEW:
            try:
                if self._together(group, began):
                    return
            except DriftloopError:
                pass  # each is told below
        for subject, to, block, body in group:
            try:
                headers = headers_of(block) if block else None
                self._one(subject.decode()[6:], body, headers, to, began)
            except Exception as error:
                fail(self._responder, to, error)

    def _together(self, group: list[Heard], began: float) -> bool:
        """Take requests of one subject, headers and length as one call, if they are alike."""
        subject, _, block, body = group[0]
        headers = headers_of(block) if block else None
        here = self._engine.here(subject[6:].decode("utf-8", "replace"))
        told = headers.get("content-type", "") if headers else ""
        if here is None or here[0].full() or kind_of(told, body) != MSGPACK:
            return False
        lane, (plan, _) = here
        reader = reader_of(plan)
        bodies = [request[3] for request in group]
        asked = reader.together(bodies)
        if asked is None:
            return False
        rows, deadline = asked.rows, _deadline(headers, began) if headers else 0.0
        call = NatsCalls(plan, asked.values, rows, "", began, deadline)
        call.ids = asked.ids or [next(self._engine.ids) for _ in group]
        call.requests, call.bodies, call.form, call.reader = rows, bodies, asked.form, reader
        call.to, call.told = [request[1] for request in group], bool(told)
        call.responder = self._responder
        try:
            lane.submit(call)
        except DriftloopError as error:
            call.refused(error)
        return True

    def _one(
        self, model: str, body: bytes, headers: Mapping[str, str] | None, to: bytes, began: float
    ) -> None:
        here = self._engine.here(model)
        if here is None:
            self._engine.soon(self._later(model, body, headers, to, began))
        elif here[0].full():
            raise here[0].overloaded()
        elif len(body) < LARGE:
            self._take(*here, body, headers, to, began)
        else:
            told = headers.get("content-type", "") if headers else ""
            ready = kind_of(told, body) == ARROW
            read = partial(self._large, model, body, headers, to, began)
            self._engine.intake.take(here[0].queue, len(body), read, ready=ready)

    def _large(
        self, model: str, body: bytes, headers: Mapping[str, str] | None, to: bytes, began: float
    ) -> None:
        """The same when a large body has its turn: who answers may have changed."""
        try:
            here = self._engine.here(model)
            if here is None:
                self._engine.soon(self._later(model, body, headers, to, began))
            else:
                self._take(*here, body, headers, to, began)
        except Exception as error:
            fail(self._responder, to, error)

    def _take(
        self,
        lane: Lane,
        served: Served,
        body: bytes,
        headers: Mapping[str, str] | None,
        to: bytes,
        began: float,
    ) -> None:
        told = headers.get("content-type", "") if headers else ""
        call = NatsCall.__new__(NatsCall)
        call.to = to
        call.responder = self._responder
        call.told = bool(told)
        deadline = _deadline(headers, began) if headers else 0.0
        read(call, self._engine, served, kind_of(told, body), body, began, deadline)
        lane.submit(call)

    async def _later(
        self, model: str, body: bytes, headers: Mapping[str, str] | None, to: bytes, began: float
    ) -> None:
        try:
            told = headers.get("content-type", "") if headers else ""
            kind = kind_of(told, body)
            lane, served = await served_or_why(self._engine, model, kind, body)
            self._take(lane, served, body, headers, to, began)
        except Exception as error:
            fail(self._responder, to, error)


def fail(responder: Responder, to: bytes, error: Exception) -> None:
    """Send an error, and count it."""
    METERS.refused(type(error))
    responder.fail(to, error)


def _deadline(headers: Mapping[str, str], began: float) -> float:
    told = headers.get(TIMEOUT)
    if told is None:
        return 0.0
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InvalidInput(f"{TIMEOUT}: {told!r:.40}; accepted: seconds above 0")
    return began + seconds
