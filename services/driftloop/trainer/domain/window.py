"""The training window and its holdout, cut at batch boundaries of the log."""

from collections.abc import Sequence
from typing import NamedTuple

from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.spec import Training


class Part(NamedTuple):
    """One batch of the log: its sequence, rows, and newest event time (milliseconds)."""

    seq: int
    rows: int
    newest: int


class Window(NamedTuple):
    """Batches `first` to `cut` (exclusive) to train on, the rest held out, and why these."""

    first: int
    cut: int
    why: str


def choose(parts: Sequence[Part], training: Training, since_time: int) -> Window:
    """Rows since the change where there are enough of them, otherwise the newest window.

    `parts` are the newest batches of the log in order, about `training.window_rows` rows of them;
    `since_time` is the estimated change (milliseconds; 0: none). The holdout is the newest share in
    the order of the log. Raises `InvalidInput` when there are too few rows.
    """
    rows = sum(p.rows for p in parts)
    if rows < training.min_rows:
        raise InvalidInput(
            f"training rows: {rows} labelled rows are there; "
            f"accepted: at least training.min_rows = {training.min_rows}"
        )
    first, why = 0, f"the newest {rows} rows"
    if since_time:
        changed = next((at for at, p in enumerate(parts) if p.newest >= since_time), len(parts))
        left = sum(p.rows for p in parts[changed:])
        if left >= training.min_rows_since_change:
            first, why = changed, f"{left} rows since the change"
        else:
            why = f"the newest {rows} rows: only {left} since the change"
    return Window(first, _cut(parts, first, training.holdout), why)


def _cut(parts: Sequence[Part], first: int, holdout: float) -> int:
    """Where the holdout begins: at least its share of the rows, and a batch left to train on."""
    wanted = holdout * sum(p.rows for p in parts[first:])
    cut, held = len(parts), 0
    while held < wanted and cut > first + 1:
        cut -= 1
        held += parts[cut].rows
    if cut == len(parts):
        raise InvalidInput(
            "training rows: all in one batch of the log; accepted: two batches or more"
        )
    return cut
