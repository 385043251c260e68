"""Estimated performance against the true loss that the labels told later."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from driftloop.contracts.batches import matrix_column
from driftloop.drift.domain.estimates import ROWS, Estimates
from driftloop.evidence.estimated import NEEDED
from driftloop.local.bench.evidence.shifts import SEED, Floats, Stream, streams
from driftloop.local.bench.evidence.table import Cell, Table, Tell
from driftloop.modelspec.check import from_dict
from driftloop.modelspec.losses import row_loss
from driftloop.modelspec.spec import Spec

BATCH: Final = 500
LATE: Final = 2_000
"""Rows by which labels come later than their rows."""
STREAMS: Final = 6
MINUTE_MS: Final = 60_000
BEGIN_MS: Final = 1_357_000_000_000
COLUMNS: Final = (
    *("stream", "windows", "mean true loss", "error of the estimate", "error of the reference"),
    *("error of the newest labelled", "coverage of 95 %", "mean width", "declared void"),
)
CONTROL_COLUMNS: Final = (
    *("rows before the change", "declared void before it", "rows from it to void"),
    *("of which labels were on their way", "windows estimated in between"),
)
NOTE: Final = (
    f"Mean loss of windows of {ROWS:,} rows (Brier; for the regression absolute errors, 4 and more "
    f"are 1), estimated when the window is full; labels come {LATE:,} rows later. Errors are mean "
    "absolute ones against the true loss. Two guesses in place of the estimate: the loss of the "
    f"first {NEEDED:,} labelled rows (reference), and of the newest {ROWS:,}. Models are "
    f"the default estimator, fitted on rows before the stream. Seed {SEED}."
)


class Estimate(NamedTuple):
    """What was said when a window was full, and the loss that its labels told later.

    `newest` is the mean loss of the newest `ROWS` labelled rows at that time; `end` is the number
    of rows up to the end of the window.
    """

    end: int
    estimate: float
    lower: float
    upper: float
    true: float
    newest: float


class Followed(NamedTuple):
    """All windows of a stream; `reference` is the mean loss of the first labelled rows.

    `void` are the numbers of rows after which an estimate was first declared void.
    """

    windows: list[Estimate]
    reference: float
    void: list[int]


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """Two tables; at `scale` 1 each stream has 200,000 rows."""
    rows: list[tuple[Cell, ...]] = []
    control: list[tuple[Cell, ...]] = []
    for at, stream in enumerate(streams(scale)):
        tell(stream.name, at / STREAMS)
        if stream.changed:
            control.append(_control(stream, follow(stream)))
        else:
            rows.append(_row(stream, follow(stream)))
    yield Table(
        name="estimates",
        title="Estimated performance while covariates move",
        columns=COLUMNS,
        rows=tuple(rows),
        note=NOTE,
    )
    yield Table(
        name="estimates-control",
        title="Estimates when the labels themselves change (concept drift)",
        columns=CONTROL_COLUMNS,
        rows=tuple(control),
        note="Late flights in random order, then 30 % of the labels the other way round; without "
        f"any detector's alarm. Seed {SEED}.",
    )


def follow(stream: Stream) -> Followed:
    """Feed a stream through the estimates of the drift service, labels `LATE` rows later."""
    spec = _spec(stream)
    losses = row_loss(spec)(stream.answers, stream.labels)
    estimates = Estimates(spec, 1)
    made, void = list[Estimate](), list[int]()
    told = 0
    for start in range(0, len(losses) - BATCH + 1, BATCH):
        estimates.scored(_batch(stream, start), start)
        said = estimates.stat()
        end = 0 if said is None or said.void else _row_at(said.data_time) + 1
        if said is not None and end > told:
            labelled = slice(max(0, start - LATE - ROWS), start - LATE)
            true, newest = losses[end - ROWS : end].mean(), losses[labelled].mean()
            made.append(Estimate(end, said.estimate, said.lower, said.upper, true, newest))
            told = end
        if start >= LATE:
            estimates.outcomes(_labelled(stream, start - LATE), start)
            after = estimates.stat()
            if said is not None and not said.void and after is not None and after.void:
                void.append(start + BATCH)
    return Followed(made, float(losses[:NEEDED].mean()), void)


def _row(stream: Stream, followed: Followed) -> tuple[Cell, ...]:
    table = np.array(followed.windows, dtype=np.float64).reshape(-1, len(Estimate._fields))
    _, estimate, lower, upper, true, newest = table.T
    return (
        stream.name,
        len(table),
        _rounded(true),
        _rounded(np.abs(estimate - true)),
        _rounded(np.abs(followed.reference - true)),
        _rounded(np.abs(newest - true)),
        f"{100.0 * np.mean((lower <= true) & (true <= upper)):.1f} %",
        _rounded(upper - lower),
        len(followed.void),
    )


def _control(stream: Stream, followed: Followed) -> tuple[Cell, ...]:
    after = [rows for rows in followed.void if rows > stream.changed]
    first = after[0] if after else len(stream.labels)
    between = [w for w in followed.windows if stream.changed < w.end <= first]
    early = len(followed.void) - len(after)
    return (stream.changed, early, first - stream.changed, LATE, len(between))


def _spec(stream: Stream) -> Spec:
    classes = [str(at) for at in range(stream.answers.shape[1])]
    features = [
        {"name": f"f{at}", "nullable": True}
        | ({"type": "category", "categories": [str(c) for c in range(known)]} if known else {})
        for at, known in enumerate(stream.categories)
    ]
    target = {"scale": stream.scale} if stream.scale else {"classes": classes}
    task = "regression" if stream.scale else "classification"
    return from_dict({"name": "stream", "task": task, "target": target, "features": features})


def _batch(stream: Stream, start: int) -> pa.RecordBatch:
    part = slice(start, start + BATCH)
    times = BEGIN_MS + MINUTE_MS * np.arange(part.start, part.stop)
    return pa.RecordBatch.from_pydict(
        {
            "event_time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            "features": matrix_column(stream.features[part]),
            "version": pa.array(np.ones(BATCH, dtype=np.int32)),
            "answer": matrix_column(stream.answers[part]),
        }
    )


def _labelled(stream: Stream, start: int) -> pa.RecordBatch:
    labels = pa.array(stream.labels[start : start + BATCH])
    return _batch(stream, start).append_column("label", labels)


def _row_at(time: int) -> int:
    return (time - BEGIN_MS) // MINUTE_MS


def _rounded(values: Floats) -> float:
    return round(float(values.mean()), 4)
