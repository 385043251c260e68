"""What every row passes through works on columns: more rows in a batch make no more Python calls.

Counted are calls of Python functions, not time: a loop over rows that calls one shows at once.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftloop.contracts.batches import decode, encode, matrix_of
from driftloop.drift.domain.monitor import Monitor
from driftloop.feedback.domain.join import Join
from driftloop.feedback.domain.waiting import Said
from driftloop.inference.domain import scored as stream
from driftloop.modelspec.contract import Contract
from driftloop.telemetry.domain import rows as tables
from tests.support.loop import BEGIN_MS, labels, outcomes, scored, spec
from tests.support.scored import scored_batch

FEW, MANY = 256, 2_048
ALLOWED = 40
"""Calls more for eight times the rows: a hash table has a few more rows to try again."""
WINDOWS = {"drift_of_scored_rows": 200, "drift_of_outcomes": 400}
"""And where a loss is estimated for each thousand rows."""
WAITING = 20_000
SAID = Said()

Act = Callable[[], object]


def calls(act: Act) -> int:
    """Python functions that are called while something is done."""
    count = 0

    def heard(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(heard)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def names(rows: int, start: int = 0) -> list[str]:
    return [f"e{at}" for at in range(start, start + rows)]


def predictions(rows: int, start: int = 0) -> pa.RecordBatch:
    drawn = np.random.default_rng(start)
    return scored(
        names(rows, start),
        features=drawn.normal(size=(rows, 2)),
        version=1,
        chances=drawn.random(rows),
        times=[BEGIN_MS + at for at in range(rows)],
    )


def sent(rows: int, start: int = 0, text: str = "yes") -> pa.RecordBatch:
    return labels([(event_id, text) for event_id in names(rows, start)])


def a_join() -> Join:
    """A join in which rows wait already, so that its table need not grow."""
    join = Join(spec(join={"labels_wait": "1s", "predictions_wait": "1s"}))
    join.add_scored(predictions(WAITING), 1, 0.0, SAID)
    return join


def predictions_that_wait(rows: int) -> Act:
    join, batch = a_join(), predictions(rows, WAITING)
    return lambda: join.add_scored(batch, 2, 0.0, SAID)


def predictions_that_come_again(rows: int) -> Act:
    join, batch = a_join(), predictions(rows)
    return lambda: join.add_scored(batch, 2, 0.0, SAID)


def labels_that_meet(rows: int) -> Act:
    join, batch = a_join(), sent(rows)
    return lambda: join.add_labels(batch, 1, 0.0, SAID)


def labels_in_any_order(rows: int) -> Act:
    join = a_join()
    batch = sent(WAITING).take(pa.array(np.random.default_rng(0).permutation(WAITING)[:rows]))
    return lambda: join.add_labels(batch, 1, 0.0, SAID)


def labels_that_are_early(rows: int) -> Act:
    join, batch = a_join(), sent(rows, WAITING)
    return lambda: join.add_labels(batch, 1, 0.0, SAID)


def labels_that_are_refused(rows: int) -> Act:
    join, batch = a_join(), sent(rows, text="perhaps")
    return lambda: join.add_labels(batch, 1, 0.0, SAID)


def labels_of_numbers(rows: int) -> Act:
    join = Join(spec(task="regression", target={"scale": 2.0}))
    join.add_scored(predictions(WAITING), 1, 0.0, SAID)
    batch = sent(rows, text="-2.5")
    return lambda: join.add_labels(batch, 1, 0.0, SAID)


def predictions_for_early_labels(rows: int) -> Act:
    join, batch = a_join(), predictions(rows, WAITING)
    join.add_labels(sent(rows, WAITING), 1, 0.0, SAID)
    return lambda: join.add_scored(batch, 2, 0.0, SAID)


def rows_that_are_quarantined(rows: int) -> Act:
    join, ids = a_join(), pa.array(names(rows, WAITING))
    join.refuse(pa.array(names(WAITING, 2 * WAITING)), 1)
    join.add_labels(sent(rows, WAITING), 1, 0.0, SAID)
    return lambda: join.refuse(ids, 1)


def labels_that_expire(rows: int) -> Act:
    join = a_join()
    join.add_labels(sent(rows, WAITING), 1, 0.0, SAID)
    return lambda: join.expire(10.0, 0.0)


def a_monitor() -> Monitor:
    """A monitor whose detectors have their scales."""
    monitor = Monitor(spec(drift={"reference_rows": 500}), 1)
    list(monitor.scored(predictions(1_000), 1))
    list(monitor.outcomes(outcomes(np.zeros(1_000), version=1, chances=np.full(1_000, 0.1)), 1))
    return monitor


def drift_of_scored_rows(rows: int) -> Act:
    monitor, batch = a_monitor(), predictions(rows)
    return lambda: list(monitor.scored(batch, 2))


def drift_of_outcomes(rows: int) -> Act:
    monitor = a_monitor()
    batch = outcomes(np.zeros(rows), version=1, chances=np.full(rows, 0.1))
    return lambda: list(monitor.outcomes(batch, 2))


def tables_of_scored_rows(rows: int) -> Act:
    batch = scored_batch(rows, shadows=[2, 3])
    return lambda: tables.scored("m", 1, batch)


def tables_of_outcomes(rows: int) -> Act:
    parts = [
        tables.Part(tables.outcomes, "m", seq, scored_batch(rows, labelled=True)) for seq in (1, 2)
    ]
    return lambda: tables.together(parts)


def tables_of_labels(rows: int) -> Act:
    batch = sent(rows)
    return lambda: tables.labels("m", 1, batch)


def tables_of_valid_rows(rows: int) -> Act:
    batch = scored_batch(rows)
    return lambda: tables.valid("m", 1, batch)


def messages(rows: int) -> Act:
    batch = predictions(rows)
    return lambda: decode(encode(batch))


def raw(rows: int, **columns: pa.Array) -> pa.RecordBatch:
    drawn = np.random.default_rng(0)
    made = {
        "event_id": pa.array(names(rows)),
        "event_time": pa.array(["2013-01-01T00:00:00Z"] * rows),
        "a": pa.array(drawn.random(rows)),
        "b": pa.array(drawn.random(rows), mask=drawn.random(rows) < 0.1),
    }
    return pa.RecordBatch.from_pydict(made | columns)


def check_of_good_rows(rows: int) -> Act:
    contract, batch = Contract(spec()), raw(rows)
    return lambda: contract.check(batch, BEGIN_MS * 2)


def check_of_batches_as_they_mostly_are(rows: int) -> Act:
    """Of the usual types, several at once, and ids that stand in more than one of them."""
    contract = Contract(spec())
    times = pa.array([BEGIN_MS] * rows, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    batch = raw(rows, event_time=times)
    return lambda: contract.check_each([batch, batch, batch], BEGIN_MS * 2)


def scoring(rows: int) -> Act:
    """What the stream's scoring does around the run of the model."""
    batch = predictions(rows).select(["event_id", "event_time", "key", "features"])
    answers = matrix_of(predictions(2 * rows).column("answer"))

    def act() -> None:
        inputs = [stream.Input("m", matrix_of(batch.column("features"))) for _ in range(2)]
        for part in stream.neighbours(inputs):
            assert len(stream.together(inputs[part])) == 2 * rows
            assert not stream.infinite_rows(answers).any()
            for answer in stream.apart(answers, inputs[part]):
                stream.scored(batch, 2, 1, answer, [(2, answer), (3, None)])

    return act


@pytest.mark.parametrize(
    "path",
    [
        predictions_that_wait,
        predictions_that_come_again,
        labels_that_meet,
        labels_in_any_order,
        labels_that_are_early,
        labels_that_are_refused,
        labels_of_numbers,
        predictions_for_early_labels,
        rows_that_are_quarantined,
        labels_that_expire,
        drift_of_scored_rows,
        drift_of_outcomes,
        tables_of_scored_rows,
        tables_of_outcomes,
        tables_of_labels,
        tables_of_valid_rows,
        messages,
        check_of_good_rows,
        check_of_batches_as_they_mostly_are,
        scoring,
    ],
)
def test_more_rows_make_no_more_python_calls(path: Callable[[int], Act]) -> None:
    path(FEW)()  # what is done once a process does not count
    few, many = calls(path(FEW)), calls(path(MANY))
    allowed = WINDOWS.get(path.__name__, ALLOWED)
    assert many <= few + allowed, f"{FEW} rows: {few} calls; {MANY} rows: {many} calls"


def test_a_loop_over_rows_is_seen() -> None:
    def loop(rows: int) -> Act:
        return lambda: [str.format("{}", f"{at}") or names(1) for at in range(rows)]

    def looped(rows: int) -> Act:
        return lambda: [names(1) for _ in range(rows)]

    assert calls(loop(MANY)) <= calls(loop(FEW)) + ALLOWED
    assert calls(looped(MANY)) >= MANY
