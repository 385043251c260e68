"""`infer.<model>` over NATS: requests in our own formats, without a task a request."""

import time
from collections.abc import Mapping
from typing import Final

from driftloop.bus.bus import Bus
from driftloop.bus.responder import Responder
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.inference.core.call import Served
from driftloop.inference.core.engine import Engine
from driftloop.inference.core.lane import Lane
from driftloop.inference.core.meters import METERS
from driftloop.inference.plain.calls import PlainCall, read, served_or_why
from driftloop.inference.plain.reading import kind_of

SUBJECT: Final = "infer.*"
TIMEOUT: Final = "request-timeout"
"""Header: seconds the caller waits, at most."""


class NatsCall(PlainCall):
    """A call whose answer goes to a reply subject."""

    __slots__ = ("responder", "to", "told")

    responder: Responder
    to: str
    told: bool
    """Whether the request said its content type, so that the answer does, too."""

    def send(self, body: bytes) -> None:
        """Send the answer."""
        self.responder.answer(self.to, body, self.kind if self.told else "")

    def refused(self, error: Exception) -> None:
        """Send the error."""
        fail(self.responder, self.to, error)


class NatsRequests:
    """Hears requests for predictions on NATS."""

    def __init__(self, bus: Bus, engine: Engine) -> None:
        self._engine = engine
        self._responder = bus.responder()

    async def start(self) -> None:
        """Begin to answer."""
        await self._responder.start(SUBJECT, self._heard)

    def _heard(self, subject: str, body: bytes, headers: Mapping[str, str] | None, to: str) -> None:
        began = time.perf_counter()
        model = subject[6:]
        try:
            here = self._engine.here(model)
            if here is None:
                self._engine.soon(self._later(model, body, headers, to, began))
            elif here[0].full():
                raise here[0].overloaded()
            else:
                self._take(*here, body, headers, to, began)
        except DriftloopError as error:
            fail(self._responder, to, error)

    def _take(
        self,
        lane: Lane,
        served: Served,
        body: bytes,
        headers: Mapping[str, str] | None,
        to: str,
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
        self, model: str, body: bytes, headers: Mapping[str, str] | None, to: str, began: float
    ) -> None:
        try:
            told = headers.get("content-type", "") if headers else ""
            kind = kind_of(told, body)
            lane, served = await served_or_why(self._engine, model, kind, body)
            self._take(lane, served, body, headers, to, began)
        except Exception as error:
            fail(self._responder, to, error)


def fail(responder: Responder, to: str, error: Exception) -> None:
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
