"""Where all that is past is read: SQL over the bus, bounded and kept for a moment."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
import pyarrow as pa

from driftloop.bus.bus import Bus
from driftloop.console.domain.cost import Price
from driftloop.console.domain.feed import Feed
from driftloop.console.queries.cache import FRESH_SECONDS, Cache
from driftloop.contracts import requests
from driftloop.contracts.batches import decode
from driftloop.contracts.errors import DriftloopError, Retry
from driftloop.contracts.facts import Fact
from driftloop.contracts.state import ModelState

Row = Mapping[str, Any]

ASK_SECONDS: Final = 15.0
"""Telemetry itself gives a question up earlier (its `query_seconds`)."""
AT_ONCE: Final = 4
"""Questions under way: telemetry answers them one after the other, between its inserts."""
MOST_ROWS: Final = 10_000
"""Rows of an answer."""
_decode: Final = lru_cache(maxsize=1_024)(msgspec.json.Decoder(Fact).decode)


class Past:
    """The bus, the states of the models, and the answers that were given lately.

    `states` gives the states of all models as the console has them; `price` is of CPU; `feed` has
    the events that the console heard.
    """

    def __init__(
        self,
        bus: Bus,
        states: Callable[[], Mapping[str, ModelState]],
        price: Price | None = None,
        feed: Feed | None = None,
    ) -> None:
        self.bus = bus
        self.price = price
        self.cache = Cache()
        self._feed = feed
        self._states = states
        self._turns = asyncio.Semaphore(AT_ONCE)

    def states(self) -> Mapping[str, ModelState]:
        """The states of all models, as the console has them."""
        return self._states()

    async def state(self, model: str) -> ModelState:
        """The state of a model; raises `UnknownModel` for one without a spec."""
        await self.bus.spec(model)
        return await self.bus.models.get(model) or ModelState(model=model)

    async def ask(self, sql: str, fresh: float = FRESH_SECONDS) -> list[Row]:
        """The rows of an answer, at most `MOST_ROWS`, and `fresh` seconds old (see `Cache`).

        Raises `Retry` that names telemetry.
        """
        found = await self.cache.get(sql, lambda: self._ask(sql), fresh)
        rows: list[Row] = found.to_pylist()
        return rows

    def heard(self, model: str) -> list[Fact]:
        """The newest events of a model that the console has heard, in the order of the log.

        Telemetry may hear them a moment later.
        """
        kept = self._feed.kept if self._feed is not None else ()
        return [_decode(told.raw) for told in kept if told.model == model]

    def model_of(self, correlation: str) -> str:
        """The model of the newest event heard with this correlation; "" without one."""
        kept = self._feed.kept if self._feed is not None else ()
        found = (told.model for told in reversed(kept) if told.correlation == correlation)
        return next(found, "") if correlation else ""

    async def _ask(self, sql: str) -> pa.RecordBatch:
        query = msgspec.msgpack.encode(requests.SqlQuery(sql=sql, max_rows=MOST_ROWS))
        async with self._turns:
            try:
                reply = await self.bus.ask(requests.QUERY_SQL, query, timeout=ASK_SECONDS)
            except DriftloopError as error:  # our own SQL is right: what fails is who answers it
                raise Retry(f"telemetry does not answer: {error}", delay=2.0) from error
        return decode(reply.payload)
