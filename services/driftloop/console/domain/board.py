"""All the console remembers: a fold over events and measurements, bounded in every direction."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from driftloop.console.domain.evidence import Line
from driftloop.console.domain.feed import Feed, Told
from driftloop.console.domain.instances import Heard
from driftloop.console.domain.live import Live
from driftloop.console.domain.rates import labelled
from driftloop.contracts.facts import Fact
from driftloop.contracts.stats import (
    AnyStat,
    DriftScore,
    EstimatedLoss,
    Evidence,
    JoinStats,
    ServiceStats,
)

MOST_LINES: Final = 512
MOST_SERVICES: Final = 64
SCORED: Final = "driftloop_scored_rows_total"
OUTCOMES: Final = "driftloop_outcomes_rows_total"

LineKey = tuple[str, str, str, int]
"""Model, run, role and version of a shadow."""


class Board:
    """What was heard so far; `dropped` counts what had no room.

    `events`, `points` and `models` are how many are kept at most; a service is taken for gone after
    `silence` seconds.
    """

    def __init__(self, events: int, points: int, models: int, silence: float) -> None:
        self.feed = Feed(events)
        self.models: dict[str, Live] = {}
        self.services: dict[str, Heard] = {}
        self.lines: OrderedDict[LineKey, Line] = OrderedDict()
        self.dropped = 0
        self.changed: set[str] = set()
        """Models about which something was heard since the cards were made."""
        self.evidence: dict[LineKey, Evidence] = {}
        """The newest evidence on each shadow since it was sent; who sends it clears it."""
        self._points = points
        self._most = models
        self._silence = silence

    def tell(self, told: Fact) -> Told | None:
        """Take a control event; None if it is one of before."""
        self.fold(told)
        return self.feed.add(told)

    def fold(self, told: Fact) -> None:
        """Take what an event says of its model; the feed does not show it."""
        live = self.know(told.model)
        if live is not None:
            live.tell(told)
            self.changed.add(told.model)

    def know(self, model: str) -> Live | None:
        """What was heard of a model; None if there is no room for another."""
        live = self.models.get(model)
        if live is None:
            if len(self.models) >= self._most:
                self.dropped += 1
                return None
            live = self.models[model] = Live()
            self.changed.add(model)
        return live

    def forget(self, model: str) -> None:
        """There is no such model any more."""
        self.models.pop(model, None)
        for key in [key for key in self.lines if key[0] == model]:
            del self.lines[key]

    def measure(self, at: float, stat: AnyStat) -> None:
        """Take a measurement said at `at` (seconds since 1970)."""
        if isinstance(stat, ServiceStats):
            self._service(at, stat)
            return
        live = self.know(stat.about)
        if live is None:
            return
        self.changed.add(stat.about)
        match stat:
            case Evidence():
                self._evidence(stat)
            case JoinStats():
                live.join = stat
            case EstimatedLoss():
                live.estimate = stat
            case DriftScore():
                self.dropped += not live.score(stat)

    def recall(self, key: LineKey, kept: Iterable[Evidence]) -> None:
        """Begin the line of a shadow anew with all its evidence as it was kept, in its order."""
        known, line = self.lines.get(key), Line(self._points)
        for stat in kept:
            line.add(stat)
        if known is not None and known.last is not None:
            line.add(known.last)
        if line.last is not None:
            self._keep(key, line)

    def _service(self, at: float, stats: ServiceStats) -> None:
        heard = self.services.get(stats.about)
        if heard is None:
            if len(self.services) >= MOST_SERVICES:
                self.dropped += 1
                return
            heard = self.services[stats.about] = Heard(self._silence)
        self.dropped += not heard.hear(at, stats)
        for name in (SCORED, OUTCOMES):
            for model, value in labelled(stats.counters, name).items():
                live = self.know(model)
                if live is not None:
                    rate = live.scored if name == SCORED else live.outcomes
                    if rate.add((stats.pid, stats.started), at, value):
                        self.changed.add(model)

    def _evidence(self, stat: Evidence) -> None:
        key = (stat.about, stat.run, stat.role, stat.version)
        if key not in self.lines:
            self._keep(key, Line(self._points))
        if self.lines[key].add(stat):
            self.evidence[key] = stat
            if len(self.evidence) > MOST_LINES:
                del self.evidence[next(iter(self.evidence))]

    def _keep(self, key: LineKey, line: Line) -> None:
        self.lines[key] = line
        if len(self.lines) > MOST_LINES:
            self.lines.popitem(last=False)
            self.dropped += 1
