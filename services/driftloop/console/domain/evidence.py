"""The evidence on a shadow over its rows, in a bounded number of points."""

from driftloop.contracts.stats import Evidence

Point = tuple[int, float, float, float]
"""Paired rows, lower bound, upper bound, mean of the loss difference."""


class Line:
    """The course of one confidence sequence; when it is full, every second point goes."""

    def __init__(self, most: int) -> None:
        self.last: Evidence | None = None
        self._most = most
        self._points: list[Point] = []
        self._every = 1
        self._seen = 0

    def add(self, evidence: Evidence) -> None:
        """Take what is newer than the last point."""
        if self.last is not None and evidence.rows <= self.last.rows:
            return
        if self._seen % self._every == 0:
            self._points.append(_point(evidence))
        self._seen += 1
        self.last = evidence
        if len(self._points) > self._most:
            self._points = self._points[::2]
            self._every *= 2

    @property
    def points(self) -> list[Point]:
        """The course, the newest point last."""
        if self.last is None or self._points[-1][0] == self.last.rows:
            return list(self._points)
        return [*self._points, _point(self.last)]


def _point(evidence: Evidence) -> Point:
    return (evidence.rows, evidence.lower, evidence.upper, evidence.mean)
