"""Back-pressure: how much of requests is in memory."""

import contextlib
from collections.abc import Iterator

from driftloop.contracts.errors import Overloaded
from driftloop.runtime import metrics

HELD = metrics.gauge("ingest_held_bytes", "Bytes of requests under way")


class Room:
    """Memory for requests under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold `size` bytes meanwhile; raises `Overloaded` when too much is held already."""
        if self._held and self._held + size > self._most:
            raise Overloaded(
                f"body: {self._held} bytes of requests are under way;"
                f" accepted: at most {self._most}, try again"
            )
        self._held += size
        HELD.set(self._held)
        try:
            yield
        finally:
            self._held -= size
            HELD.set(self._held)
