from collections.abc import Iterator

import pyarrow as pa
import pytest

from driftloop.cli import prepare
from driftloop.contracts.batches import LABELS
from driftloop.contracts.errors import InvalidInput
from driftloop.modelspec.check import from_dict

STAMP = prepare.Stamp(prefix="abc", now_ms=1_700_000_000_000)
SPEC = from_dict(
    {
        "name": "churn",
        "task": "classification",
        "target": {"name": "churned", "classes": ["no", "yes"]},
        "features": [
            {"name": "age", "nullable": True},
            {"name": "region", "type": "category", "categories": ["EU", "NA"]},
        ],
    }
)


def batches(**columns: list[object]) -> Iterator[pa.RecordBatch]:
    for start in (0, 2):
        yield pa.RecordBatch.from_pydict({k: v[start : start + 2] for k, v in columns.items()})


AGES: list[object] = ["31", "NA", "44", "50"]
REGIONS: list[object] = ["NA", "EU", "NA", "EU"]
CHURNED: list[object] = ["no", "yes", None, "yes"]


def test_rows_without_ids_are_numbered_and_their_labels_the_same() -> None:
    rows = list(prepare.rows(batches(age=AGES, region=REGIONS, churned=CHURNED), SPEC, STAMP))
    labels = list(prepare.labels(batches(age=AGES, region=REGIONS, churned=CHURNED), SPEC, STAMP))
    ids = [value for batch in rows for value in batch.column("event_id").to_pylist()]
    assert ids == ["abc-0", "abc-1", "abc-2", "abc-3"]
    assert pa.Table.from_batches(labels).to_pylist() == [
        {"event_id": "abc-0", "label": "no", "label_time": None},
        {"event_id": "abc-1", "label": "yes", "label_time": None},
        {"event_id": "abc-3", "label": "yes", "label_time": None},
    ]


def test_the_label_does_not_travel_with_its_row() -> None:
    made = next(prepare.rows(batches(age=AGES, region=REGIONS, churned=CHURNED), SPEC, STAMP))
    assert "churned" not in made.schema.names


def test_a_word_for_missing_is_null_in_a_number_and_a_name_in_a_category() -> None:
    made = next(prepare.rows(batches(age=AGES, region=REGIONS), SPEC, STAMP))
    assert made.column("age").to_pylist() == ["31", None]
    assert made.column("region").to_pylist() == ["NA", "EU"]


def test_rows_without_a_time_get_the_present_one() -> None:
    made = next(prepare.rows(batches(age=AGES, region=REGIONS), SPEC, STAMP))
    assert made.column("event_time").cast(pa.int64()).to_pylist() == [STAMP.now_ms] * 2


def test_milliseconds_in_a_csv_file_are_numbers_again() -> None:
    times: list[object] = ["1700000000000"] * 4
    made = next(prepare.rows(batches(age=AGES, event_time=times), SPEC, STAMP))
    assert made.column("event_time").type == pa.int64()


def test_labels_of_their_own_file_are_named_label() -> None:
    given = batches(event_id=[1, 2, 3, 4], label=[1, 0, 1, 1], label_time=["2024-01-01"] * 4)
    made = next(prepare.labels(given, SPEC, STAMP))
    assert made.schema == LABELS
    assert made.column("event_id").to_pylist() == ["1", "2"]
    assert made.column("label").to_pylist() == ["1", "0"]


def test_a_file_without_labels_or_without_ids_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has no column 'churned'"):
        list(prepare.labels(batches(event_id=[1, 2, 3, 4]), SPEC, STAMP))
    with pytest.raises(InvalidInput, match="has no column 'event_id'"):
        list(prepare.labels(batches(churned=CHURNED), SPEC, STAMP))


def test_a_question_holds_features_only() -> None:
    given = batches(age=AGES, region=REGIONS, churned=CHURNED)
    made = next(prepare.features(given, SPEC))
    assert made.to_pylist()[1] == {"age": None, "region": "EU"}
