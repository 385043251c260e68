"""Estimates of one champion, from the batches of the two logs."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from driftloop.contracts.stats import EstimatedLoss
from driftloop.drift.domain.estimates import ROWS, Estimates
from driftloop.evidence import brier
from driftloop.evidence.estimated import NEEDED
from driftloop.modelspec.check import from_dict
from tests.support.loop import BEGIN_MS, outcomes, scored, spec

Floats = NDArray[np.float64]
WIDE = 0.6


class World:
    """Rows whose labels come by chances that the champion knows, but for a shift of its own."""

    def __init__(self, rows: int, seed: int = 0, moves: float = 0.0, changed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.features = random.normal(size=(rows, 2))
        self.features[:, 0] += moves * np.arange(rows) / rows
        true = 1 / (1 + np.exp(-2 * self.features[:, 0] + 1))
        self.chances = 0.15 + 0.7 * true
        self.labels = (random.random(rows) < true).astype(np.float64)
        if changed:
            self.labels[changed:] = random.integers(0, 2, rows - changed)
        both = np.column_stack([1 - self.chances, self.chances]).astype(np.float32)
        self.losses = brier(both, self.labels.astype(int))

    def scored(self, start: int, stop: int, version: int = 1) -> pa.RecordBatch:
        part = slice(start, stop)
        return scored(
            [f"e{at}" for at in range(start, stop)],
            features=self.features[part],
            chances=self.chances[part],
            version=version,
            times=[BEGIN_MS + at for at in range(start, stop)],
        )

    def outcomes(self, start: int, stop: int, version: int = 1) -> pa.RecordBatch:
        part = slice(start, stop)
        return outcomes(
            self.labels[part],
            features=self.features[part],
            chances=self.chances[part],
            version=version,
            times=[BEGIN_MS + at for at in range(start, stop)],
        )


def follow(estimates: Estimates, world: World, rows: int, late: int = 0) -> Iterator[EstimatedLoss]:
    """Feed rows and, `late` rows later, their labels; gives what is said of each new window."""
    end = 0
    for start in range(0, rows, ROWS):
        estimates.scored(world.scored(start, start + ROWS), start)
        said = estimates.stat()
        if said is not None and said.data_time > end:
            end = said.data_time
            yield said
        if start >= late:
            estimates.outcomes(world.outcomes(start - late, start - late + ROWS), start)


def true_loss(world: World, said: EstimatedLoss) -> float:
    end = said.data_time - BEGIN_MS + 1
    return float(world.losses[end - ROWS : end].mean())


def test_nothing_is_said_before_there_are_enough_labelled_rows() -> None:
    estimates, world = Estimates(spec(), 1), World(3_000)
    estimates.outcomes(world.outcomes(0, 120), 1)
    estimates.scored(world.scored(0, 2_000), 1)
    assert estimates.stat() is None
    assert estimates.state_text == "not enough labelled rows yet: 120 of 1,000"
    estimates.outcomes(world.outcomes(120, 1_000), 2)
    assert estimates.state_text == "waits for 1,000 scored rows"
    estimates.scored(world.scored(2_000, 3_000), 2)
    assert estimates.stat() is not None
    assert estimates.state_text == "estimates"


def test_an_estimate_follows_the_loss_when_features_move() -> None:
    world = World(60_000, moves=2.0)
    said = list(follow(Estimates(spec(), 1), world, 60_000, late=2_000))
    true = np.array([true_loss(world, one) for one in said])
    inside = [one.lower <= loss <= one.upper for one, loss in zip(said, true, strict=True)]
    errors = np.abs([one.estimate - loss for one, loss in zip(said, true, strict=True)])
    first = world.losses[:NEEDED].mean()
    assert len(said) == 57
    assert errors.mean() < 0.25 * np.abs(true - first).mean()
    assert np.mean(inside) >= 0.9
    assert not any(one.void for one in said)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_as_often_as_they_say_on_rows_that_do_not_move(seed: int) -> None:
    world = World(101_000, seed)
    said = list(follow(Estimates(spec(), 1), world, 101_000))
    inside = [one.lower <= true_loss(world, one) <= one.upper for one in said]
    assert len(said) == 100
    assert 0.89 <= np.mean(inside) <= 0.99  # 95 of 100, three deviations


def test_a_reconciled_window_is_told_with_what_was_estimated_of_it() -> None:
    estimates, world = Estimates(spec(), 1), World(4_000)
    said = list(follow(estimates, world, 4_000))
    last = estimates.stat()
    assert last is not None
    assert (last.reconciled, last.last_rows, last.last_time) == (3, ROWS, said[-1].data_time)
    assert last.last_estimate == said[-1].estimate
    assert last.last_realised == pytest.approx(true_loss(world, said[-1]))
    assert (last.about, last.version, last.loss, last.rows) == ("tide", 1, "brier", ROWS)
    assert last.from_time == last.data_time - ROWS + 1


def test_an_alarm_voids_estimates_until_enough_labelled_rows_came_since() -> None:
    estimates, world = Estimates(spec(), 1), World(8_000)
    *_, before = follow(estimates, world, 4_000)
    estimates.void("performance degraded", since=BEGIN_MS + 3_500)
    said = estimates.stat()
    assert said is not None
    assert said.estimate == before.estimate
    assert said.void == "performance degraded; labelled rows since: 0 of 1,000"
    estimates.outcomes(world.outcomes(3_000, 4_400), 5)
    estimates.scored(world.scored(4_000, 5_000), 5)
    said = estimates.stat()
    assert said is not None
    assert said.void == "performance degraded; labelled rows since: 900 of 1,000"
    estimates.outcomes(world.outcomes(4_400, 4_500), 6)
    estimates.scored(world.scored(5_000, 6_000), 6)
    said = estimates.stat()
    assert said is not None
    assert said.void == ""
    assert said.data_time == BEGIN_MS + 5_999


def test_concept_drift_that_nobody_told_of_voids_estimates_by_itself() -> None:
    world = World(40_000, changed=30_000)
    estimates = Estimates(spec(), 1)
    for _ in follow(estimates, world, 33_000):
        pass
    said = estimates.stat()
    assert said is not None
    assert said.void.startswith(
        "3 estimates in a row were wrong on one side; labelled rows since: "
    )


def test_rows_without_a_finite_answer_are_left_out_and_counted() -> None:
    estimates, world = Estimates(spec(), 1), World(1_500)
    world.chances[:100] = np.nan
    estimates.outcomes(world.outcomes(0, 1_000), 1)
    assert estimates.skipped == 100
    assert estimates.state_text == "not enough labelled rows yet: 900 of 1,000"


def test_answers_of_another_version_are_left_out() -> None:
    estimates, world = Estimates(spec(), 2), World(1_000)
    estimates.outcomes(world.outcomes(0, 1_000, version=1), 1)
    assert estimates.state_text == "not enough labelled rows yet: 0 of 1,000"


@pytest.mark.parametrize("what", ["one class", "no values", "constant", "two rows"])
def test_bad_input_gives_a_clear_state_and_finite_numbers(what: str) -> None:
    rows = 2 if what == "two rows" else 3_000
    world = World(rows)
    if what == "one class":
        world.labels[:] = 1.0
    if what in ("no values", "constant"):
        world.features[:] = np.nan if what == "no values" else 1e30
    estimates = Estimates(spec(), 1)
    estimates.outcomes(world.outcomes(0, rows), 1)
    estimates.scored(world.scored(0, rows), 1)
    said = estimates.stat()
    if what == "two rows":
        assert (said, estimates.state_text) == (
            None,
            "not enough labelled rows yet: 2 of 1,000",
        )
        return
    assert said is not None
    assert 0.0 <= said.lower < said.estimate < said.upper <= 1.0


def test_how_the_logs_are_cut_into_batches_changes_nothing() -> None:
    world, states = World(12_000), []
    for size in (12_000, 1_000, 77):
        estimates = Estimates(spec(), 1)
        cuts = [*range(0, 6_000, size), 6_000]
        for part in (0, 6_000):
            for start, stop in pairwise(cuts):
                estimates.outcomes(world.outcomes(part + start, min(part + stop, 12_000)), 1)
            for start, stop in pairwise(cuts):
                estimates.scored(world.scored(part + start, min(part + stop, 12_000)), 1)
        states.append((estimates.stat(), estimates.state()))
    assert states[0][0] is not None
    assert states[0] == states[1] == states[2]


def test_estimates_go_on_from_their_state() -> None:
    world = World(9_000)
    through = Estimates(spec(), 1)
    list(follow(through, world, 9_000, late=1_000))
    stopped = Estimates(spec(), 1)
    list(follow(stopped, world, 5_000, late=1_000))
    stopped.outcomes(world.outcomes(4_000, 4_300), 1)
    stopped.scored(world.scored(5_000, 5_700), 1)
    again = Estimates.restore(spec(), 1, stopped.state())
    assert again.stat() == stopped.stat()
    again.scored(world.scored(5_700, 6_000), 2)
    again.outcomes(world.outcomes(4_300, 5_000), 2)
    for start in range(6_000, 9_000, ROWS):
        again.scored(world.scored(start, start + ROWS), start)
        again.outcomes(world.outcomes(start - 1_000, start), start)
    assert again.stat() == through.stat()
    assert again.state() == through.state()


def test_a_state_of_another_champion_is_refused() -> None:
    state = Estimates(spec(), 1).state()
    with pytest.raises(
        ValueError, match=r"state is of .* accepted is \(1, 'tide', 2, 'brier', 2\)"
    ):
        Estimates.restore(spec(), 2, state)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state cannot be read"):
        Estimates.restore(spec(), 1, b"junk")


def test_a_regression_is_estimated_too() -> None:
    random = np.random.default_rng(1)
    wanted = from_dict(
        {
            "name": "tide",
            "task": "regression",
            "target": {"scale": 4.0},
            "features": [{"name": "a"}, {"name": "b"}],
        }
    )
    features = random.normal(size=(3_000, 2))
    labels = np.where(features[:, 1] > 0, 2.0, 0.4) * random.choice([-1.0, 1.0], 3_000)
    batch = outcomes(labels, features=features, version=1, times=range(3_000))
    at = batch.schema.get_field_index("answer")
    zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3_000, np.float32)), 1)
    batch = batch.set_column(at, "answer", zeros)
    estimates = Estimates(wanted, 1)
    estimates.outcomes(batch.slice(0, 2_000), 1)
    estimates.scored(batch.take(pa.array(np.flatnonzero(features[:, 1] > 0.2)[:ROWS])), 1)
    said = estimates.stat()
    assert said is not None
    assert said.loss == "scaled_absolute"
    assert said.estimate == pytest.approx(0.5, abs=0.01)
