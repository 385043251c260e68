"""The live view of the demo: rate, champion, run, evidence, served against frozen loss."""

import time
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from driftloop.contracts.events import AnyEvent
from driftloop.contracts.facts import line
from driftloop.local.demo.replay import Progress
from driftloop.local.demo.watch import Watch


class View:
    """Renders where the replay and the loop stand."""

    def __init__(self, progress: Progress, watch: Watch, console_url: str) -> None:
        self._progress = progress
        self._watch = watch
        self._url = console_url
        self._started = time.monotonic()

    def __rich__(self) -> RenderableType:
        """The view as it is now."""
        bar = ProgressBar(total=max(self._progress.total, 1), completed=self._progress.rows)
        parts: list[RenderableType] = [self._numbers(), bar, self._evidence(), Text()]
        parts += [_line(event) for event in self._watch.feed]
        title = f"Driftloop demo: a year of flights    live console: {self._url}"
        return Panel(Group(*parts), title=title, title_align="left")

    def _evidence(self) -> Text:
        """The confidence sequence of the shadow, if one is on trial."""
        seen = self._watch.evidence
        if seen is None:
            return Text("no shadow on trial", style="dim")
        return Text.assemble(
            (f"shadow v{seen.version} ({seen.role}) ", "bold"),
            f"against v{seen.champion}: loss difference {seen.mean:+.5f} ",
            f"in [{seen.lower:+.5f}, {seen.upper:+.5f}] on {seen.rows:,} rows",
        )

    def _numbers(self) -> Table:
        progress, watch = self._progress, self._watch
        seconds = max(time.monotonic() - self._started, 0.1)
        served, frozen = watch.quality.lately()
        run = f"{watch.run.run} ({watch.run.trigger})" if watch.run else "none"
        table = Table.grid(padding=(0, 3))
        table.add_row(
            f"clock [bold]{_day(progress.clock)}[/]",
            f"rows [bold]{progress.rows:,}[/] of {progress.total:,}",
            f"[bold]{progress.rows / seconds:,.0f}[/] rows/s",
            f"held {progress.held:.0f} s",
        )
        table.add_row(
            f"champion [bold]{f'v{watch.champion}' if watch.champion else 'none yet'}[/]",
            f"stage [bold]{watch.stage}[/]",
            f"run {run}",
            f"log loss lately: served [bold]{served:.4f}[/], frozen {frozen:.4f}" if served else "",
        )
        return table


def plain(progress: Progress, watch: Watch) -> str:
    """One line of progress, for a terminal that is not one."""
    served, frozen = watch.quality.lately()
    champion = f"v{watch.champion}" if watch.champion else "none"
    share = 100 * progress.rows / max(progress.total, 1)
    return (
        f"{share:5.1f} %  {_day(progress.clock)}  {progress.rows:,} rows  champion {champion}  "
        f"{watch.stage}  served {served:.4f} frozen {frozen:.4f}"
    )


def _line(event: AnyEvent) -> Text:
    colour = {
        "model.promoted": "green",
        "model.rolled_back": "magenta",
        "candidate.rejected": "yellow",
        "training.failed": "red",
        "performance.degraded": "cyan",
        "drift.detected": "cyan",
    }.get(event.kind, "")
    text = f"{event.kind:<22} {line(event)}"
    return Text(text, style=colour, no_wrap=True, overflow="ellipsis")


def _day(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d") if millis else "-"
