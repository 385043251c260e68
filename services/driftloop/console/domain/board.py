"""All the console remembers: a fold over events and measurements, bounded in every direction."""

from collections import OrderedDict, deque
from typing import Final

from driftloop.console.domain.evidence import Line
from driftloop.console.domain.rates import Rate, labelled
from driftloop.contracts.events import ModelPromoted, ModelRolledBack
from driftloop.contracts.facts import Fact
from driftloop.contracts.stats import AnyStat, Evidence, JoinStats, ServiceStats

MOST_MODELS: Final = 200
MOST_LINES: Final = 64
MOST_SERVICES: Final = 64
SCORED: Final = "driftloop_scored_rows_total"
OUTCOMES: Final = "driftloop_outcomes_rows_total"

LineKey = tuple[str, str, str, int]
"""Model, run, role and version of a shadow."""


class Heard:
    """A service by its last words, and how busy it is."""

    def __init__(self, at: float, stats: ServiceStats) -> None:
        self.at = at
        self.stats = stats
        self.cpu = Rate()
        self.hear(at, stats)

    def hear(self, at: float, stats: ServiceStats) -> None:
        """Take newer words."""
        self.at, self.stats = at, stats
        self.cpu.add(at, stats.cpu_seconds)


class Board:
    """What was heard so far."""

    def __init__(self, events_kept: int, points_kept: int) -> None:
        self.events: deque[Fact] = deque(maxlen=events_kept)
        self.crowned: dict[str, Fact] = {}
        self.models: OrderedDict[str, None] = OrderedDict()
        self.services: dict[str, Heard] = {}
        self.joins: dict[str, JoinStats] = {}
        self.lines: OrderedDict[LineKey, Line] = OrderedDict()
        self.rates: dict[tuple[str, str], Rate] = {}
        self.dropped = 0
        self._points_kept = points_kept

    def tell(self, told: Fact) -> None:
        """Take a control event; of more than we keep, the oldest goes and is counted."""
        if self.events and told.seq <= self.events[-1].seq:
            return
        self.dropped += len(self.events) == self.events.maxlen
        self.events.append(told)
        self.know(told.model)
        if isinstance(told.event, ModelPromoted | ModelRolledBack):
            self.crown(told)

    def crown(self, told: Fact) -> None:
        """Note the newest promotion or roll-back of a model."""
        known = self.crowned.get(told.model)
        if known is None or known.seq < told.seq:
            self.crowned[told.model] = told

    def know(self, model: str) -> None:
        """Note that there is such a model."""
        if model not in self.models and len(self.models) >= MOST_MODELS:
            self.dropped += 1
            return
        self.models[model] = None

    def measure(self, at: float, stat: AnyStat) -> None:
        """Take a measurement said at `at` (seconds since 1970)."""
        match stat:
            case ServiceStats():
                self._service(at, stat)
            case Evidence():
                self._evidence(stat)
            case JoinStats():
                self.know(stat.about)
                if stat.about in self.models:
                    self.joins[stat.about] = stat

    def rate(self, what: str, model: str, now: float) -> float:
        """Rows a second of a counter of a model."""
        found = self.rates.get((what, model))
        return found.per_second(now) if found else 0.0

    def line(self, key: LineKey) -> Line | None:
        """The evidence on a shadow."""
        return self.lines.get(key)

    def _service(self, at: float, stats: ServiceStats) -> None:
        heard = self.services.get(stats.about)
        if heard is not None:
            heard.hear(at, stats)
        elif len(self.services) < MOST_SERVICES:
            self.services[stats.about] = Heard(at, stats)
        else:
            self.dropped += 1
        for name in (SCORED, OUTCOMES):
            for model, value in labelled(stats.counters, name).items():
                self.know(model)
                if model in self.models:
                    self.rates.setdefault((name, model), Rate()).add(at, value)

    def _evidence(self, stat: Evidence) -> None:
        key = (stat.about, stat.run, stat.role, stat.version)
        if key not in self.lines:
            self.lines[key] = Line(self._points_kept)
            while len(self.lines) > MOST_LINES:
                self.lines.popitem(last=False)
        self.lines[key].add(stat)
