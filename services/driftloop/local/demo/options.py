"""What a demo run can be told."""

from pathlib import Path

import msgspec


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `driftloop demo`."""

    shuffle: int | None = None
    """Seed of the control: the same rows in shuffled order."""
    rows: int = 0
    """Replay only the first so many rows (0: all)."""
    bootstrap_rows: int = 25_000
    """Labelled rows before the first model is trained."""
    data: Path = Path(".driftloop/demo")
    """Folder of the log and the tables; that of an earlier demo is emptied first."""
    report: Path = Path("demo-report.json")
    plot: Path | None = Path("demo-report.png")
    slice_hours: float = 3.0
    """Rows are sent in slices of so much event time; labels follow when each flight has landed."""
    in_flight: int = 300
    """Labelled rows that may be on their way through the services before the replay waits."""
    hold: bool = True
    """Stop the replay's clock while a training or an offline gate is under way."""
