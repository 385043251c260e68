"""The champion's monitor, fed many slices at once as long as it finds nothing in them.

What a monitor finds does not hang on how the log is cut into batches, but many small ones take
long. So a copy is fed ahead. Where it finds nothing it takes the place of the monitor; else it is
forgotten, and the monitor is fed up to the slice in which something is found.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftloop.contracts.batches import Matrix
from driftloop.drift.domain.monitor import Found, Monitor
from driftloop.drift.domain.signals import Change
from driftloop.drift.handlers import KINDS
from driftloop.local.backtest.world import Cuts, Slice, World
from driftloop.modelspec.spec import Spec

FEWEST: Final = 16
MOST: Final = 32
"""Slices that are tried at once: the fewest after something was found, then ever more."""

Ints = NDArray[np.int64]
Batch = Callable[[slice], pa.RecordBatch]


class _Monitor(Monitor):
    """A monitor that is told where in the log each row of a batch lies: (rows, 2)."""

    places: Ints

    def _feed(
        self, name: str, values: Matrix, seq: int, times: Ints, rows: Ints
    ) -> Iterator[Change]:
        group = self.groups.get(name)
        if group is not None and len(rows):
            at = self.places[rows]
            yield from group.update(values, at[:, 0], at[:, 1], times[rows])  # type: ignore[arg-type]  # one sequence a row


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
        self._spec, self._world = spec, world
        self._monitor = _Monitor(spec, champion)
        self._scored, self._outcomes, self._ahead = scored, outcomes, ahead
        self._clear = 0
        self._size = FEWEST

    def in_rows(self, number: int, rows: slice) -> list[Found]:
        """What is found in a batch of rows of slice `number`."""
        if number >= self._clear:
            self._look_ahead(number)
        return [] if number < self._clear else _as_said(self._in_rows(self._monitor, rows))

    def in_outcomes(self, number: int, rows: slice) -> list[Found]:
        """What is found in a batch of outcomes of slice `number`."""
        return [] if number < self._clear else _as_said(self._in_outcomes(self._monitor, rows))

    def _look_ahead(self, number: int) -> None:
        """Feed the monitor all slices from `number` on up to the next in which something is found,
        or as many as are tried at once.
        """
        parts = self._world.slices[number : number + self._size]
        monitor = copy.deepcopy(self._monitor, {id(self._spec): self._spec})
        clear = self._first_found(monitor, parts)
        if clear == len(parts):
            self._monitor, self._size = monitor, min(2 * self._size, MOST)
        else:
            self._size = FEWEST
            if clear:
                self._first_found(self._monitor, parts[:clear])
        self._clear = number + clear

    def _first_found(self, monitor: _Monitor, parts: Sequence[Slice]) -> int:
        """Feed a monitor slices: the first of them in which it finds something, or their number."""
        clear = len(parts)
        rows = _whole([cut for part in parts for cut in part.scored])
        if rows is not None:
            self._ahead(rows)
            for found in self._in_rows(monitor, rows):  # not in order: one group after another
                row = int(np.searchsorted(self._world.row_places[:, 0], found.seq))
                at = next(at for at, part in enumerate(parts) if _has(part.scored, row))
                clear = min(clear, at)
        labelled = _whole([cut for part in parts[:clear] for cut in part.outcomes])
        if labelled is not None:
            for found in self._in_outcomes(monitor, labelled):
                row = int(np.searchsorted(self._world.outcome_places[:, 0], found.seq))
                at = next(at for at, part in enumerate(parts) if _has(part.outcomes, row))
                clear = min(clear, at)
        return clear

    def _in_rows(self, monitor: _Monitor, rows: slice) -> Iterator[Found]:
        monitor.places = self._world.row_places[rows]
        return monitor.scored(self._scored(rows), int(monitor.places[0, 0]))

    def _in_outcomes(self, monitor: _Monitor, rows: slice) -> Iterator[Found]:
        monitor.places = self._world.outcome_places[rows]
        return monitor.outcomes(self._outcomes(rows), int(monitor.places[0, 0]))


def _as_said(found: Iterable[Found]) -> list[Found]:
    """In the order in which the service says what it finds in one batch: one kind after another."""
    kinds = [kind for kinds in KINDS.values() for kind in kinds]
    return sorted(found, key=lambda event: kinds.index(event.kind))


def _has(cuts: Cuts, row: int) -> bool:
    return bool(cuts) and cuts[0].start <= row < cuts[-1].stop


def _whole(cuts: list[slice]) -> slice | None:
    """Neighbouring cuts as one."""
    return slice(cuts[0].start, cuts[-1].stop) if cuts else None
