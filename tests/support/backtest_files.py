"""A small world for backtests: two numbers and a place; the labels turn over half-way."""

from pathlib import Path

from pyarrow import parquet

from driftloop.local.backtest.table import Labelled, labelled
from driftloop.modelspec.spec import Spec
from tests.support.world import world, world_spec

ROWS, CHANGE = 7_000, 3_000
SLICE_MS = 2 * 3_600_000


def spec() -> Spec:
    """The spec of `tests.support.world`."""
    return world_spec("world")


def rows(count: int = ROWS, change: int = CHANGE) -> Labelled:
    """Its rows with their labels, half an hour after them."""
    table = world(count, change)
    times = table["label_time"].combine_chunks()
    without = table.drop_columns(["label", "label_time"])
    return labelled(without, spec(), table["label"].combine_chunks(), times, 0)


def write(folder: Path, count: int = ROWS) -> Path:
    """The same as a Parquet file, its label times in a column `came`."""
    table = world(count, CHANGE)
    file = folder / "world.parquet"
    parquet.write_table(table.rename_columns({"label_time": "came"}), file)
    return file
