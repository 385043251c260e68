"""One backtest or a grid of them: worlds and fits are shared by all that have them in common."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from driftloop.local.backtest import grid, quality, report
from driftloop.local.backtest.loop import Loop, Played
from driftloop.local.backtest.models import Fits
from driftloop.local.backtest.quality import Compared
from driftloop.local.backtest.table import Labelled
from driftloop.local.backtest.watch import Stopwatch
from driftloop.local.backtest.world import World, build
from driftloop.modelspec.spec import Spec

HOUR_MS = 3_600_000
USUAL_ROWS = 128
"""Rows of a slice on average, unless it would be longer than `MOST_HOURS`."""
MOST_HOURS = 3.0

Tell = Callable[[int, int], None]
"""Told which policy is played, and how many of its rows."""
WORLD = ("name", "task", "target", "columns", "features", "unknown_columns", "limits")
"""Fields of the spec that the world hangs on."""


class Done(NamedTuple):
    """One policy: its spec, what it did, how it compares, and the report."""

    spec: Spec
    played: Played
    compared: Compared | None
    report: report.Report


class Speed(NamedTuple):
    """Rows played by all policies; seconds on the wall and of CPU without fits and gates, and with
    `fitting` those of these.
    """

    rows: int
    wall: float
    cpu: float
    fitting: float


class Backtest:
    """Plays policies over one labelled file; `slice_ms` is the event time of a slice (0: usual).

    Each is compared with periodic retraining at so many `phases`.
    """

    def __init__(self, given: Labelled, slice_ms: int = 0, phases: int = 1) -> None:
        self._given = given
        self.phases = phases
        self._slice_ms = slice_ms or usual_slice(given)
        self._watch = Stopwatch()
        self._fits = Fits(self._watch)
        self._worlds: dict[bytes, World] = {}
        self._rows = 0

    def close(self) -> None:
        """End the child and the threads."""
        self._fits.close()

    @property
    def speed(self) -> Speed:
        """How long it has taken."""
        return Speed(self._rows, *self._watch.playing, self._watch.fitting)

    def run(self, spec: Spec, changes: Sequence[grid.Changes], tell: Tell) -> Iterator[Done]:
        """Each policy in turn; raises `SpecError` for any of them before the first is played."""
        specs = [grid.changed(spec, its) for its in changes]
        for at, (one, its) in enumerate(zip(specs, changes, strict=True)):
            yield self._play(one, its, lambda rows, at=at: tell(at, rows))  # type: ignore[misc]  # mypy does not infer a lambda's default

    def _play(self, spec: Spec, changes: grid.Changes, tell: Callable[[int], None]) -> Done:
        world = self._world(spec)
        played = Loop(spec, world, self._fits, self._watch).run(tell)
        compared = quality.compare(spec, world, played, self._fits, self.phases)
        self._rows += len(self._given.times)
        made = report.build(spec, changes, world, played, compared)
        return Done(spec, played, compared, made)

    def _world(self, spec: Spec) -> World:
        wanted: dict[str, Any] = {name: getattr(spec, name) for name in WORLD}
        name = msgspec.json.encode(wanted)
        if name not in self._worlds:
            self._worlds = {name: build(spec, self._given, self._slice_ms)}
        return self._worlds[name]


def usual_slice(given: Labelled) -> int:
    """The time (milliseconds) in which `USUAL_ROWS` rows come on average, at most `MOST_HOURS`."""
    span = int(given.times[-1] - given.times[0])
    usual = span * USUAL_ROWS // max(1, len(given.times))
    return max(1, min(usual, int(MOST_HOURS * HOUR_MS)))
