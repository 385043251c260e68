"""A picture of the year: log loss of served and frozen answers, promotions marked."""

from pathlib import Path

import numpy as np

from driftloop.contracts.events import ModelPromoted, ModelRolledBack, ShadowConcluded
from driftloop.local.demo.watch import Watch


def draw(watch: Watch, path: Path) -> None:
    """Write the picture to `path` (PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    moments, served, frozen = watch.quality.series()
    when = dates.date2num(np.array(moments, dtype="datetime64[ms]"))
    figure, axes = pyplot.subplots(figsize=(12, 5), dpi=110)
    axes.plot(when, frozen, color="#9aa4b2", linewidth=2, label="first model, frozen")
    axes.plot(when, served, color="#1f6feb", linewidth=2, label="served by the loop")
    for kind, at, version in _marks(watch):
        colour = "#2da44e" if kind == "promoted" else "#cf222e"
        axes.axvline(at, color=colour, linewidth=0.8, alpha=0.6)
        axes.annotate(
            f"v{version}",
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=7,
            color=colour,
            ha="right",
            va="top",
        )
    axes.plot([], [], color="#2da44e", linewidth=0.8, label="promotion")
    axes.plot([], [], color="#cf222e", linewidth=0.8, label="roll-back")
    axes.xaxis.set_major_locator(dates.MonthLocator())
    axes.xaxis.set_major_formatter(dates.DateFormatter("%b"))
    axes.set_ylabel("log loss, blocks of 4,000 labelled flights")
    axes.set_title("Flights out of New York, 2013: late by more than 15 minutes?", loc="left")
    axes.legend(frameon=False, loc="upper center", ncols=4, bbox_to_anchor=(0.5, -0.08))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _marks(watch: Watch) -> list[tuple[str, float, int]]:
    """Promotions and roll-backs at the data's time of the evidence they rest on."""
    from matplotlib import dates

    clock = 0
    marks: list[tuple[str, float, int]] = []
    for event, _ in watch.events:
        if isinstance(event, ShadowConcluded):
            clock = event.data_time
        if isinstance(event, ModelPromoted | ModelRolledBack) and clock:
            kind = "promoted" if isinstance(event, ModelPromoted) else "rolled back"
            marks.append((kind, float(dates.date2num(np.datetime64(clock, "ms"))), event.version))
    return marks
