"""What was heard of one model: alarms that stand, its detectors, loss, labels and rates."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from driftloop.console.domain.rates import Rates
from driftloop.console.domain.standing import Stands, standing
from driftloop.contracts import events as e
from driftloop.contracts.facts import Fact
from driftloop.contracts.stats import DriftScore, EstimatedLoss, JoinStats

MOST_ALARMS: Final = 16
MOST_DETECTORS: Final = 200
TREND_POINTS: Final = 30
TREND_ROWS: Final = 256
"""Labelled rows from one point of a trend to the next; drift's mean is of the newest 1,024."""
LOSS: Final = "loss"
"""The detector whose mean is the champion's mean loss."""


class Trend:
    """The course of a mean over rows, in a bounded number of points, the newest last."""

    def __init__(self) -> None:
        self.points: deque[float] = deque(maxlen=TREND_POINTS)
        self._rows = 0

    def add(self, rows: int, mean: float) -> None:
        """Take the mean after so many rows; close to the last point it takes its place."""
        if not math.isfinite(mean):
            return
        if self.points and 0 <= rows - self._rows < TREND_ROWS:
            self.points[-1] = mean
            return
        self.points.append(mean)
        self._rows = rows

    def before(self, means: Sequence[float]) -> None:
        """Put the means as they were kept in front; the newest of these were taken already."""
        taken = list(self.points)
        known = [mean for mean in means if math.isfinite(mean)]
        self.points.clear()
        self.points.extend([*known[: max(0, len(known) - len(taken))], *taken])


class Live:
    """One model as it was heard."""

    def __init__(self) -> None:
        self.crowned: Fact | None = None
        self.rolled_back: Fact | None = None
        self.finished: Fact | None = None
        self.alarms: deque[Stands] = deque(maxlen=MOST_ALARMS)
        self.detectors: dict[str, DriftScore] = {}
        self.loss = Trend()
        self.join: JoinStats | None = None
        self.estimate: EstimatedLoss | None = None
        self.scored = Rates()
        self.outcomes = Rates()
        self.p99_ms: float | None = None

    def tell(self, told: Fact) -> None:
        """Take a control event; one that comes again changes nothing."""
        match told.event:
            case e.ModelPromoted() | e.ModelRolledBack():
                self._crown(told)
            case e.Alarm():
                self._alarm(told, told.event)
            case e.RunFinished() if self.finished is None or self.finished.seq < told.seq:
                self.finished = told

    def score(self, stat: DriftScore) -> bool:
        """Take where a detector stands; False if another had to make room."""
        if stat.detector == LOSS:
            self.loss.add(stat.rows, stat.mean)
        self.detectors[stat.detector] = stat
        if len(self.detectors) <= MOST_DETECTORS:
            return True
        del self.detectors[min(self.detectors, key=lambda name: self.detectors[name].evidence)]
        return False

    @property
    def share(self) -> float:
        """The largest share of what makes an alarm: detectors that share a bound add up."""
        groups: dict[str, float] = {}
        for name, stat in self.detectors.items():
            group = name.partition(":")[0] if name.startswith("prediction") else name
            group = group if group in (LOSS, "label", "prediction") else "features"
            groups[group] = groups.get(group, 0.0) + stat.evidence
        return min(1.0, max(groups.values(), default=0.0))

    def _crown(self, told: Fact) -> None:
        if self.crowned is not None and self.crowned.seq >= told.seq:
            return
        self.crowned = told
        self.rolled_back = told if isinstance(told.event, e.ModelRolledBack) else None
        # What is known of the champion before says nothing of this one.
        earlier = [its for its in self.alarms if its.seq > told.seq]
        self.alarms.clear()
        self.alarms.extend(earlier)
        self.detectors.clear()
        self.estimate = None

    def _alarm(self, told: Fact, alarm: e.Alarm) -> None:
        if self.crowned is not None and told.seq < self.crowned.seq:
            return
        if any(its.id == told.id for its in self.alarms):
            return
        self.alarms.append(standing(told, alarm))
