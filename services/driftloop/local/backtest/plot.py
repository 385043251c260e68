"""A picture of a backtest: the main metric of served, frozen and periodic answers over time."""

from pathlib import Path

from driftloop.local.backtest.loop import Played
from driftloop.local.backtest.quality import MAIN, Compared, in_blocks
from driftloop.local.demo import plot as demo
from driftloop.modelspec.spec import Spec

LINES = {
    "frozen": "first model, frozen",
    "periodic": "retrained periodically",
    "served": "served by the loop",
}


def draw(spec: Spec, played: Played, compared: Compared, path: Path) -> None:
    """Write the picture to `path`; its ending says the format."""
    rows = max(100, min(4_000, len(compared.labels) // 40))
    when, lines = in_blocks(spec, compared, tuple(LINES), rows)
    demo.picture(
        path,
        when,
        {LINES[name]: values for name, values in lines.items()},
        demo.marks(played.events),
        title=spec.description or spec.name,
        unit=f"{MAIN[spec.task].replace('_', ' ')}, blocks of {rows:,} labelled rows",
    )
