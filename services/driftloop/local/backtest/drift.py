"""The champion's monitor, fed many slices at once; what it finds is told in its own time.

What a monitor finds hangs neither on how the log is cut into batches nor on what the registry makes
of it: another champion has another monitor. So it is fed ahead, and each alarm waits for the batch
that holds its row. What an alarm says of the batch and of the labels so far is filled in then.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.alarms import Loss
from driftloop.contracts.batches import Matrix
from driftloop.drift.domain.harm import LabelledLosses
from driftloop.drift.domain.monitor import Found, Monitor
from driftloop.drift.domain.signals import Change
from driftloop.drift.handlers import KINDS
from driftloop.local.backtest.world import Slice, World
from driftloop.modelspec.spec import Spec

AHEAD: Final = 64
"""Slices that are fed at once: as much is lost at a change of champions."""
ORDER: Final = [kind for kinds in KINDS.values() for kind in kinds]
"""In which the service says what it finds in one batch: one kind after another."""

Ints = NDArray[np.int64]
Batch = Callable[[slice], pa.RecordBatch]
Labelled = tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]


class _Unsaid(LabelledLosses):
    """No losses: what they did is said when an alarm is told."""

    def add(self, times: Ints, losses: NDArray[np.float64]) -> None:
        """They are not kept."""

    def since(self, time: int) -> Loss:
        """Nothing is known yet."""
        return Loss()


class _Monitor(Monitor):
    """A monitor that is told where in the log each row of a batch lies: (rows, 2)."""

    places: Ints
    losses: Labelled
    """Those of the batch of outcomes it was fed last."""

    def __init__(self, spec: Spec, champion: int) -> None:
        super().__init__(spec, champion, estimate=False)
        self._labelled = _Unsaid()

    def labelled(self, batch: pa.RecordBatch) -> Labelled:
        self.losses = super().labelled(batch)
        return self.losses

    def _feed(
        self, name: str, values: Matrix, seq: int, times: Ints, rows: Ints
    ) -> Iterator[Change]:
        group = self.groups.get(name)
        if group is not None and len(rows):
            at = self.places[rows]
            yield from group.update(values, at[:, 0], at[:, 1], times[rows])  # type: ignore[arg-type]  # one sequence a row


class _Stream:
    """What was found ahead in rows, or in outcomes, by the batch of the log; and up to where."""

    def __init__(self, places: Ints) -> None:
        self.places = places
        self.fed = 0
        self._found: dict[int, list[Found]] = {}

    def keep(self, found: Iterator[Found]) -> None:
        """Keep what is found until its batch is reached."""
        for event in found:
            self._found.setdefault(event.seq, []).append(event)

    def reached(self, rows: slice) -> list[Found]:
        """What was found in a batch, in the order in which it is said."""
        found = self._found.pop(int(self.places[rows.start, 0]), [])
        return sorted(found, key=lambda event: ORDER.index(event.kind))


class Watch:
    """Drift as seen from a champion's promotion on; `scored` and `outcomes` make batches of rows.

    Rows are scored by `ahead` before they are looked at ahead of their time.
    """

    def __init__(
        self,
        spec: Spec,
        world: World,
        champion: int,
        *,
        scored: Batch,
        outcomes: Batch,
        ahead: Callable[[slice], None],
    ) -> None:
        self._world = world
        self._monitor = _Monitor(spec, champion)
        self._scored, self._outcomes, self._ahead = scored, outcomes, ahead
        self._rows = _Stream(world.row_places)
        self._labels = _Stream(world.outcome_places)
        self._known = LabelledLosses()
        """The losses of outcomes that were reached."""
        self._losses: tuple[Ints, Ints, NDArray[np.float64]]
        """Those of outcomes that were fed: which, their event times and losses."""

    def in_rows(self, number: int, rows: slice) -> list[Found]:
        """What is found in a batch of rows of slice `number`."""
        if rows.start >= self._rows.fed:
            cuts = [cut for part in self._parts(number) for cut in part.scored]
            self._rows.fed = cuts[-1].stop
            whole = slice(rows.start, cuts[-1].stop)
            self._ahead(whole)
            self._monitor.places = self._world.row_places[whole]
            self._rows.keep(self._monitor.scored(self._scored(whole), 0))
        return self._told(self._rows.reached(rows), self._world.times[rows])

    def in_outcomes(self, number: int, rows: slice) -> list[Found]:
        """What is found in a batch of outcomes of slice `number`, whose rows were all scored."""
        if rows.start >= self._labels.fed:
            self._feed_outcomes(number, rows.start)
        which, times, losses = self._losses
        here = slice(*np.searchsorted(which, [rows.start, rows.stop]).tolist())
        self._known.add(times[here], losses[here])
        return self._told(self._labels.reached(rows), self._world.outcome_times[rows])

    def _feed_outcomes(self, number: int, start: int) -> None:
        parts = self._parts(number)
        unscored = [cut for part in parts[1:] for cut in part.scored]
        if unscored:
            self._ahead(slice(unscored[0].start, unscored[-1].stop))
        self._labels.fed = [cut for part in parts for cut in part.outcomes][-1].stop
        whole = slice(start, self._labels.fed)
        self._monitor.places = self._world.outcome_places[whole]
        self._labels.keep(self._monitor.outcomes(self._outcomes(whole), 0))
        at, _, losses = self._monitor.losses
        self._losses = (start + at, self._world.outcome_times[whole][at], losses)

    def _parts(self, number: int) -> tuple[Slice, ...]:
        return self._world.slices[number : number + AHEAD]

    def _told(self, found: list[Found], times: Ints) -> list[Found]:
        """Alarms as they are said of a batch with these event times, with the labels so far."""
        return [
            msgspec.structs.replace(
                event,
                data_time=int(times.max()),
                labelled=self._known.since(event.since_time),
            )
            for event in found
        ]
