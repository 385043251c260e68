"""The training sets that are tried in one run, and their common holdout, cut at batches of the log.

Whether old rows still help cannot be told from the rows: examples since the change, the newest
examples and examples weighted by age each win somewhere (Klinkenberg 2004, "Learning drifting
concepts: example selection vs. example weighting"). So they are compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

from driftloop.contracts.errors import InvalidInput
from driftloop.contracts.manifest import Window
from driftloop.modelspec.spec import Training, WindowName


class Part(NamedTuple):
    """One batch of the log: its sequence, rows, and newest event time (milliseconds)."""

    seq: int
    rows: int
    newest: int


class Plan(NamedTuple):
    """Batches `first` to `cut` (exclusive) cover every training set; those from `cut` are held out.

    All windows end at `cut`, so one of `rows` rows is the newest `rows` of the batches before it.
    """

    first: int
    cut: int
    windows: tuple[Window, ...]


def choose(parts: Sequence[Part], training: Training, since_time: int) -> Plan:
    """What `training.windows` come to on these rows: the newest ones alone when none can be used.

    `parts` are the newest batches of the log in order, about `training.window_rows` rows of them;
    `since_time` is the estimated change (milliseconds; 0: none). The holdout is the newest share of
    the shortest window, at most `holdout_rows`, the same for all: all are judged on rows of now.
    Raises `InvalidInput` when there are too few rows.
    """
    rows = sum(p.rows for p in parts)
    if rows < training.min_rows:
        raise InvalidInput(
            f"training rows: {rows} labelled rows are there; "
            f"accepted: at least training.min_rows = {training.min_rows}"
        )
    changed = next((at for at, p in enumerate(parts) if p.newest >= since_time), len(parts))
    why_not = _not_since(parts, changed, training) if since_time else "there was no change"
    names = [n for n in training.windows if n != "since_change" or not why_not] or ["newest"]
    begins = {name: changed if name == "since_change" else 0 for name in names}
    cut = _cut(parts, max(begins.values()), training)
    windows = [_window(name, parts, at, cut, training) for name, at in begins.items()]
    if since_time and "since_change" in training.windows and why_not:
        windows.append(Window(name="since_change", skipped=why_not))
    return Plan(min(begins.values()), cut, tuple(windows))


def _not_since(parts: Sequence[Part], changed: int, training: Training) -> str:
    """Why the rows since the change are no training set; empty if they are one."""
    rows = sum(p.rows for p in parts[changed:])
    if rows < training.min_rows_since_change:
        return f"only {rows} rows since the change"
    if changed == 0 and "newest" in training.windows:
        return "all rows are newer than the change"
    return "all rows since the change in one batch" if len(parts) - changed < 2 else ""


def _window(
    name: WindowName, parts: Sequence[Part], first: int, cut: int, training: Training
) -> Window:
    rows, held = (sum(p.rows for p in part) for part in (parts[first:cut], parts[cut:]))
    half_life = max(1, round(training.half_life * rows)) if name == "weighted" else 0
    why = {
        "newest": f"the newest {rows + held} rows",
        "since_change": f"{rows + held} rows since the change",
        "weighted": f"the newest {rows + held} rows, half the weight each {half_life}",
    }
    return Window(
        name=name, why=why[name], rows=rows, first_seq=parts[first].seq, half_life=half_life
    )


def _cut(parts: Sequence[Part], first: int, training: Training) -> int:
    """Where the holdout begins: at least its rows, and a batch left to train on."""
    share = training.holdout * sum(p.rows for p in parts[first:])
    wanted = min(share, training.holdout_rows)
    cut, held = len(parts), 0
    while held < wanted and cut > first + 1:
        cut -= 1
        held += parts[cut].rows
    if cut == len(parts):
        raise InvalidInput(
            "training rows: all in one batch of the log; accepted: two batches or more"
        )
    return cut


def words(windows: Sequence[Window]) -> str:
    """What is tried or, once one is chosen, what it was and how the others did, for people."""
    usable = [w for w in windows if not w.skipped]
    chosen = next((w for w in usable if w.chosen), None)
    told = [" or ".join(w.why for w in usable)]
    if chosen is not None:
        told = [chosen.why]
        if len(usable) > 1:
            told = [_judged(w) for w in (chosen, *(w for w in usable if w is not chosen))]
    told += [f"{w.name} skipped: {w.skipped}" for w in windows if w.skipped]
    return "; ".join(told)


def _judged(window: Window) -> str:
    return f"{'' if window.chosen else 'not '}{window.why} (loss {window.loss:.5f})"
