"""A picture of the year: log loss of served and frozen answers, promotions marked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contracts.events import AnyEvent, ModelPromoted, ModelRolledBack, ShadowConcluded
from driftloop.local.demo.watch import Watch


def draw(watch: Watch, path: Path) -> None:
    """Write the picture to `path` (PNG)."""
    moments, served, frozen = watch.quality.series()
    picture(
        path,
        moments,
        {"first model, frozen": frozen, "served by the loop": served},
        marks(event for event, _ in watch.events),
        title="Flights out of New York, 2013: late by more than 15 minutes?",
        unit="log loss, blocks of 4,000 labelled flights",
    )


def picture(
    path: Path,
    moments: list[int],
    lines: dict[str, list[float]],
    marked: list[tuple[str, float, int]],
    *,
    title: str,
    unit: str,
) -> None:
    """Lines over event time (milliseconds), the last in blue, with promotions and roll-backs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    when = dates.date2num(np.array(moments, dtype="datetime64[ms]"))
    figure, axes = pyplot.subplots(figsize=(12, 5), dpi=110)
    colours = ("#9aa4b2", "#bf8700", "#8250df")
    for at, (name, values) in enumerate(lines.items()):
        colour = "#1f6feb" if at == len(lines) - 1 else colours[at]
        axes.plot(when, values, color=colour, linewidth=2, label=name)
    _mark(axes, marked)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, loc="upper center", ncols=5, bbox_to_anchor=(0.5, -0.08))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _mark(axes: Any, marked: list[tuple[str, float, int]]) -> None:
    for kind, when, version in marked:
        promoted = kind == "promoted"
        colour = "#2da44e" if promoted else "#cf222e"
        axes.axvline(when, color=colour, linewidth=0.8, alpha=0.6)
        axes.annotate(
            f"v{version}",
            (when, 1.0),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=7,
            color=colour,
            ha="right" if promoted else "left",  # a roll-back may be right behind
            va="top",
        )
    axes.plot([], [], color="#2da44e", linewidth=0.8, label="promotion")
    axes.plot([], [], color="#cf222e", linewidth=0.8, label="roll-back")


def marks(events: Iterable[AnyEvent]) -> list[tuple[str, float, int]]:
    """Promotions and roll-backs at the data's time of the evidence they rest on."""
    from matplotlib import dates

    clock = 0
    made: list[tuple[str, float, int]] = []
    for event in events:
        if isinstance(event, ShadowConcluded):
            clock = event.data_time
        if isinstance(event, ModelPromoted | ModelRolledBack) and clock:
            kind = "promoted" if isinstance(event, ModelPromoted) else "rolled back"
            made.append((kind, float(dates.date2num(np.datetime64(clock, "ms"))), event.version))
    return made
