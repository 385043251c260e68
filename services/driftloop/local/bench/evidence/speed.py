"""How much a watched value costs: the monitor, a loop over River's ADWIN, and the whole service."""

import time
import tracemalloc
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import numpy as np
import pyarrow as pa
from river.drift import ADWIN

from driftloop.contracts.batches import EVENT_ID, EVENT_TIME, decode, encode, matrix_column
from driftloop.drift.domain.monitor import Monitor
from driftloop.local.bench.evidence.table import Cell, Table, Tell
from driftloop.local.bench.stages.run import StageOptions, run_stages
from driftloop.modelspec.spec import Drift, Feature, Spec, Target

WIDTHS: Final = (5, 20, 100)
ROWS: Final = 1_024
"""Of a batch."""
REPEATS: Final = 5
REFERENCE: Final = 2_000
SEED: Final = 71


def tables(scale: float, tell: Tell) -> Iterator[Table]:
    """Cost of a value by columns, the ratio to River's ADWIN, and memory of a feature."""
    batches = max(int(200 * scale), 8)
    repeats = max(int(REPEATS * scale), 1)
    rows: list[tuple[Cell, ...]] = []
    for at, width in enumerate(WIDTHS):
        tell(f"speed: {width} columns", at / (len(WIDTHS) + 1))
        rows.append(_monitor(width, batches, repeats))
    tell("speed: the whole service", len(WIDTHS) / (len(WIDTHS) + 1))
    whole = _service(max(int(1_000 * scale), 20), repeats)
    rows.append(whole)
    yield Table(
        name="speed",
        title="What a value costs",
        columns=("what", "columns", "us a value", "River's ADWIN, us", "ratio", "kB a feature"),
        rows=tuple(rows),
        note=(
            f"CPU time of one core, batches of {ROWS:,} rows as they are in the log (Arrow IPC), "
            f"decoded; medians of {repeats}, ADWIN's loop over the same columns in turn with it. "
            "A value is a row of a feature. The whole service reads JetStream, decodes, watches "
            "20 features and the answer, and follows its log. Memory: what a monitor holds beyond "
            f"its first rows after {batches * ROWS:,} rows. Seed {SEED}."
        ),
    )


def _monitor(width: int, batches: int, repeats: int) -> tuple[Cell, ...]:
    drawn = np.random.default_rng(SEED)
    payloads = [_payload(drawn, width, at) for at in range(batches)]
    column = np.ascontiguousarray(drawn.standard_normal(20 * ROWS)).tolist()
    ours, loop = [], []
    for _ in range(repeats):
        ours.append(_watch(width, payloads))
        loop.append(_loop(column))
    ratio = median(a / b for a, b in zip(loop, ours, strict=True))
    return (
        "monitor",
        width,
        round(median(ours), 3),
        round(median(loop), 3),
        round(ratio, 2),
        round(_memory(width, payloads), 1),
    )


def _watch(width: int, payloads: Sequence[bytes]) -> float:
    """Microseconds of CPU a value, once the reference is learned."""
    monitor = Monitor(_spec(width), 1)
    learned = REFERENCE // ROWS + 1
    _feed(monitor, payloads[:learned])
    started = time.process_time()
    _feed(monitor, payloads[learned:])
    values = (len(payloads) - learned) * ROWS * width
    return (time.process_time() - started) / values * 1e6


def _loop(column: Sequence[float]) -> float:
    """Microseconds of CPU an update of River's ADWIN, fed value by value."""
    detector = ADWIN(delta=1e-6)
    started = time.process_time()
    for value in column:
        detector.update(value)
    return (time.process_time() - started) / len(column) * 1e6


def _memory(width: int, payloads: Sequence[bytes]) -> float:
    """Kilobytes a feature that a monitor holds."""
    tracemalloc.start()
    monitor = Monitor(_spec(width), 1)
    _feed(monitor, payloads)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / width / 1000


def _feed(monitor: Monitor, payloads: Sequence[bytes]) -> None:
    for seq, payload in enumerate(payloads, 1):
        for _ in monitor.scored(decode(payload), seq):
            continue


def _spec(width: int) -> Spec:
    return Spec(
        name="bench",
        task="classification",
        target=Target(classes=("no", "yes")),
        features=tuple(Feature(name=f"f{at}") for at in range(width)),
        drift=Drift(reference_rows=REFERENCE, predictions=False, labels=False, loss=False),
    )


def _payload(drawn: np.random.Generator, width: int, at: int) -> bytes:
    """A batch of scored rows, without an answer."""
    times = pa.array(np.arange(at * ROWS, (at + 1) * ROWS), EVENT_TIME.type)
    matrix = drawn.standard_normal((ROWS, width), dtype=np.float32)
    answers = np.full((ROWS, 2), 0.5, dtype=np.float32)
    return encode(
        pa.RecordBatch.from_arrays(
            [
                pa.array([f"r{row}" for row in range(ROWS)], EVENT_ID.type),
                times,
                matrix_column(matrix),
                matrix_column(answers),
                pa.array(np.ones(ROWS, dtype=np.int32)),
            ],
            names=["event_id", "event_time", "features", "answer", "version"],
        )
    )


def _service(batches: int, repeats: int) -> tuple[Cell, ...]:
    options = StageOptions(stages="drift", batches=batches, rows=ROWS, repeats=repeats)
    (result,) = run_stages(options, lambda _: None)
    (line,) = result.lines
    return ("whole service", 20, round(1e6 / line.rows_per_core_s / 20, 3), "", "", "")
