"""The evidence on a shadow over its rows, in a bounded number of points."""

import msgspec

from driftloop.contracts.stats import Evidence

Point = tuple[int, float, float, float]
"""Paired rows, lower bound, upper bound, mean of the loss difference."""


class Line(msgspec.Struct, kw_only=True):
    """The course of one confidence sequence; when it is full every second point goes."""

    most: int
    last: Evidence | None = None
    points: list[Point] = []
    _every: int = 1
    _seen: int = 0

    def add(self, evidence: Evidence) -> None:
        """Take the next point; the newest is always the last one."""
        point = (evidence.rows, evidence.lower, evidence.upper, evidence.mean)
        if self.last is not None and evidence.rows <= self.last.rows:
            return
        provisional = self._seen % self._every != 0 or (self._seen == 0 and not self.points)
        if self.points and (self._seen - 1) % self._every != 0:
            self.points.pop()
        self.points.append(point)
        self._seen += 1
        self.last = evidence
        del provisional
        if len(self.points) > self.most:
            self.points = self.points[::2]
            self._every *= 2
