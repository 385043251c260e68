"""The file as batches of rows and outcomes, beside the services' own join."""

import numpy as np
import pyarrow as pa
import pytest

from driftloop.contracts.batches import LABELS, matrix_of
from driftloop.contracts.errors import InvalidInput
from driftloop.feedback.domain.join import Join
from driftloop.feedback.domain.waiting import Said
from driftloop.local.backtest.run import usual_slice
from driftloop.local.backtest.table import Labelled, first, labelled, shuffled
from driftloop.local.backtest.world import World, build
from tests.support.backtest_files import SLICE_MS, rows, spec

HOUR = 3_600_000


def awkward(seed: int) -> Labelled:
    """Rows of which some are bad, some come twice, and labels that come late, early or never."""
    random = np.random.default_rng(seed)
    count = 600
    ids = [f"r{n}" for n in random.integers(0, 500, count)]
    times = 1_704_067_200_000 + np.sort(random.integers(0, 200 * HOUR, count))
    delays = random.integers(-5, 60, count) * HOUR
    labels = random.choice(np.array(["0", "1", "2", ""]), count, p=[0.4, 0.4, 0.1, 0.1])
    made = pa.table(
        {
            "event_id": ids,
            "event_time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            "x": np.where(random.random(count) < 0.05, 99.0, 1.0),
            "y": random.normal(size=count),
            "place": ["coast"] * count,
        }
    )
    texts = pa.array([text or None for text in labels.tolist()], pa.string())
    arrived = pa.array(times + delays, pa.timestamp("ms", tz="UTC"))
    return labelled(made, spec(), texts, arrived, 0)


def joined(world: World) -> list[tuple[str, float, int]]:
    """Event id, label and label time of the outcomes."""
    columns = (world.outcomes.column(n).to_pylist() for n in ("event_id", "label"))
    return list(zip(*columns, world.label_times.tolist(), strict=True))


def by_feedback(given: Labelled, world: World) -> list[tuple[str, float, int]]:
    """The same of the join of the feedback service, fed slice after slice."""
    join, made = Join(spec()), list[pa.RecordBatch]()
    begin = int(given.times[0])
    sent = np.flatnonzero(given.labels.is_valid())
    sent = sent[np.argsort(given.label_times[sent], kind="stable")]
    ids = given.rows.column("event_id")
    bad = np.setdiff1d(np.asarray(ids), np.asarray(world.valid.column("event_id")))
    slices = np.maximum((given.label_times[sent] - begin) // SLICE_MS, 0)
    row_slices = (world.times - begin) // SLICE_MS
    join.refuse(bad.tolist(), 1)
    for at in range(int(max(slices.max(), row_slices.max())) + 1):
        here = np.flatnonzero(row_slices == at)
        if len(here):
            batch = world.valid.slice(int(here[0]), len(here))
            made += [out for out in [join.add_scored(batch, at + 1, 0.0, Said()).outcomes] if out]
        rows_of = sent[slices == at]
        if len(rows_of):
            columns = [
                ids.take(pa.array(rows_of)),
                given.labels.take(pa.array(rows_of)),
                pa.array(given.label_times[rows_of]).view(LABELS.field("label_time").type),
            ]
            labels = pa.RecordBatch.from_arrays(columns, schema=LABELS)
            made += [out for out in [join.add_labels(labels, at + 1, 0.0, Said()).outcomes] if out]
    return [
        (row["event_id"], row["label"], int(row["label_time"].timestamp() * 1000))
        for batch in made
        for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_outcomes_are_those_of_the_services_join(seed: int) -> None:
    given = awkward(seed)
    world = build(spec(), given, SLICE_MS)
    expected = by_feedback(given, world)

    assert len(expected) > 200
    assert sorted(joined(world)) == sorted(expected)


def test_outcomes_come_in_the_order_of_the_services_where_no_label_is_early() -> None:
    given = rows()
    world = build(spec(), given, SLICE_MS)

    assert joined(world) == by_feedback(given, world)


def test_every_row_and_label_is_accounted_for() -> None:
    counts = build(spec(), awkward(1), SLICE_MS).counts

    assert counts.rows == counts.valid + counts.quarantined + counts.duplicate
    assert counts.quarantined > 0
    assert counts.outcomes <= counts.labels < counts.rows


def test_slices_hold_all_rows_and_outcomes_once_and_no_outcome_before_its_row() -> None:
    world = build(spec(), awkward(2), SLICE_MS)
    scored, labelled_rows = 0, 0
    for part in world.slices:
        for cut in part.scored:
            assert cut.start == scored
            scored = cut.stop
            assert world.times[cut].max() < part.clock
        for cut in part.outcomes:
            assert cut.start == labelled_rows
            labelled_rows = cut.stop
            assert world.row[cut].max() < scored
            assert world.label_times[cut].max() < part.clock

    assert (scored, labelled_rows) == (world.valid.num_rows, len(world.row))


def test_outcome_columns_belong_to_their_rows() -> None:
    world = build(spec(), awkward(3), SLICE_MS)

    assert world.outcomes.column("event_id") == world.valid.column("event_id").take(
        pa.array(world.row)
    )
    assert np.array_equal(world.outcome_features, world.features[world.row])
    assert np.array_equal(matrix_of(world.outcomes.column("features")), world.outcome_features)


def test_rows_in_any_order_make_the_same_world() -> None:
    given = rows(500)
    order = pa.array(np.random.default_rng(0).permutation(500))
    mixed = labelled(
        pa.Table.from_batches([given.rows.take(order)]),
        spec(),
        given.labels.take(order),
        pa.array(given.label_times[np.asarray(order)]),
        0,
    )

    one, other = (build(spec(), its, SLICE_MS) for its in (given, mixed))
    assert joined(one) == joined(other)
    assert one.slices == other.slices


def test_a_label_without_a_time_comes_after_the_delay() -> None:
    given = rows(50)
    none = pa.nulls(50, pa.timestamp("ms", tz="UTC"))
    late = labelled(pa.Table.from_batches([given.rows]), spec(), given.labels, none, 2 * HOUR)

    assert (late.label_times == late.times + 2 * HOUR).all()


def test_the_control_keeps_times_rows_and_delays() -> None:
    given = rows(300)
    control = shuffled(given, spec(), 7)

    assert (control.times == given.times).all()
    assert set(control.rows.column("event_id").to_pylist()) == set(
        given.rows.column("event_id").to_pylist()
    )
    assert control.rows.column("event_id") != given.rows.column("event_id")
    assert sorted(control.label_times - control.times) == sorted(given.label_times - given.times)
    assert shuffled(given, spec(), 7).rows == control.rows


def test_the_first_rows_are_the_first_in_time() -> None:
    given = rows(300)

    assert (first(given, 20).times == given.times[:20]).all()
    assert first(given, 0) is given


def test_a_file_of_bad_rows_is_refused_with_the_first_reason() -> None:
    given = rows(20)
    at = given.rows.schema.get_field_index("x")
    bad = given._replace(rows=given.rows.set_column(at, "x", pa.array([99.0] * 20)))

    with pytest.raises(InvalidInput, match=r"every row breaks the contract.*x: 99"):
        build(spec(), bad, SLICE_MS)


def test_rows_without_a_readable_time_are_refused() -> None:
    given = rows(3)
    at = given.rows.schema.get_field_index("event_time")
    bad = given.rows.set_column(at, "event_time", pa.array(["soon"] * 3))

    with pytest.raises(InvalidInput, match="event_time: no row has a time"):
        labelled(pa.Table.from_batches([bad]), spec(), given.labels, pa.nulls(3), 0)


def test_a_slice_is_about_128_rows_and_at_most_three_hours() -> None:
    given = rows(1_000)  # one a minute

    assert 120 * 60_000 < usual_slice(given) < 130 * 60_000
    assert usual_slice(given._replace(times=given.times * 1_000)) == 3 * HOUR
