"""Replays rows in event-time order through a running system, labels following at their own time.

The replay's clock is the data's. It waits when too much is on its way through the services, and
holds while a training or an offline gate is under way: at real speed these take next to no event
time.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftloop.client.client import Client
from driftloop.local.demo.options import DemoOptions
from driftloop.local.demo.watch import Watch

HOUR_MS = 3_600_000
STALL_SECONDS = 120.0
HOLD_SECONDS = 600.0


@dataclass(slots=True)
class Progress:
    """How far the replay is: rows and labels sent, its clock (ms), and seconds it held."""

    total: int = 0
    rows: int = 0
    labels: int = 0
    duplicates: int = 0
    clock: int = 0
    held: float = 0.0
    waited: float = 0.0


class Stalled(RuntimeError):
    """The system stopped making progress."""


class Replay:
    """Sends a table of rows with `event_time`, `label` and `label_time`."""

    def __init__(
        self, client: Client, watch: Watch, model: str, table: pa.Table, options: DemoOptions
    ) -> None:
        self._client = client
        self._watch = watch
        self._model = model
        self._options = options
        self._features = table.drop_columns(["label", "label_time"])
        labels = table.select(["event_id", "label", "label_time"]).filter(
            pc.is_valid(table["label"])
        )
        self._labels = labels.sort_by("label_time")
        self._times = _millis(table["event_time"])
        self._label_times = _millis(self._labels["label_time"])
        self.progress = Progress(total=table.num_rows)

    async def run(self) -> None:
        """Replay everything, then wait until all labels have come out of the join."""
        step = int(self._options.slice_hours * HOUR_MS)
        last = max(int(self._times[-1]), int(self._label_times[-1]))
        clock = int(self._times[0])
        while clock <= last:
            clock += step
            await self._slice(clock)
            await self._keep_pace(self._options.in_flight)
            await self._hold()
        await self._keep_pace(0)

    async def _slice(self, clock: int) -> None:
        """Send the rows that departed and the labels that landed before `clock`."""
        self.progress.clock = clock
        await self._send_rows(clock)
        await self._send_labels(clock)

    async def _send_rows(self, clock: int) -> None:
        progress = self.progress
        row_end = int(np.searchsorted(self._times, clock))
        if row_end > progress.rows:
            part = self._features.slice(progress.rows, row_end - progress.rows)
            progress.duplicates += (await self._client.send_rows(self._model, part)).duplicate
            progress.rows = row_end

    async def _send_labels(self, clock: int) -> None:
        progress = self.progress
        label_end = int(np.searchsorted(self._label_times, clock))
        if label_end > progress.labels:
            part = self._labels.slice(progress.labels, label_end - progress.labels)
            progress.duplicates += (await self._client.send_labels(self._model, part)).duplicate
            progress.labels = label_end

    async def _keep_pace(self, in_flight: int) -> None:
        """Wait until at most `in_flight` labels are on their way; raises `Stalled`."""
        started = moved = time.monotonic()
        before = -1
        while self.progress.labels - self._watch.settled > in_flight:
            if self._watch.settled != before:
                before, moved = self._watch.settled, time.monotonic()
            if time.monotonic() - moved > STALL_SECONDS:
                left = self.progress.labels - self._watch.settled
                raise Stalled(
                    f"{left} labels have not come out of the join for {STALL_SECONDS:g} s"
                )
            await self._watch.moved(0.05)
        self.progress.waited += time.monotonic() - started

    async def _hold(self) -> None:
        """Hold the clock while a training or a gate is under way."""
        if not self._options.hold or self._watch.quiet.is_set():
            return
        started = time.monotonic()
        try:
            await asyncio.wait_for(self._watch.quiet.wait(), HOLD_SECONDS)
        except TimeoutError as error:
            raise Stalled(f"a training or gate was not done within {HOLD_SECONDS:g} s") from error
        self.progress.held += time.monotonic() - started


def _millis(times: pa.ChunkedArray) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.asarray(times.cast(pa.int64()).to_numpy(), dtype=np.int64)
