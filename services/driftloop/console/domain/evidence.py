"""The evidence on a shadow over its rows, in a bounded number of points."""

from driftloop.console.api.shapes.model import Point
from driftloop.contracts.stats import Evidence


class Line:
    """The course of one confidence sequence; when it is full, every second point goes."""

    def __init__(self, most: int) -> None:
        self.last: Evidence | None = None
        self._most = most
        self._points: list[Point] = []
        self._every = 1
        self._seen = 0

    def add(self, evidence: Evidence) -> bool:
        """Take what is newer than the last point; whether it was."""
        if self.last is not None and evidence.rows <= self.last.rows:
            return False
        if self._seen % self._every == 0:
            self._points.append(point(evidence))
        self._seen += 1
        self.last = evidence
        if len(self._points) > self._most:
            self._points = self._points[::2]
            self._every *= 2
        return True

    @property
    def points(self) -> list[Point]:
        """The course, the newest point last."""
        if self.last is None or self._points[-1][0] == self.last.rows:
            return list(self._points)
        return [*self._points, point(self.last)]


def point(evidence: Evidence) -> Point:
    """Evidence as a point of its line."""
    return (evidence.rows, evidence.lower, evidence.upper, evidence.mean)
