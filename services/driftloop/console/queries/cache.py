"""Answers that several pages want at once: asked for once, and kept for a few seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from driftloop.runtime import metrics

T = TypeVar("T")

FRESH_SECONDS: Final = 3.0
"""How long an answer is kept at least."""
SHARE: Final = 0.1
"""An answer is kept so long that asking for it anew takes at most this share of the time."""
LONGEST_SECONDS: Final = 60.0
MOST: Final = 256
"""Answers kept; the one that was not asked for longest goes."""
MOST_BYTES: Final = 64 << 20
"""Bytes of the tables among them."""

_ASKED: Final = metrics.counter(
    "console_questions", "Questions of pages, answered from the cache or anew", ["answered"]
)


class _Kept(NamedTuple):
    value: Any
    until: float
    bytes: int


class Cache:
    """Answers by key. Errors are not kept, but all who wait for one answer get the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Any]] = {}
        self._bytes = 0

    async def get(
        self, key: str, make: Callable[[], Awaitable[T]], fresh: float = FRESH_SECONDS
    ) -> T:
        """The answer under `key`, at most `fresh` seconds old or as `SHARE` allows.

        Whoever goes away does not spoil it for those who wait too.
        """
        kept = self._kept.get(key)
        if kept is not None and kept.until > self._clock():
            self._kept.move_to_end(key)
            _ASKED.labels("cache").inc()
            found: T = kept.value
            return found
        task = self._asked.get(key)
        if task is None:
            _ASKED.labels("anew").inc()
            task = asyncio.ensure_future(self._make(key, make, fresh))
            self._asked[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        else:
            _ASKED.labels("cache").inc()
        made: T = await asyncio.shield(task)
        return made

    async def _make(self, key: str, make: Callable[[], Awaitable[T]], fresh: float) -> T:
        began = self._clock()
        value = await make()
        ended = self._clock()
        seconds = min(max(fresh, (ended - began) / SHARE), max(fresh, LONGEST_SECONDS))
        self._drop(key)
        kept = _Kept(value, ended + seconds, int(getattr(value, "nbytes", 0)))
        self._kept[key] = kept
        self._bytes += kept.bytes
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))
        return value

    def _drop(self, key: str) -> None:
        gone = self._kept.pop(key, None)
        self._bytes -= gone.bytes if gone is not None else 0

    def _ended(self, key: str, task: asyncio.Task[Any]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, should all who waited have gone
