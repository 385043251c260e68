"""Charts as inline SVG: losses over time, intervals of the evidence, distributions, bars."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from driftloop.cli.report.html import Html, join, tag
from driftloop.cli.report.scales import Scale, around, moments, ticks
from driftloop.console.api.shapes import Timeline
from driftloop.console.api.shapes.past import EstimatePoint, LossPoint
from driftloop.contracts.alarms import Summary

WIDTH: Final = 880.0
LEFT: Final = 56.0
RIGHT: Final = 16.0
FLAG: Final = 24.0
FLAG_ROWS: Final = 4
P = TypeVar("P")


class Flag(NamedTuple):
    """A mark on the time line: its event time, its label, and its kind as a class."""

    at: int
    label: str
    kind: str


class Interval(NamedTuple):
    """A row of the chart of intervals."""

    label: str
    text: str
    lower: float
    upper: float
    mean: float
    margin: float | None
    kind: str


def losses(line: Timeline, flags: Sequence[Flag]) -> Html:
    """Live, frozen and estimated loss over event time, with flags for what happened."""
    top = 14.0 + (FLAG_ROWS * 20.0 if flags else 0.0)
    bottom = top + 226.0
    first, last = _ends(line)
    values = [point[1] for point in (*line.live, *line.frozen)]
    low, high = around([*values, *(point[1] for point in line.estimated)])
    x, y = Scale(first, last, LEFT, WIDTH - RIGHT), Scale(low, high, bottom, top)
    parts: list[Html] = [*_grid(y, low, high), *_times(x, first, last, bottom)]
    parts += _bands(line, x, y)
    parts += _flags(flags, x, top, bottom)
    parts += _lines(line.frozen, x, y, "frozen")
    parts += _lines(line.live, x, y, "live")
    title = f"Mean {line.loss_name} loss over the time of the data"
    return _svg(bottom + 34, title, parts)


def _ends(line: Timeline) -> tuple[int, int]:
    at = [point[0] for point in (*line.live, *line.frozen)]
    at += [point[0] for point in line.estimated]  # often newer than what has a label
    at = at or [line.since_time, line.until_time]
    return min(at), max(max(at), min(at) + 1)


def _grid(y: Scale, low: float, high: float) -> Iterator[Html]:
    for value in ticks(low, high):
        at = y.at(value)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
        yield tag("text", f"{value:.4g}", x=LEFT - 8, y=at + 4, class_="tick end")


def _times(x: Scale, first: int, last: int, bottom: float) -> Iterator[Html]:
    for at, text in moments(first, last):
        place = x.at(at)
        yield tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 5, class_="axis")
        side = "middle" if place < WIDTH - 50 else "end"
        yield tag("text", text, x=min(place, WIDTH - 2), y=bottom + 20, class_=f"tick {side}")
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")


def _bands(line: Timeline, x: Scale, y: Scale) -> Iterator[Html]:
    """The estimates and their bounds; a break where rows are without one for long."""
    widest = _widest(line.live)

    def apart(last: EstimatePoint, after: EstimatePoint) -> bool:
        return after[4] - last[0] > max(after[0] - after[4], widest)

    for part in _stretches(line.estimated, apart):
        upper = [(x.within(at), y.within(high)) for at, _, _, high, _ in part]
        lower = [(x.within(at), y.within(low)) for at, _, low, _, _ in part]
        middle = [(x.within(at), y.within(value)) for at, value, *_ in part]
        yield tag("polygon", points=_points([*upper, *lower[::-1]]), class_="band")
        yield _piece(middle, "estimated")


def _lines(points: Sequence[LossPoint], x: Scale, y: Scale, kind: str) -> Iterator[Html]:
    """A line that breaks where no labelled rows are for long; a point alone is a dot."""
    widest = _widest(points)
    for part in _stretches(points, lambda last, after: after[0] - last[0] > widest):
        yield _piece([(x.at(point[0]), y.at(point[1])) for point in part], kind)


def _widest(points: Sequence[LossPoint]) -> int:
    """The longest time between two points that belong together (milliseconds)."""
    steps = sorted(after[0] - last[0] for last, after in pairwise(points))
    return 4 * steps[len(steps) // 2] if steps else 0


def _stretches(points: Sequence[P], apart: Callable[[P, P], bool]) -> Iterator[Sequence[P]]:
    """The points in parts, neighbours that are `apart` in different ones."""
    starts = [0, *(at for at in range(1, len(points)) if apart(points[at - 1], points[at]))]
    for start, end in pairwise([*starts, len(points)]):
        if start < end:
            yield points[start:end]


def _piece(piece: Sequence[tuple[float, float]], kind: str) -> Html:
    if len(piece) == 1:
        ((x, y),) = piece
        return tag("circle", cx=x, cy=y, r=2, class_=f"dot {kind}")
    return tag("polyline", points=_points(piece), class_=kind)


def _flags(flags: Sequence[Flag], x: Scale, top: float, bottom: float) -> Iterator[Html]:
    """Flags in rows, so that neighbours do not cover each other."""
    ends = [-FLAG] * FLAG_ROWS
    for flag in sorted(flags):
        place = x.within(flag.at)
        row = next((n for n, end in enumerate(ends) if place - end >= FLAG + 4), None)
        if row is None:
            row = ends.index(min(ends))
        ends[row] = place
        head = 8.0 + row * 20.0
        yield tag(
            "g",
            tag("line", x1=place, x2=place, y1=head + 16, y2=bottom),
            tag("rect", x=place - FLAG / 2, y=head, width=FLAG, height=16, rx=3),
            tag("text", flag.label, x=place, y=head + 12, class_="middle"),
            class_=f"flag {flag.kind}",
        )


def intervals(rows: Sequence[Interval]) -> Html:
    """Confidence intervals of loss differences, one below the other, with zero and the margins."""
    names, step = 300.0, 34.0
    known = [value for row in rows for value in (row.lower, row.upper, row.margin or 0.0)]
    low, high = around([*known, 0.0], 0.06) if min(known) >= 0 else around([*known, 0.0])
    x, bottom = Scale(low, high, names, WIDTH - RIGHT), 18.0 + step * len(rows)
    parts: list[Html] = []
    for value in ticks(low, high):
        at = x.at(value)
        parts.append(tag("line", x1=at, x2=at, y1=8, y2=bottom, class_="grid"))
        parts.append(tag("text", f"{value:+.4g}", x=at, y=bottom + 18, class_="tick middle"))
    zero = x.within(0.0)
    parts.append(tag("line", x1=zero, x2=zero, y1=8, y2=bottom, class_="zero"))
    for at, row in enumerate(rows):
        parts += _interval(row, x, 8.0 + step * (at + 0.5))
    return _svg(bottom + 28, "Intervals of the difference of losses", parts)


def _interval(row: Interval, x: Scale, y: float) -> Iterator[Html]:
    yield tag("text", tag("tspan", row.label, class_="strong"), f"  {row.text}", x=4, y=y + 4)
    ends = x.within(row.lower), x.within(row.upper)
    yield tag("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_=f"interval {row.kind}")
    for end in ends:
        yield tag("line", x1=end, x2=end, y1=y - 5, y2=y + 5, class_=f"interval {row.kind}")
    yield tag("circle", cx=x.within(row.mean), cy=y, r=4.5, class_=f"dot {row.kind}")
    if row.margin is not None:
        at = x.within(row.margin)
        yield tag("line", x1=at, x2=at, y1=y - 11, y2=y + 11, class_="margin")


def distribution(its: Summary) -> Html:
    """Shares of the rows before and after a change, side by side."""
    width, height, bottom = 420.0, 150.0, 118.0
    cells = max(len(its.before), 1)
    most = max((*its.before, *its.after), default=0.0) or 1.0
    y, each = Scale(0.0, most, bottom, 8.0), (width - 46.0) / cells
    parts: list[Html] = []
    for value in ticks(0.0, most, 3):
        at = y.at(value)
        parts.append(tag("line", x1=42, x2=width, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", f"{value:.0%}", x=36, y=at + 4, class_="tick end"))
    for at, (before, after) in enumerate(zip(its.before, its.after, strict=False)):
        left = 44.0 + at * each
        for offset, share, kind in ((0.08, before, "before"), (0.5, after, "after")):
            head = y.at(share)
            box = {"width": each * 0.4, "height": bottom - head, "class_": f"bar {kind}"}
            parts.append(tag("rect", x=left + each * offset, y=head, **box))
    parts += _cells(its, each, bottom)
    return _svg(height, f"Distribution of {its.detector}", parts, width)


def _cells(its: Summary, each: float, bottom: float) -> Iterator[Html]:
    """What is written below the cells: names, or every few edges."""
    if its.names:
        room = max(2, int(each / 6.5))
        for at, name in enumerate(its.names):
            short = name if len(name) <= room else f"{name[: room - 1]}…"
            yield tag(
                "text", short, x=44.0 + (at + 0.5) * each, y=bottom + 18, class_="tick middle"
            )
        return
    every = max(1, -(-len(its.edges) // 6))
    for at in range(0, len(its.edges), every):
        text = f"{its.edges[at]:.3g}"
        yield tag("text", text, x=44.0 + at * each, y=bottom + 18, class_="tick middle")


def bars(rows: Sequence[tuple[str, float, str]]) -> Html:
    """Bars with a name on the left and a text at the end."""
    names, step, most = 120.0, 24.0, max((value for _, value, _ in rows), default=0.0) or 1.0
    x = Scale(0.0, most, names, WIDTH - 210.0)
    parts: list[Html] = []
    for at, (name, value, text) in enumerate(rows):
        y = 4.0 + step * at
        parts.append(tag("text", name, x=names - 10, y=y + 14, class_="end"))
        width = max(1.0, x.at(value) - names)
        parts.append(tag("rect", x=names, y=y, width=width, height=18, class_="bar after"))
        parts.append(tag("text", text, x=names + width + 8, y=y + 14))
    return _svg(step * len(rows) + 8, "Costs of the trainings", parts)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(height: float, title: str, parts: Sequence[Html], width: float = WIDTH) -> Html:
    box = f"0 0 {width:.0f} {height:.0f}"
    return tag("svg", tag("title", title), join(*parts), viewBox=box, role="img", aria_label=title)
