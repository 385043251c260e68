"""Snapshots of monitors in a bucket: after a restart the log is read from there on."""

import asyncio
import logging

from driftloop.bus.bus import Bus
from driftloop.bus.publish import Conflict
from driftloop.contracts.errors import DriftloopError, InvalidInput
from driftloop.drift.domain import snapshot as numbers
from driftloop.drift.domain.monitor import Monitor
from driftloop.drift.domain.snapshot import Snapshot
from driftloop.modelspec.spec import Registered
from driftloop.runtime import metrics

log = logging.getLogger(__name__)

SAVED = metrics.counter(
    "drift_snapshots", "Snapshots of monitors by what became of them", ["result"]
)
Positions = dict[str, int]
HEADERS = 4_096
"""Bytes of a message that are not its payload, at most."""


class Snapshots:
    """The newest snapshot of each model's monitor.

    A snapshot only saves reading: it is written without waiting for others, and what cannot be
    written or read is counted, and the log is read from further back.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def monitor(self, registered: Registered, champion: int) -> tuple[Monitor, Positions]:
        """A champion's monitor as it was kept, and what it is to be fed next of each stream.

        Where there is nothing that fits it is a new one, and there are no positions.
        """
        spec, model = registered.spec, registered.spec.name
        try:
            entry = await self._bus.monitors.read(model)
            found = numbers.decode(entry.value) if entry.value is not None else None
            if found is not None and found.of(champion, registered.revision):
                made = Monitor(spec, champion)
                made.restore(found)
                return made, found.next_seq
        except (InvalidInput, ValueError, KeyError) as error:
            log.warning("%s: its monitor reads the log again: %s", model, error)
            SAVED.labels("refused").inc()
        return Monitor(spec, champion), {}

    async def save(self, model: str, snapshot: Snapshot) -> None:
        """Keep a snapshot, if it is no larger than a message may be."""
        data = await asyncio.to_thread(numbers.encode, snapshot)
        if len(data) > self._bus.connection.nc.max_payload - HEADERS:
            SAVED.labels("too_large").inc()
            return
        try:
            entry = await self._bus.monitors.read(model)
            await self._bus.monitors.write(model, data, entry.revision)
        except (Conflict, DriftloopError) as error:
            log.warning("%s: its monitor was not saved: %s", model, error)
            SAVED.labels("failed").inc()
            return
        SAVED.labels("saved").inc()
