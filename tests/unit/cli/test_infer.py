from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.cli.files import read
from driftloop.cli.guess import Guess, Wanted, guess, slack
from driftloop.cli.profile import profiles
from driftloop.cli.toml import render
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.check import parse
from driftloop.modelspec.contract import Contract
from driftloop.modelspec.spec import Spec
from driftloop.modelspec.toml import array, text

START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS = 200


def table(**columns: Sequence[object]) -> pa.Table:
    made: dict[str, Sequence[object]] = {
        "id": [f"e{n}" for n in range(ROWS)],
        "when": [START + timedelta(hours=n) for n in range(ROWS)],
        "distance": [float(n * 7 % 90) for n in range(ROWS)],
        "plan": [("basic", "pro", 'te"am')[n % 3] for n in range(ROWS)],
    }
    return pa.table(made | columns)


def guessed(data: pa.Table, wanted: Wanted | None = None) -> tuple[Guess, Spec]:
    made = guess(list(profiles(data)), "My data (1)", wanted or Wanted())
    return made, parse(render(made, "data.csv"))


def test_the_guess_is_a_spec_that_accepts_the_very_file(tmp_path: Path) -> None:
    lines = ["id,when,distance,region,ok,note,churned"]
    for n in range(ROWS):
        region = ("NA", "EU")[n % 2]
        ok = ("true", "", "false")[n % 3]
        lines.append(f"c{n},{START + timedelta(hours=n)},{n * 1.5},{region},{ok},free {n},{n % 2}")
    path = tmp_path / "churn.csv"
    path.write_text("\n".join(lines))
    batches = list(read(path))
    made, spec = guessed(pa.Table.from_batches(batches))
    assert (spec.task, spec.target.name, spec.target.classes) == (
        "classification",
        "churned",
        ("0", "1"),
    )
    assert (spec.columns.event_id, spec.columns.event_time) == ("id", "when")
    by_name = {f.name: f for f in spec.features}
    assert by_name["region"].categories == ("EU", "NA")
    assert by_name["ok"].type == "boolean"
    assert by_name["ok"].nullable
    assert "note" not in by_name
    assert spec.unknown_columns == "drop"
    now = int((START + timedelta(days=30)).timestamp() * 1000)
    checked = Contract(spec).check(batches[0], now)
    assert checked.valid.num_rows == ROWS
    assert made.first_model_rows == 120


def test_few_numbers_are_classes_and_many_a_regression() -> None:
    few, _ = guessed(table(grade=[float(n % 5) for n in range(ROWS)]))
    many, spec = guessed(table(price=[n * 1.25 for n in range(ROWS)]))
    assert (few.task, few.classes) == ("classification", ("0", "1", "2", "3", "4"))
    assert (many.task, many.target) == ("regression", "price")
    assert spec.target.scale == pytest.approx(230, abs=10)


def test_a_column_named_label_is_the_target_wherever_it_stands() -> None:
    made, _ = guessed(table(label=[n % 2 for n in range(ROWS)], last=[n % 3 for n in range(ROWS)]))
    assert made.target == "label"


def test_what_the_user_says_is_not_guessed() -> None:
    data = table(b=[n % 2 for n in range(ROWS)], c=[n % 3 for n in range(ROWS)])
    made, spec = guessed(data, Wanted(name="mine", target="b", key="c"))
    assert (spec.name, made.target, spec.columns.key) == ("mine", "b", "c")


@pytest.mark.parametrize("option", ["target", "event_time", "event_id", "key"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(option: str) -> None:
    with pytest.raises(InvalidInput, match=r"'nope' is not a column; accepted: id, when"):
        guess(list(profiles(table())), "x", Wanted(**{option: "nope"}))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1] * ROWS, id="always the same"),
        pytest.param([f"text {n}" for n in range(ROWS)], id="many texts"),
        pytest.param([None] * ROWS, id="empty"),
    ],
)
def test_a_target_without_a_task_is_refused(values: list[object]) -> None:
    with pytest.raises(InvalidInput, match="--target"):
        guess(list(profiles(table(y=values))), "x", Wanted(target="y"))


def test_without_id_and_time_the_remarks_say_what_rows_get() -> None:
    data = table(label=[n % 2 for n in range(ROWS)]).drop_columns(["id", "when"])
    made, spec = guessed(data)
    assert (spec.columns.event_id, spec.columns.event_time) == ("event_id", "event_time")
    assert any("rows are numbered" in remark for remark in made.remarks)
    assert any("the time it is sent" in remark for remark in made.remarks)


def test_codes_with_leading_zeros_are_no_numbers() -> None:
    codes = [f"{n % 4:03d}" for n in range(ROWS)]
    _, spec = guessed(table(code=codes, label=[n % 2 for n in range(ROWS)]))
    assert next(f for f in spec.features if f.name == "code").categories == (
        "000",
        "001",
        "002",
        "003",
    )


def test_labels_may_come_as_late_as_the_file_is_long() -> None:
    when = [START + timedelta(days=n) for n in range(ROWS)]
    _, spec = guessed(table(when=when, label=[n % 2 for n in range(ROWS)]))
    assert spec.join.predictions_wait == "399d"


def test_old_data_moves_the_earliest_time() -> None:
    when = [datetime(1987, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(ROWS)]
    _, spec = guessed(table(when=when, label=[n % 2 for n in range(ROWS)]))
    assert spec.limits.earliest == "1986-01-01"


def test_a_file_too_small_for_a_first_model_is_said_to_be() -> None:
    made, _ = guessed(table(label=[n % 2 for n in range(ROWS)]).slice(0, 30))
    assert any("a first model needs 50" in remark for remark in made.remarks)


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, numbers)
def test_a_range_has_slack_and_keeps_its_sign(one: float, other: float) -> None:
    low, high = sorted((one, other))
    bottom, top = slack(low, high)
    assert bottom <= low <= high <= top
    assert bottom < top
    assert bottom >= 0 or low < 0
    assert top <= 0 or high > 0 or low == high == 0


@given(st.text(max_size=20), st.lists(st.text(max_size=12), max_size=12))
def test_any_text_survives_toml(name: str, values: list[str]) -> None:
    import tomllib

    read_back = tomllib.loads(f"name = {text(name)}\nvalues = {array(tuple(values))}")
    assert read_back == {"name": name, "values": values}
